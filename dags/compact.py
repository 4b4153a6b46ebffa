"""Compact the tables that have gathered small files.

One DAG a pipeline, ``<pipeline>.compact``: OPTIMIZE in sealed segments only, where no stream writes. Rows and answers
stay as they are.
"""

from datetime import UTC, datetime

from airflow.sdk import dag

from tidemark.airflow.tasks import DRIVER_LOST, schedule, spark_job
from tidemark.definition import Pipeline
from tidemark.registry import load_pipelines


def compact_dag(pipeline: Pipeline) -> None:
    """The DAG of one pipeline."""

    @dag(
        dag_id=f"{pipeline.name}.compact",
        doc_md=__doc__,
        schedule=schedule("@hourly"),
        start_date=datetime(2026, 1, 1, tzinfo=UTC),
        catchup=False,
        max_active_runs=1,
        tags=["tidemark", pipeline.name],
    )
    def compact() -> None:
        spark_job("compact", pipeline, [], **DRIVER_LOST)

    compact()


for definition in load_pipelines().values():
    compact_dag(definition)
