#!/bin/sh
# Checks what must be on the machine before anything is downloaded: Python 3.11 with venv, and a JDK 17 or newer.
# Prints the path of the Python to use. Exit code 1 with one message per missing thing, each with its remedy.
#
#   scripts/prerequisites.sh            both
#   scripts/prerequisites.sh python     only Python
#   scripts/prerequisites.sh java       only the JDK
set -eu

what=${1:-all}
missing=0

complain() {
    missing=1
    printf 'error: %s\n' "$1" >&2
}

find_python() {
    # A name on PATH may be a shim that starts nothing, so each candidate is asked.
    for candidate in ${PYTHON:-} python3.11 python3 python; do
        if path=$(command -v "$candidate" 2>/dev/null) &&
            "$path" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' >/dev/null 2>&1; then
            "$path" -c 'import sys; print(sys.executable)'
            return 0
        fi
    done
    return 1
}

if [ "$what" != java ]; then
    if python=$(find_python); then
        if ! "$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then
            complain "$python cannot make virtual environments; install its venv module (Debian: apt-get install python3.11-venv)"
        fi
    else
        complain "Python 3.11 was not found; install it (Debian 12: apt-get install python3 python3-venv; else pyenv or uv), or set PYTHON to its path"
    fi
fi

if [ "$what" != python ]; then
    remedy="install a JDK 17 or 21 (Debian: apt-get install openjdk-17-jdk-headless), or set JAVA_HOME to one"
    java=${JAVA_HOME:+$JAVA_HOME/bin/}java
    if ! command -v "$java" >/dev/null 2>&1; then
        complain "no Java found as '$java'; $remedy"
    else
        version=$("$java" -version 2>&1 | sed -n 's/.*version "\([^"]*\)".*/\1/p' | head -n 1)
        major=${version%%[.+-]*}
        case $major in
            '' | *[!0-9]*) complain "'$java' does not say its version; $remedy" ;;
            *) if [ "$major" -lt 17 ]; then complain "'$java' is version $version, and Spark needs 17 or newer; $remedy"; fi ;;
        esac
    fi
fi

[ "$missing" -eq 0 ] || exit 1
if [ "$what" != java ]; then printf '%s\n' "$python"; fi
