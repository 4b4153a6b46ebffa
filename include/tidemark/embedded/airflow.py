"""Airflow's parts for the embedded platform, each a process of its own. Starts Airflow; never imports it."""

import json
import os
import secrets
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from tidemark.core.settings import Settings
from tidemark.core.spark_start.conf import PARENTS_VARIABLE, submit_environment

INHERITED_SECTIONS = ("AIRFLOW__SECRETS__", "AIRFLOW__WORKERS__SECRETS_BACKEND", "AIRFLOW__OPENLINEAGE__")
"""What the shell may tell the embedded Airflow of Airflow's own settings."""
PARTS: dict[str, tuple[str, ...]] = {
    "api-server": ("api-server",),
    # Its logs lie on this disk, where the API server reads them: nobody needs a server for them on port 8793.
    "scheduler": ("scheduler", "--skip-serve-logs"),
    "dag-processor": ("dag-processor",),
    "triggerer": ("triggerer", "--skip-serve-logs"),
}
"""Airflow's parts, and the arguments of ``airflow`` that start each."""
SECRET_VARIABLE = "AIRFLOW__API_AUTH__JWT_SECRET"  # noqa: S105  (a name)


def airflow_environment(
    settings: Settings, port: int, home: Path, database: str, *, paused: bool = False
) -> dict[str, str]:
    """The environment of Airflow's processes and of the jobs that they start; no login, bound to this machine.

    ``database``: SQLAlchemy's URL of its database. ``paused``: each DAG waits to be switched on.
    """
    given = submit_environment(settings).items()
    inherited = {k: v for k, v in given if _is_inherited(k)}
    return {
        **inherited,
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database,
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__DAGS_FOLDER": str(settings.project_file("dags")),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": str(paused),
        # The default pre-forks 32 workers, 5.6 GB.
        "AIRFLOW__CORE__PARALLELISM": "4",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
        "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "300",
        "AIRFLOW__DAG_PROCESSOR__DAG_FILE_PROCESSOR_TIMEOUT": "600",
        # A busy machine, or a part that is being started again, is not a reason to end a task.
        "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "60",
        "AIRFLOW__WORKERS__EXECUTION_API_RETRIES": "12",
        "AIRFLOW__WORKERS__EXECUTION_API_RETRY_WAIT_MAX": "20",
        "AIRFLOW__WORKERS__MAX_FAILED_HEARTBEATS": "20",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "180",
        "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "90",
        "AIRFLOW__DAG_PROCESSOR__HEALTH_CHECK_THRESHOLD": "60",
        "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "60",
        # The tasks of a scheduler that was killed are taken over within this time, not after five minutes.
        "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "15",
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{port}",
        "AIRFLOW__API__WORKERS": "1",
        SECRET_VARIABLE: _kept_secret(home / "jwt_secret"),
        "AIRFLOW_CONN_SPARK_DEFAULT": json.dumps({"conn_type": "spark", "host": settings.spark_master}),
        "GX_ANALYTICS_ENABLED": "false",
    }


def _is_inherited(variable: str) -> bool:
    # A database or a folder of another Airflow that the shell names is not ours to use; where secrets come from is.
    ours = not variable.startswith("AIRFLOW") or variable.startswith(INHERITED_SECTIONS)
    return ours and variable != PARENTS_VARIABLE


def airflow_command(*arguments: str) -> list[str]:
    """Airflow's command line."""
    return [str(Path(sys.executable).with_name("airflow")), *arguments]


def is_migrated(home: Path) -> bool:
    """Whether the database has the tables of the Airflow that is installed."""
    file = _migrated(home)
    return file.exists() and file.read_text() == version("apache-airflow")


def set_migrated(home: Path) -> None:
    """Remember that it has: to ask Airflow takes as long as the migration."""
    _migrated(home).write_text(version("apache-airflow"))


def _migrated(home: Path) -> Path:
    return home / "database_version"


def _kept_secret(file: Path) -> str:
    """A secret of 64 characters, made once and readable by its owner only."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if not file.exists():
        # Whole or not at all: an empty secret would be kept for ever.
        descriptor, scratch = tempfile.mkstemp(dir=file.parent)
        with os.fdopen(descriptor, "w") as secret:
            secret.write(secrets.token_hex(32))
        Path(scratch).rename(file)
    return file.read_text()
