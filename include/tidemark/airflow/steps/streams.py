"""The speed layer under Airflow: the job that keeps a pipeline's streams alive, and the watch over their limits."""

from datetime import timedelta
from typing import Any

from airflow.sdk import Asset, BaseOperator, task
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from tidemark.airflow.assets import speed_assets, stream_asset, table_asset
from tidemark.airflow.steps.tasks import stream_job
from tidemark.core.errors import TableError
from tidemark.core.settings import get_settings
from tidemark.definition import Pipeline
from tidemark.pipelines import get_pipeline

KEPT_ALIVE: dict[str, Any] = {"retries": 5, "retry_exponential_backoff": 2.0, "max_retry_delay": timedelta(minutes=10)}
"""Retry policy of a driver that should always run: soon at first, then ever later."""


def stream_schedule(pipeline: Pipeline) -> str | None:
    """When the streams are started; None where somebody else keeps them alive."""
    if get_settings().streams_run_by != "airflow":
        return None
    return "@continuous" if pipeline.streams == "continuous" else pipeline.streams_schedule


def streams(pipeline: Pipeline) -> BaseOperator:
    """The task that runs both streams, until everything has been read or without an end; not in the jobs' pool."""
    delay = timedelta(seconds=get_settings().retry_seconds)
    return stream_job(
        pipeline,
        inlets=[stream_asset(pipeline)],
        outlets=[table_asset(pipeline, "bronze"), *speed_assets(pipeline)],
        retry_delay=delay,
        **KEPT_ALIVE,
    )


def limits(pipeline: Pipeline) -> Any:
    """The task that fails where lag or silence is beyond the pipeline's limits, and tells when bronze has grown."""
    name, bronze = pipeline.name, table_asset(pipeline, "bronze")

    @task(task_id="limits", inlets=[bronze], outlets=[bronze])
    def check(inlet_events: Any = None, outlet_events: Any = None) -> None:
        """Look at the tables' logs."""
        from tidemark.monitoring.health import health  # a parse of the DAG file does not read tables

        definition = get_pipeline(name)
        try:
            found = health(definition, get_settings())
        except TableError as error:
            raise AirflowSkipException(f"nothing to watch yet: {error}") from error
        print(f"streams of {name}: {found._asdict()}")  # noqa: T201
        if problems := found.problems(definition):
            raise AirflowFailException("; ".join(problems))
        if found.position <= _last_reported(inlet_events, bronze):
            raise AirflowSkipException(f"bronze stands at ingest_batch {found.position}, as it did before")
        outlet_events[bronze].extra = {
            "position": found.position,
            "refined": found.refined,
            "lag_seconds": round(found.lag_seconds, 1),
            "silent_seconds": round(found.silent_seconds or 0.0, 1),
        }

    return check()


def _last_reported(inlet_events: Any, asset: Asset) -> int:
    """The position that the asset's last event told; -1 without one."""
    last = list(inlet_events[asset].ascending(False).limit(1))
    return int((last[0].extra or {}).get("position", -1)) if last else -1
