#!/bin/sh
# Runs the tests without Spark, and one whole pipeline with it, on the newest Python that is there, in .venv-newest. Does
# nothing where .venv has that Python. Arguments go to pytest.
set -eu

cd "$(dirname "$0")/.."
newest=$(scripts/prerequisites.sh newest)
version() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])'; }

if [ "$(version "$newest")" = "$(version .venv/bin/python)" ]; then
    echo "Python $(version "$newest") is the newest here, and .venv has it: there is no other to test" >&2
    exit 0
fi
PYTHON=$newest VENV=.venv-newest scripts/setup.sh packages
exec .venv-newest/bin/pytest --numprocesses 2 --dist loadfile tests/unit tests/spark/driver/test_jobs.py "$@"
