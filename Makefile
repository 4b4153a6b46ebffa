# The commands that people type. Everything that they need is installed on first use, from the lock.
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.tidemark-setup
SITE := .venv-site
SOURCES := include spark dags

.DEFAULT_GOAL := help
.PHONY: help setup wheels test-wheels test-airflow demo stack stack-test test test-fast test-newest faults faults-merge faults-changes faults-demo demo-busy faults-calls faults-airflow lint types format docs site lock clean

help: ## Show these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## Install what the lock says into .venv, and the Delta jars (the other commands do it; PYTHON=PATH chooses one)

# PYTHON chooses another Python than the one of .venv: it is made anew.
ifneq ($(PYTHON),)
ifneq ($(shell PYTHON=$(PYTHON) scripts/prerequisites.sh python 2>&1),$(shell PYTHON=$(BIN)/python scripts/prerequisites.sh python 2>&1))
.PHONY: $(STAMP)
endif
endif

$(STAMP): requirements.txt pyproject.toml
	@scripts/setup.sh
	@touch $@

wheels: $(STAMP) ## Build the distributions tidemark, pyspark-kinesis and kinesis-emulator, sdist and wheel, into dist/
	@for package in . packages/*; do \
		$(BIN)/uv build --quiet --no-build-isolation --python $(BIN)/python --out-dir dist $$package || exit 1; done
	@ls dist/*.whl dist/*.tar.gz

demo: $(STAMP) ## Run the whole platform on this machine and prove its result (ARGS=--keep leaves it running)
	@$(BIN)/tidemark demo $(ARGS)

stack: .env ## Bring the stack up with docker compose, and wait until all of it is healthy
	@docker compose up --detach --build --wait

.env: .env.example
	@if [ -e $@ ]; then echo "$@ is older than $<: see what is new there, then touch $@" >&2; else umask 077; scripts/env.sh <$< >$@; fi

stack-test: $(STAMP) .env ## Hurt a stack of its own in every way, and prove that nothing is lost (half an hour; needs docker compose)
	@$(BIN)/pytest tests/stack $(ARGS)

test: $(STAMP) ## Run all tests, three files at a time, the longest first (ARGS="-k name" chooses)
	@$(BIN)/pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder $(ARGS)

test-fast: $(STAMP) ## Run the tests that need no Spark, no Airflow and no server
	@$(BIN)/pytest tests/unit $(ARGS)

test-newest: $(STAMP) ## Run the unit tests and one pipeline on the newest Python that is there (in .venv-newest)
	@scripts/test_newest.sh $(ARGS)

test-wheels: $(STAMP) ## Install the two wheels beside Spark 4.1 and 4.2 on each Python from 3.10 to 3.13 that is there, and run a query
	@$(BIN)/pytest tests/wheels/matrix.py $(ARGS)

test-airflow: $(STAMP) ## Install the wheel beside the oldest and the newest Airflow that it allows, and load the DAGs
	@$(BIN)/pytest tests/wheels/oldest_airflow.py tests/wheels/test_airflow.py $(ARGS)

faults: $(STAMP) ## Run many seeded fault schedules of the Kinesis source (ARGS="--count 200 --first-seed 0")
	@PYTHONPATH=tests/support:tests/faults $(BIN)/python tests/faults/kinesis_schedules.py $(ARGS)

faults-merge: $(STAMP) ## Attack the merge by seeded schedules of kills and operations (ARGS="--minutes 30 --first-seed 0")
	@PYTHONPATH=tests/support:tests/faults $(BIN)/python tests/faults/merge_schedules.py $(ARGS)

faults-changes: $(STAMP) ## Change definitions while hostile records come, by seeded schedules (ARGS="--minutes 30 --first-seed 0")
	@PYTHONPATH=tests/support:tests/faults $(BIN)/python tests/faults/changes_schedules.py $(ARGS)

faults-demo: $(STAMP) ## Run the demo with each of its parts killed once at a seeded moment (ARGS="--count 10 --first-seed 0")
	@PYTHONPATH=tests/support $(BIN)/python tests/faults/demo_faults.py $(ARGS)

demo-busy: $(STAMP) ## Run the demo beside stress-ng, or other Spark jobs (ARGS="--beside stress --count 5"; needs stress-ng)
	@PYTHONPATH=tests/support $(BIN)/python tests/faults/busy_demo.py $(ARGS)

faults-calls: $(STAMP) ## Ask Airflow's API five times at once beside its scheduler (ARGS="--rounds 200")
	@PYTHONPATH=tests/support $(BIN)/python tests/faults/api_calls.py $(ARGS)

faults-airflow: $(STAMP) ## Kill Airflow's scheduler and workers in a backfill over a month (half an hour; ARGS="--days 31")
	@PYTHONPATH=tests/support $(BIN)/python tests/faults/airflow_faults.py $(ARGS)

lint: $(STAMP) ## Check style, format and the contracts between layers
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports --no-logo

types: $(STAMP) ## Check types, strictly
	@$(BIN)/mypy $(SOURCES)
	@$(BIN)/mypy --python-version 3.10 --cache-dir .mypy_cache/3.10 -p pyspark_kinesis -p kinesis_emulator

format: $(STAMP) ## Format the code, and fix what ruff can fix
	@$(BIN)/ruff check --fix --quiet . || true
	@$(BIN)/ruff format .

docs: $(STAMP) ## Write docs/data-dictionary.md anew from the tables' definitions
	@$(BIN)/python scripts/data_dictionary.py

site: $(SITE)/.tidemark-setup ## Build the documentation with the API reference into site/, and fail at any warning
	@NO_MKDOCS_2_WARNING=1 $(SITE)/bin/mkdocs build --strict
	@echo "open site/index.html; for the search: $(SITE)/bin/python -m http.server --bind 127.0.0.1 --directory site"

$(SITE)/.tidemark-setup: docs/site/requirements.txt
	@VENV=$(SITE) scripts/setup.sh site
	@touch $@

lock: ## Resolve pyproject.toml into requirements.txt, with hashes, for Python 3.11 to 3.14; and the site's tools into theirs
	@scripts/setup.sh uv
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --all-extras --group dev \
		--no-emit-package kinesis-emulator --no-emit-package pyspark-kinesis pyproject.toml -o requirements.txt
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --group site --constraint requirements.txt -o docs/site/requirements.txt
	@echo "requirements.txt is up to date; the next command installs it"

clean: ## Remove what runs made: lake, state, logs, caches (not .venv, not the jars: nothing is downloaded again)
	@for place in .tidemark/postgres/location .tidemark/demo/postgres/location; do if [ -f $$place ]; then rm -rf "$$(cat $$place)"; fi; done
	@if [ -d .tidemark ]; then find .tidemark -mindepth 1 -maxdepth 1 ! -name jars -exec rm -rf {} +; fi
	@rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache site spark-warehouse metastore_db derby.log
	@find include spark dags tests -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
