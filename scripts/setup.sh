#!/bin/sh
# Makes .venv what requirements.txt says, hash by hash, installs this checkout into it, and fetches the Delta jars.
# Prints a line a step; what the tools say is shown where one fails, and kept in .venv/setup.log. May be interrupted at
# any point and run again.
#
#   scripts/setup.sh            all of it
#   scripts/setup.sh uv         stops once uv is there (for `make lock`)
#   scripts/setup.sh packages   all but the jars
#   scripts/setup.sh site       only what the site is built with (docs/site/requirements.txt)
#
# PYTHON chooses another Python, and makes .venv anew where that one has another version; VENV names another folder.
set -eu

cd "$(dirname "$0")/.."
venv=${VENV:-.venv}
what=${1:-all}
network="check the network; behind a proxy set HTTPS_PROXY; PIP_INDEX_URL names another package index, and SSL_CERT_FILE a \
file of certificate authorities"
room="the disk is full: an environment takes 2.3 GB, and uv's cache as much again where it is not on the same file system; \
free room in $PWD, \${TMPDIR:-/tmp} and uv's cache (UV_CACHE_DIR), or set VENV, TMPDIR and UV_CACHE_DIR to a disk that has it"

# step TEXT REMEDY COMMAND...: runs a command in silence, and says how long it took, or why it failed and what to do.
step() {
    printf '==> %s … ' "$1" >&2
    remedy=$2
    began=$(date +%s)
    shift 2
    if "$@" >"$log" 2>&1 </dev/null; then
        printf '%d s\n' $(($(date +%s) - began)) >&2
        cat "$log" >>"$venv/setup.log"
    else
        code=$?
        printf 'failed after %d s\n' $(($(date +%s) - began)) >&2
        cat "$log" >&2
        if grep -qi 'no space left on device\|disk quota exceeded' "$log"; then remedy=$room; fi
        printf '\nerror: setup failed, see above; %s. Then run it again: what is done is kept\n' "$remedy" >&2
        exit "$code"
    fi
}

version() { "$1" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null; }

# What the system trusts is trusted here too. uv and pip, unless they are told otherwise, take the authorities that they
# bring, and those of a company are not among them.
trust() {
    cert=${PIP_CERT:-$("$venv/bin/python" -m pip config get global.cert 2>/dev/null || true)}
    if [ -z "${SSL_CERT_FILE:-}" ] && [ -f "$cert" ]; then export SSL_CERT_FILE="$cert"; fi
    export UV_SYSTEM_CERTS="${UV_SYSTEM_CERTS:-true}"
    if [ -n "$cert" ]; then return; fi
    # pip asks the system by itself since 24.2.
    for bundle in "${SSL_CERT_FILE:-}" /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt; do
        if [ -f "$bundle" ]; then
            export PIP_CERT="$bundle"
            return
        fi
    done
}

# uv does not read pip's configuration: where it names an index, uv is told.
name_index() {
    if [ -n "${UV_DEFAULT_INDEX:-}${UV_INDEX_URL:-}" ]; then return; fi
    index=${PIP_INDEX_URL:-$("$venv/bin/python" -m pip config get global.index-url 2>/dev/null || true)}
    if [ -n "$index" ]; then export UV_DEFAULT_INDEX="$index"; fi
}

if [ "$what" = all ]; then prerequisites=all; else prerequisites=python; fi
have=$(version "$venv/bin/python" || true)
# The Python of an environment that is there stays, unless PYTHON chooses.
if [ -n "$have" ] && [ -z "${PYTHON:-}" ] && PYTHON=$venv/bin/python scripts/prerequisites.sh python >/dev/null 2>&1; then
    python=$(PYTHON=$venv/bin/python scripts/prerequisites.sh $prerequisites)
else
    python=$(scripts/prerequisites.sh $prerequisites)
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT
trap 'printf "\ninterrupted; run it again: what is done is kept\n" >&2; exit 130' INT TERM

# An interrupted installation leaves packages that look whole; they are in the cache, so that it costs little.
if [ "$have" != "$(version "$python")" ] || [ -e "$venv/installing" ]; then
    rm -rf "$venv"
    mkdir -p "$venv"
    touch "$venv/installing"
    step "Python $(version "$python") into $venv, by $python" \
        "install that Python's venv module, or choose another Python with PYTHON=PATH" \
        "$python" -m venv "$venv"
fi
trust

# uv is pinned and hashed in the lock like everything else; pip installs only it.
pinned=$(sed -n 's/^uv==\([^ ]*\).*/\1/p' requirements.txt)
if [ "$("$venv/bin/uv" --version 2>/dev/null | cut -d ' ' -f 2)" != "$pinned" ]; then
    sed -n '/^uv==/,/[^\\]$/p' requirements.txt >"$venv/uv.txt"
    step "uv $pinned" "$network" \
        "$venv/bin/python" -m pip install --disable-pip-version-check --no-deps --require-hashes -r "$venv/uv.txt"
fi
rm -f "$venv/installing"
[ "$what" != uv ] || exit 0

name_index
touch "$venv/installing"
lock=requirements.txt
[ "$what" != site ] || lock=docs/site/requirements.txt
step "the packages of $lock (the first time some minutes)" \
    "if a download failed, $network; if a package could not be built, it has no wheel for $python: install a compiler \
(Debian: apt-get install g++ python3-dev), or choose another Python with PYTHON=PATH" \
    "$venv/bin/uv" pip install --python "$venv/bin/python" --require-hashes --compile-bytecode -r "$lock"
if [ "$what" = site ]; then
    rm "$venv/installing"
    exit 0
fi
step "Tidemark itself" "if it still fails, remove $venv" \
    "$venv/bin/uv" pip install --python "$venv/bin/python" --no-deps --no-build-isolation --editable . \
    --editable packages/kinesis-emulator --editable packages/pyspark-kinesis
rm "$venv/installing"
[ "$what" != packages ] || exit 0
step "the Delta jars" "$network; Java takes a proxy from JAVA_TOOL_OPTIONS=-Dhttps.proxyHost=HOST" \
    "$venv/bin/tidemark" jars --no-archive
step "an archive of Spark's classes, so that Spark starts faster" "if it still fails, report it with $venv/setup.log" \
    "$venv/bin/tidemark" jars
