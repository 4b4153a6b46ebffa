"""Tasks that the DAG files wire. Spark runs in a process of its own: by spark-submit, or on EMR Serverless."""

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import BaseOperator

from tidemark.airflow.alerts import Alert
from tidemark.airflow.operators.spark import SparkJob, StreamJob
from tidemark.core.settings import get_settings
from tidemark.definition import Pipeline

SPARK_CONNECTION = "spark_default"
TASK_LOST: dict[str, Any] = {"retries": 2, "retry_delay": timedelta(seconds=get_settings().retry_seconds)}
"""Retry policy of every task that names no other. Its driver, its scheduler or its process may have been lost, and all
tasks are idempotent. A refusal, of a form or of data, raises AirflowFailException, which is not retried."""
PLANNED = "{{ ti.xcom_pull(task_ids='plan')['%s'] }}"


def spark_job(job: str, pipeline: Pipeline, arguments: list[str], **policy: Any) -> BaseOperator:
    """A batch job; no more of them run at once than their pool has slots."""
    return _operator(SparkJob, job, pipeline, arguments, pool=get_settings().spark_pool, **policy)


def stream_job(pipeline: Pipeline, **policy: Any) -> BaseOperator:
    """The driver of a pipeline's streams, which runs without an end or until everything has been read."""
    arguments = [] if pipeline.streams == "continuous" else ["--available-now"]
    return _operator(StreamJob, "stream", pipeline, arguments, **policy)


def _operator(
    submitted: type[SparkJob], job: str, pipeline: Pipeline, arguments: list[str], **policy: Any
) -> BaseOperator:
    """What runs a job of spark/jobs: the one place that knows where."""
    settings = get_settings()
    if settings.spark_runs_on == "emr_serverless":
        # Imported where it is used: the Amazon provider costs a second of each parse.
        from tidemark.airflow.operators.emr import EmrJob

        return EmrJob(
            settings=settings,
            job=job,
            pipeline=pipeline.name,
            arguments=arguments,
            streaming=submitted is StreamJob and pipeline.streams == "continuous",
            **policy,
        )
    return submitted(
        settings=settings,
        job=job,
        pipeline=pipeline.name,
        task_id=job,
        application_args=["--pipeline", pipeline.name, *arguments],
        name=f"{pipeline.name}.{job}",
        conn_id=SPARK_CONNECTION,
        # Airflow could find the driver of a lost task again only by YARN's REST API; a job is idempotent instead.
        durable=False,
        **policy,
    )


def over_range(job: str, pipeline: Pipeline, arguments: list[str] | None = None, **policy: Any) -> BaseOperator:
    """A job over the event dates that ``plan`` resolved."""
    planned = ["--from", PLANNED % "from", "--to", PLANNED % "to"]
    return spark_job(job, pipeline, [*planned, *(arguments or [])], **policy)


def dag_arguments(
    pipeline: Pipeline, operation: str, schedule: Any = None, *, max_active_runs: int = 1
) -> dict[str, Any]:
    """What the DAGs have in common: the id, runs that look at no past interval by themselves, and alerts.

    Where the settings switch schedules off, no DAG has one, and a tag says so in Airflow's list.
    """
    on = get_settings().schedules
    return {
        "dag_id": f"{pipeline.name}.{operation}",
        "description": pipeline.description or None,
        "schedule": schedule if on else None,
        "start_date": datetime(2000, 1, 1, tzinfo=UTC),
        "catchup": False,
        "max_active_runs": max_active_runs,
        "tags": ["tidemark", pipeline.name, *([] if on or schedule is None else ["schedule switched off"])],
        "default_args": {"on_failure_callback": [Alert()], **TASK_LOST},
    }
