"""An Airflow of a user's own, with its default configuration, Tidemark from its wheel and a DAG file of three lines.

This is the Airflow of the lock. ``make test-airflow`` tries the oldest one, too.
"""

import json
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from wheel_environments import LOCKED, PROJECT, Environment

TASKS = {
    "compact": ["compact"],
    "provision": ["before", "provision"],
    "reconcile": ["plan", "reconcile"],
    "reprocess": ["approve", "batch_tables", "plan", "reprocess", "serving_views"],
    "stream": ["stream"],
    "validate": ["plan", "validate"],
    "watch": ["limits"],
}


def found(environment: Environment, folder: Path, definitions: Path) -> dict[str, Any]:
    """What a fresh Airflow makes of its DAG folder and its plugins, where definitions are in a folder of the user's."""
    (folder / "dags").mkdir(parents=True, exist_ok=True)
    shutil.copy(PROJECT / "dags" / "tidemark_dags.py", folder / "dags")
    own = {"TIDEMARK_PIPELINES_DIR": str(definitions), "TIDEMARK_SAMPLE_PIPELINES": "false"}
    # Two defaults are not kept: Airflow's own examples, and 30 s for a first import, which a busy machine exceeds.
    changed = {"AIRFLOW__CORE__LOAD_EXAMPLES": "False", "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "600"}
    places = {"AIRFLOW_HOME": str(folder), "HOME": str(folder), **changed}
    environment.run(folder, "python", str(Path(__file__).with_name("airflow_bag.py")), **own, **places)
    return dict(json.loads((folder / "found.json").read_text()))


def check(environment: Environment, folder: Path, definitions: Path, airflow: str) -> None:
    """Raise AssertionError unless DAGs, tasks, plugin and provider are there, and a wrong setting is told."""
    assert "pyspark-kinesis" not in environment.packages(), "a machine that only submits jobs has no source"
    told = found(environment, folder, definitions)
    tasks = {f"taxis.{operation}": names for operation, names in TASKS.items()}
    all_there = {"errors": {}, "tasks": tasks, "views": ["Tidemark"], "listeners": [2], "provider": True}
    assert told == {"airflow": airflow, **all_there}
    absent = found(environment, folder, definitions / "absent")
    [error] = absent["errors"].values()
    assert "is not there: make it, or correct or unset TIDEMARK_PIPELINES_DIR" in error
    assert absent["tasks"] == {}


@pytest.fixture(scope="module")
def newest(tidemark: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """The Airflow of the lock."""
    environment = Environment.make(tmp_path_factory.mktemp("newest") / "venv")
    environment.install(*LOCKED, f"{tidemark}[airflow]")
    return environment


def test_the_airflow_of_the_lock_makes_the_dags_of_a_users_definitions(
    newest: Environment, definitions: Path, tmp_path: Path
) -> None:
    check(newest, tmp_path, definitions, version("apache-airflow"))
