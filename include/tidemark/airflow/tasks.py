"""Tasks that the DAG files wire. Spark runs by spark-submit, in a process of its own."""

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator
from airflow.sdk import Asset, Param, task
from airflow.sdk.exceptions import AirflowFailException

from tidemark.airflow.ranges import plan_range
from tidemark.definition import Pipeline
from tidemark.errors import PreconditionError, TidemarkError
from tidemark.settings import get_settings
from tidemark.spark_conf import job_path, spark_conf

SPARK_CONNECTION = "spark_default"
DRIVER_LOST: dict[str, Any] = {"retries": 2, "retry_delay": timedelta(seconds=30)}
"""Retry policy where the driver may have been lost: the job is idempotent, so it is run again."""
DATA_REFUSED: dict[str, Any] = {"retries": 0}
"""Retry policy where the data was checked and refused: it has not changed since."""
PLANNED = "{{ ti.xcom_pull(task_ids='plan')['%s'] }}"


def range_params() -> dict[str, Param]:
    """The form of a run over event dates."""
    return {
        "from": Param(
            None, type=["null", "string"], format="date", description="First event date; empty: data interval."
        ),
        "to": Param(None, type=["null", "string"], format="date", description="Event date after the last (exclusive)."),
    }


@task(retries=DATA_REFUSED["retries"])
def plan(
    params: dict[str, Any] | None = None,
    data_interval_start: datetime | None = None,
    data_interval_end: datetime | None = None,
) -> dict[str, str]:
    """Check the form and settle the range of event dates; a wrong one fails the run before Spark starts."""
    given = params or {}
    today = datetime.now(UTC).date()
    try:
        first, last = plan_range(given.get("from"), given.get("to"), data_interval_start, data_interval_end, today)
    except TidemarkError as error:
        raise AirflowFailException(str(error)) from error
    return {"from": first.isoformat(), "to": last.isoformat()}


def spark_job(
    job: str, pipeline: Pipeline, arguments: list[str], *, outlets: list[Asset] | None = None, **policy: Any
) -> SparkSubmitOperator:
    """A job of spark/jobs on the cluster that the connection names."""
    settings = get_settings()
    try:
        conf = spark_conf(settings)
    except PreconditionError:
        # DAGs must parse before the jars are there; spark-submit expands the pattern when the job runs.
        conf = {"spark.jars": f"{settings.jars_dir}/*.jar"}
    return SparkSubmitOperator(
        task_id=job,
        application=str(job_path(job, settings)),
        application_args=["--pipeline", pipeline.name, *arguments],
        name=f"{pipeline.name}.{job}",
        conn_id=SPARK_CONNECTION,
        conf=conf,
        outlets=outlets or [],
        **policy,
    )


def over_range(
    job: str, pipeline: Pipeline, *, outlets: list[Asset] | None = None, **policy: Any
) -> SparkSubmitOperator:
    """A job over the event dates that ``plan`` settled."""
    arguments = ["--from", PLANNED % "from", "--to", PLANNED % "to"]
    return spark_job(job, pipeline, arguments, outlets=outlets, **policy)


def dag_arguments(pipeline: Pipeline, operation: str) -> dict[str, Any]:
    """What the DAGs have in common: the id, and one run at a time that looks at no past interval by itself."""
    return {
        "dag_id": f"{pipeline.name}.{operation}",
        "start_date": datetime(2026, 1, 1, tzinfo=UTC),
        "catchup": False,
        "max_active_runs": 1,
        "tags": ["tidemark", pipeline.name],
    }


def schedule(preset: str) -> str | None:
    """A schedule, or None where the settings say that DAGs run only when triggered."""
    return preset if get_settings().schedules else None


def table_asset(pipeline: Pipeline, table: str) -> Asset:
    """The asset of a table: named ``<pipeline>.<table>``."""
    return Asset(name=f"{pipeline.name}.{table}", uri=f"tidemark://{pipeline.name}/{table}")
