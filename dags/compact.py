"""Compact the tables that have gathered small files.

One DAG a pipeline, ``<pipeline>.compact``: OPTIMIZE in sealed segments only, where no stream writes. Rows and answers
stay as they are.
"""

from airflow.sdk import dag

from tidemark.airflow.tasks import DRIVER_LOST, dag_arguments, schedule, spark_job
from tidemark.definition import Pipeline
from tidemark.registry import load_pipelines


def compact_dag(pipeline: Pipeline) -> None:
    """The DAG of one pipeline."""

    @dag(
        **dag_arguments(pipeline, "compact"),
        doc_md=__doc__,
        schedule=schedule("@hourly"),
    )
    def compact() -> None:
        spark_job("compact", pipeline, [], **DRIVER_LOST)

    compact()


for definition in load_pipelines().values():
    compact_dag(definition)
