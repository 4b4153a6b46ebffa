"""A real ``airflow standalone`` for the embedded default. Starts it; never imports it."""

import contextlib
import json
import os
import secrets
import signal
import sqlite3
import sys
import tempfile
from pathlib import Path

from tidemark.processes import Child, check_port_free
from tidemark.settings import Settings
from tidemark.spark_conf import PARENTS_VARIABLE, submit_environment

INHERITED_SECTIONS = ("AIRFLOW__SECRETS__", "AIRFLOW__WORKERS__SECRETS_BACKEND", "AIRFLOW__OPENLINEAGE__")
"""What the shell may tell the embedded Airflow of Airflow's own settings."""


def airflow_environment(settings: Settings, port: int, home: Path, *, paused: bool = False) -> dict[str, str]:
    """The environment of Airflow's processes and of the jobs that they start; no login, bound to this machine."""
    given = submit_environment(settings).items()
    inherited = {k: v for k, v in given if _is_inherited(k)}
    return {
        **inherited,
        "AIRFLOW_HOME": str(home),
        # Five seconds, the default, are too few on a busy machine: the scheduler ends when its database stays locked.
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow.db'}?timeout=60",
        "AIRFLOW__CORE__DAGS_FOLDER": str(settings.project_dir / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": str(paused),
        # The default pre-forks 32 workers, 5.6 GB.
        "AIRFLOW__CORE__PARALLELISM": "4",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
        "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "120",
        # Nor is the default of five here: a task whose call is not answered in time fails without having begun.
        "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "60",
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{port}",
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API_AUTH__JWT_SECRET": _kept_secret(home / "jwt_secret"),
        "AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE": str(settings.schedules),
        # Without it a daily run's interval is empty.
        "AIRFLOW__SCHEDULER__CREATE_CRON_DATA_INTERVALS": "True",
        "AIRFLOW_CONN_SPARK_DEFAULT": json.dumps({"conn_type": "spark", "host": settings.spark_master}),
        "GX_ANALYTICS_ENABLED": "false",
    }


def _is_inherited(variable: str) -> bool:
    # A database or a folder of another Airflow that the shell names is not ours to use; where secrets come from is.
    ours = not variable.startswith("AIRFLOW") or variable.startswith(INHERITED_SECTIONS)
    return ours and variable != PARENTS_VARIABLE


def start_airflow(settings: Settings, port: int, *, log: Path, paused: bool = False) -> Child:
    """Start Airflow on a port; it is healthy some 40 to 80 s later. ``paused``: each DAG waits to be switched on.

    Raises:
        PreconditionError: the port is taken.
    """
    check_port_free(port, "Airflow", "--airflow-port")
    home = settings.home / "airflow"
    prepare_database(home)
    command = [str(Path(sys.executable).with_name("airflow")), "standalone"]
    # SIGTERM to its main process would orphan its children.
    return Child(
        "Airflow", command, log, airflow_environment(settings, port, home, paused=paused), stop_signal=signal.SIGINT
    )


def prepare_database(home: Path) -> None:
    """Make the file of Airflow's SQLite; readers and the writer do not wait for each other in it."""
    home.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(sqlite3.connect(home / "airflow.db")) as database:
        database.execute("PRAGMA journal_mode=WAL")  # kept in the file


def _kept_secret(file: Path) -> str:
    """A secret of 64 characters, made once and readable by its owner only."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if not file.exists():
        # Whole or not at all: an empty secret would be kept for good.
        descriptor, scratch = tempfile.mkstemp(dir=file.parent)
        with os.fdopen(descriptor, "w") as secret:
            secret.write(secrets.token_hex(32))
        Path(scratch).rename(file)
    return file.read_text()
