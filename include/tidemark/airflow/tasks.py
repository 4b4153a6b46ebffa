"""Tasks that the DAG files wire. Spark runs by spark-submit, in a process of its own."""

from datetime import UTC, datetime, timedelta
from typing import Any

from tidemark.airflow.alerts import Alert
from tidemark.airflow.spark import SparkJob
from tidemark.definition import Pipeline
from tidemark.settings import get_settings

SPARK_CONNECTION = "spark_default"
DRIVER_LOST: dict[str, Any] = {"retries": 2, "retry_delay": timedelta(seconds=get_settings().retry_seconds)}
"""Retry policy where the driver may have been lost: the job is idempotent, so it is run again. A refusal is not."""
DATA_REFUSED: dict[str, Any] = {"retries": 0}
"""Retry policy where the data was checked and refused: it has not changed since."""
PLANNED = "{{ ti.xcom_pull(task_ids='plan')['%s'] }}"


def job_arguments(job: str, pipeline: Pipeline, arguments: list[str]) -> dict[str, Any]:
    """What every operator of a job of spark/jobs is made with: the cluster is the one that the connection names."""
    return {
        "settings": get_settings(),
        "job": job,
        "pipeline": pipeline.name,
        "task_id": job,
        "application_args": ["--pipeline", pipeline.name, *arguments],
        "name": f"{pipeline.name}.{job}",
        "conn_id": SPARK_CONNECTION,
        # Airflow could find the driver of a lost task again only by YARN's REST API; a job is idempotent instead.
        "durable": False,
    }


def spark_job(job: str, pipeline: Pipeline, arguments: list[str], **policy: Any) -> SparkJob:
    """A batch job; no more of them run at once than their pool has slots."""
    return SparkJob(**job_arguments(job, pipeline, arguments), pool=get_settings().spark_pool, **policy)


def over_range(job: str, pipeline: Pipeline, arguments: list[str] | None = None, **policy: Any) -> SparkJob:
    """A job over the event dates that ``plan`` settled."""
    planned = ["--from", PLANNED % "from", "--to", PLANNED % "to"]
    return spark_job(job, pipeline, [*planned, *(arguments or [])], **policy)


def dag_arguments(pipeline: Pipeline, operation: str, *, max_active_runs: int = 1) -> dict[str, Any]:
    """What the DAGs have in common: the id, runs that look at no past interval by themselves, and alerts."""
    return {
        "dag_id": f"{pipeline.name}.{operation}",
        "start_date": datetime(2000, 1, 1, tzinfo=UTC),
        "catchup": False,
        "max_active_runs": max_active_runs,
        "tags": ["tidemark", pipeline.name],
        "default_args": {"on_failure_callback": [Alert()]},
    }
