"""The speed layer under Airflow: the job that keeps a pipeline's streams alive, and the watch over their limits."""

import contextlib
import subprocess
from datetime import timedelta
from typing import Any

from airflow.sdk import Asset, task
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from tidemark.airflow.assets import stream_asset, table_asset
from tidemark.airflow.spark import SparkJob
from tidemark.airflow.tasks import job_arguments
from tidemark.definition import Pipeline
from tidemark.errors import TableError, TidemarkError
from tidemark.health import health, stop_file
from tidemark.registry import get_pipeline
from tidemark.settings import get_settings

KEPT_ALIVE: dict[str, Any] = {"retries": 5, "retry_exponential_backoff": 2.0, "max_retry_delay": timedelta(minutes=10)}
"""Retry policy of a driver that should always run: soon at first, then ever later."""
STOP_SECONDS = 40
"""How long a task that is ended waits for its streams to finish; Airflow allows 60 s before it kills."""


class StreamJob(SparkJob):
    """The driver of a pipeline's streams. Ended in the UI, it finishes the micro-batch that runs."""

    def on_kill(self) -> None:
        """Ask the streams to stop, wait for that, and then make sure."""
        process = getattr(self._hook, "_submit_sp", None)
        with contextlib.suppress(TidemarkError, OSError, subprocess.TimeoutExpired):
            if process is not None and process.poll() is None:
                stop_file(self._pipeline, self._settings).touch()
                process.wait(timeout=STOP_SECONDS)
        super().on_kill()


def streams(pipeline: Pipeline) -> StreamJob:
    """The task that runs both streams, for good or until everything has been read; outside of the batch jobs' pool."""
    arguments = [] if pipeline.streams == "continuous" else ["--available-now"]
    delay = timedelta(seconds=get_settings().retry_seconds)
    return StreamJob(
        **job_arguments("stream", pipeline, arguments),
        inlets=[stream_asset(pipeline)],
        outlets=[table_asset(pipeline, "bronze")],
        retry_delay=delay,
        **KEPT_ALIVE,
    )


def limits(pipeline: Pipeline) -> Any:
    """The task that fails where lag or silence is beyond the pipeline's limits, and tells when bronze has grown."""
    name, bronze = pipeline.name, table_asset(pipeline, "bronze")

    @task(task_id="limits", inlets=[bronze], outlets=[bronze])
    def check(inlet_events: Any = None, outlet_events: Any = None) -> None:
        """Look at the tables' logs."""
        definition = get_pipeline(name)
        try:
            found = health(definition, get_settings())
        except TableError as error:
            raise AirflowSkipException(f"nothing to watch yet: {error}") from error
        print(f"streams of {name}: {found._asdict()}")  # noqa: T201
        if problems := found.problems(definition):
            raise AirflowFailException("; ".join(problems))
        if found.position <= _told(inlet_events, bronze):
            raise AirflowSkipException(f"bronze stands at ingest_batch {found.position}, as it did before")
        outlet_events[bronze].extra = {
            "position": found.position,
            "refined": found.refined,
            "lag_seconds": round(found.lag_seconds, 1),
            "silent_seconds": round(found.silent_seconds or 0.0, 1),
        }

    return check()


def _told(inlet_events: Any, asset: Asset) -> int:
    """The position that the asset's last event told; -1 without one."""
    last = list(inlet_events[asset].ascending(False).limit(1))
    return int((last[0].extra or {}).get("position", -1)) if last else -1
