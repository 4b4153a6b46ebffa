#!/bin/sh
# Checks what must be on the machine before anything is downloaded: a Python that pyproject.toml allows, with venv, and a
# JDK 17 or newer. Prints the path of the Python to use: the one that PYTHON names, or else the oldest on PATH, as most
# packages have wheels for it. Exit code 1 with one message per missing thing, each with its remedy.
#
#   scripts/prerequisites.sh            both
#   scripts/prerequisites.sh python     only Python
#   scripts/prerequisites.sh newest     only Python: the newest that is there, whatever PYTHON says
#   scripts/prerequisites.sh java       only the JDK
set -eu

what=${1:-all}
missing=0
HOME=${HOME:-/nonexistent}

# requires-python = ">=3.11,<3.15" is: from 11 to 14.
limits=$(sed -n 's/^requires-python = ">=3\.\([0-9]*\),<3\.\([0-9]*\)"$/\1 \2/p' "$(dirname "$0")/../pyproject.toml")
oldest=${limits% *}
newest=$((${limits#* } - 1))

complain() {
    missing=1
    printf 'error: %s\n' "$1" >&2
}

# Prints the path of the Python that a name stands for, if it will do. A name on PATH may be a shim that starts nothing,
# so it is asked. Of a virtual environment the Python that made it is taken: the environment may be the one to replace.
suited() {
    "$1" - "$oldest" "$newest" 2>/dev/null <<'PYTHON'
import sys, sysconfig
cpython = sys.implementation.name == "cpython" and not sysconfig.get_config_var("Py_GIL_DISABLED")
if not cpython or not (3, int(sys.argv[1])) <= sys.version_info[:2] <= (3, int(sys.argv[2])):
    sys.exit(1)
print(getattr(sys, "_base_executable", None) or sys.executable)
PYTHON
}

has_venv() { "$1" -c 'import ensurepip, venv' >/dev/null 2>&1; }

# Sets `python` to the first candidate with venv, or else `without_venv` to the first that lacks only that.
choose() {
    for candidate in "$@"; do
        if path=$(command -v "$candidate" 2>/dev/null) && path=$(suited "$path"); then
            if has_venv "$path"; then
                python=$path
                return
            fi
            without_venv=${without_venv:-$path}
        fi
    done
}

# Those of pyenv and uv that are installed, but not on PATH.
tucked_away() {
    for found in "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3."$1".*/bin/python3."$1" \
        "${UV_PYTHON_INSTALL_DIR:-${XDG_DATA_HOME:-$HOME/.local/share}/uv/python}"/cpython-3."$1".*/bin/python3."$1"; do
        if [ -x "$found" ]; then printf '%s\n' "$found"; fi
    done
}

find_python() {
    python='' without_venv='' names='' tucked='' minor=$oldest
    while [ "$minor" -le "$newest" ]; do
        if [ "$what" = newest ]; then
            names="python3.$minor $(tucked_away "$minor") $names"
        else
            names="$names python3.$minor"
            tucked="$tucked $(tucked_away "$minor")"
        fi
        minor=$((minor + 1))
    done
    if [ -n "${PYTHON:-}" ] && [ "$what" != newest ]; then
        case $PYTHON in python3.[0-9]*) tucked=$(tucked_away "${PYTHON#python3.}") ;; *) tucked='' ;; esac
        # shellcheck disable=SC2086  # paths, to be split
        choose "$PYTHON" $tucked
    else
        # shellcheck disable=SC2086  # names, to be split
        choose $names python3 python $tucked
    fi
    if [ -n "$python" ]; then return; fi
    range="Python 3.$oldest to 3.$newest"
    if [ -n "$without_venv" ]; then
        package=$("$without_venv" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
        complain "$without_venv cannot make virtual environments; install its venv module (Debian: apt-get install $package)"
    elif [ -n "${PYTHON:-}" ] && [ "$what" != newest ]; then
        complain "PYTHON is set to '$PYTHON', which is not $range; set it to the path of one, or unset it"
    else
        complain "$range was not found; install one (Debian, Ubuntu: apt-get install python3 python3-venv; else pyenv or uv), or set PYTHON to its path"
    fi
}

if [ "$what" != java ]; then find_python; fi

if [ "$what" = all ] || [ "$what" = java ]; then
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
