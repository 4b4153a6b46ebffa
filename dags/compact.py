"""Fold the speed tables, and compact the tables that have gathered small files.

One DAG a pipeline, ``<pipeline>.compact``, in sealed segments only, where no stream writes. Folding removes the speed
rows that the batch covers and merges the others, once they are older than an hour; then OPTIMIZE rewrites small files.
Every answer stays as it is; the log shows rows and files before and after.
"""

from airflow.sdk import dag

from tidemark.airflow.tasks import DRIVER_LOST, dag_arguments, spark_job
from tidemark.definition import Pipeline
from tidemark.registry import load_pipelines


def compact_dag(pipeline: Pipeline) -> None:
    """The DAG of one pipeline."""

    @dag(
        **dag_arguments(pipeline, "compact"),
        doc_md=__doc__,
        schedule="@hourly",
    )
    def compact() -> None:
        spark_job("compact", pipeline, [], **DRIVER_LOST)

    compact()


for definition in load_pipelines().values():
    compact_dag(definition)
