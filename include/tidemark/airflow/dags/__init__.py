"""Tidemark's DAGs: one per pipeline and operation, ``<pipeline>.<operation>``. A DAG file makes them all::

    from tidemark.airflow.dags import make_dags

    make_dags()

Each module here is an operation. Its docstring is the documentation of its DAGs.
"""

from collections.abc import Callable

from airflow.sdk import get_parsing_context

from tidemark.airflow.dags import compact, land, provision, reconcile, reprocess, stream, validate, watch
from tidemark.definition import Pipeline
from tidemark.pipelines import load_pipelines

OPERATIONS: dict[str, Callable[[Pipeline], None]] = {
    "compact": compact.compact_dag,
    "land": land.land_dag,
    "provision": provision.provision_dag,
    "reconcile": reconcile.reconcile_dag,
    "reprocess": reprocess.reprocess_dag,
    "stream": stream.stream_dag,
    "validate": validate.validate_dag,
    "watch": watch.watch_dag,
}
"""What makes the DAG of a pipeline, by operation. ``land`` makes one only where the definition names a folder."""


def make_dags() -> None:
    """Make the DAGs of all pipelines; called in a DAG file, whose DAGs they are.

    Where Airflow parses the file to run one task, only the DAG of that task is made.

    Raises:
        DefinitionError: a definition is wrong, or there is none; Airflow shows the message as the file's import error.
    """
    only = get_parsing_context().dag_id
    for pipeline in load_pipelines().values():
        for operation, make in OPERATIONS.items():
            if only in (None, f"{pipeline.name}.{operation}"):
                make(pipeline)
