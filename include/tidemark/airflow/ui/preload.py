"""A listener of Airflow that imports what DAGs import, once, where tasks and parses are forked from.

Airflow forks a process for each task and for each parse of a DAG file, every half minute. What its parent has imported
the child need not: PyArrow, delta-rs, the providers and Tidemark take longer than all else that the child does.
"""

import contextlib
import importlib
from typing import Any

from airflow.listeners import hookimpl

from tidemark.airflow.ui.components import is_service

_STEPS = ("forms", "landings", "planning", "provisioning", "streams", "tasks")
MODULES = (
    *(f"tidemark.airflow.{name}" for name in ("alerts", "assets", "operators.spark")),
    *(f"tidemark.airflow.steps.{name}" for name in _STEPS),
    *(f"tidemark.monitoring.{name}" for name in ("asset_facts", "estimate", "health")),
)
"""Modules that DAG files import, and those of their tasks. No definition is among them: it may change at any time."""


@hookimpl
def on_starting(component: Any) -> None:
    """Import them, unless one cannot be imported: its children say that of their DAG file, where people see it."""
    if not is_service(component):
        return
    with contextlib.suppress(Exception):
        for name in MODULES:
            importlib.import_module(name)
