"""A listener of Airflow that imports what DAGs import, once, where tasks and parses are forked from.

Airflow forks a process for each task and for each parse of a DAG file, every half minute. What its parent has imported
the child need not: PyArrow, delta-rs, the providers and Tidemark take longer than all else that the child does.
"""

import contextlib
import importlib
from typing import Any

from airflow.listeners import hookimpl

from tidemark.airflow.ui.components import is_service

MODULES = (
    "tidemark.airflow.dags",
    *(f"tidemark.monitoring.{name}" for name in ("asset_facts", "estimate", "health")),
)
"""What the DAG file imports, and what its tasks do. No definition is among them: it may change at any time."""


@hookimpl
def on_starting(component: Any) -> None:
    """Import them, unless one cannot be imported: its children say that of their DAG file, where people see it."""
    if not is_service(component):
        return
    with contextlib.suppress(Exception):
        for name in MODULES:
            importlib.import_module(name)
