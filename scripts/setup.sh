#!/bin/sh
# Makes .venv what requirements.txt says, hash by hash, installs this checkout into it, and fetches the Delta jars.
# May be interrupted at any point and run again. `scripts/setup.sh uv` stops once uv is there (for `make lock`).
set -eu

cd "$(dirname "$0")/.."
venv=.venv

say() { printf '\033[1m==> %s\033[0m\n' "$1" >&2; }

if [ "${1:-}" = uv ]; then python=$(scripts/prerequisites.sh python); else python=$(scripts/prerequisites.sh); fi

if ! "$venv/bin/python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then
    say "Creating $venv with $python"
    "$python" -m venv --clear "$venv"
fi
# An interrupted creation leaves an environment without pip.
"$venv/bin/python" -m pip --version >/dev/null 2>&1 || "$venv/bin/python" -m ensurepip >/dev/null

# uv is pinned and hashed in the lock like everything else; pip installs only it.
pinned=$(sed -n 's/^uv==\([^ ]*\).*/\1/p' requirements.txt)
if [ "$("$venv/bin/uv" --version 2>/dev/null | cut -d ' ' -f 2)" != "$pinned" ]; then
    say "Installing uv $pinned"
    sed -n '/^uv==/,/[^\\]$/p' requirements.txt >"$venv/uv.txt"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r "$venv/uv.txt"
fi
[ "${1:-}" != uv ] || exit 0

# uv does not read pip's configuration: where it names an index, uv is told.
if [ -z "${UV_DEFAULT_INDEX:-}${UV_INDEX_URL:-}" ]; then
    index=$("$venv/bin/python" -m pip config get global.index-url 2>/dev/null || true)
    index=${PIP_INDEX_URL:-$index}
    if [ -n "$index" ]; then
        UV_DEFAULT_INDEX=$index
        export UV_DEFAULT_INDEX
    fi
fi

say "Installing the packages of requirements.txt (first time: some minutes)"
"$venv/bin/uv" pip install --python "$venv/bin/python" --require-hashes --compile-bytecode -r requirements.txt
say "Installing Tidemark itself"
"$venv/bin/uv" pip install --python "$venv/bin/python" --no-deps --no-build-isolation --editable .
say "Fetching the Delta jars"
"$venv/bin/tidemark" jars
