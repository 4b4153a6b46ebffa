"""Tasks that the DAG files wire. Spark runs by spark-submit, in a process of its own."""

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import Asset

from tidemark.airflow.spark import SparkJob
from tidemark.definition import Pipeline
from tidemark.errors import PreconditionError
from tidemark.settings import get_settings
from tidemark.spark_conf import job_path, spark_conf

SPARK_CONNECTION = "spark_default"
DRIVER_LOST: dict[str, Any] = {"retries": 2, "retry_delay": timedelta(seconds=get_settings().retry_seconds)}
"""Retry policy where the driver may have been lost: the job is idempotent, so it is run again. A refusal is not."""
DATA_REFUSED: dict[str, Any] = {"retries": 0}
"""Retry policy where the data was checked and refused: it has not changed since."""
PLANNED = "{{ ti.xcom_pull(task_ids='plan')['%s'] }}"


def spark_job(
    job: str, pipeline: Pipeline, arguments: list[str], *, outlets: list[Asset] | None = None, **policy: Any
) -> SparkJob:
    """A job of spark/jobs on the cluster that the connection names."""
    settings = get_settings()
    try:
        conf = spark_conf(settings)
    except PreconditionError:
        # DAGs must parse before the jars are there; spark-submit expands the pattern when the job runs.
        conf = {"spark.jars": f"{settings.jars_dir}/*.jar"}
    return SparkJob(
        settings=settings,
        job=job,
        task_id=job,
        application=str(job_path(job, settings)),
        application_args=["--pipeline", pipeline.name, *arguments],
        name=f"{pipeline.name}.{job}",
        conn_id=SPARK_CONNECTION,
        conf=conf,
        outlets=outlets or [],
        **{"pool": settings.spark_pool, **policy},
    )


def over_range(
    job: str,
    pipeline: Pipeline,
    arguments: list[str] | None = None,
    *,
    outlets: list[Asset] | None = None,
    **policy: Any,
) -> SparkJob:
    """A job over the event dates that ``plan`` settled."""
    planned = ["--from", PLANNED % "from", "--to", PLANNED % "to"]
    return spark_job(job, pipeline, [*planned, *(arguments or [])], outlets=outlets, **policy)


def dag_arguments(pipeline: Pipeline, operation: str, *, max_active_runs: int = 1) -> dict[str, Any]:
    """What the DAGs have in common: the id, and runs that look at no past interval by themselves."""
    return {
        "dag_id": f"{pipeline.name}.{operation}",
        "start_date": datetime(2000, 1, 1, tzinfo=UTC),
        "catchup": False,
        "max_active_runs": max_active_runs,
        "tags": ["tidemark", pipeline.name],
    }


def table_asset(pipeline: Pipeline, table: str) -> Asset:
    """The asset of a table: named ``<pipeline>.<table>``."""
    return Asset(name=f"{pipeline.name}.{table}", uri=f"tidemark://{pipeline.name}/{table}")
