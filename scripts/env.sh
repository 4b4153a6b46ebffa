#!/bin/sh
# Copies .env.example from its input to its output, and makes up each secret that is empty there.
set -eu
umask 077
while IFS= read -r line; do
    case $line in
        AIRFLOW_FERNET_KEY=) printf '%s%s\n' "$line" "$(head -c 32 /dev/urandom | base64 | tr '+/' '-_')" ;;
        [A-Z]*=) printf '%s%s\n' "$line" "$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')" ;;
        *) printf '%s\n' "$line" ;;
    esac
done
