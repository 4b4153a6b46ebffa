"""The tasks that give a pipeline's Kinesis stream the capacity that a form asks for."""

from datetime import timedelta
from typing import Any

from airflow.sdk import PokeReturnValue, task
from airflow.sdk.exceptions import AirflowFailException

from tidemark.airflow.aws import kinesis_client
from tidemark.core.errors import PreconditionError
from tidemark.core.settings import get_settings
from tidemark.definition import Pipeline
from tidemark.pipelines import get_pipeline
from tidemark.pipelines.producers.capacity import Wanted, advance, capacity

LOOK_SECONDS = 10
"""Between two looks at a stream that Kinesis changes: describing it is limited to 20 calls a second an account."""
LIMIT_SECONDS = 3600
"""How long a stream may take. AWS: resharding takes minutes, longer with many shards."""
CALL_LOST: dict[str, Any] = {"retries": 3, "retry_delay": timedelta(seconds=get_settings().retry_seconds)}
"""Retry policy of calls that may be lost, and may be made again."""


def stream_before(pipeline: Pipeline) -> Any:
    """The task that says what the stream has; None where there is none."""
    name = pipeline.name

    @task(task_id="before", **CALL_LOST)
    def before() -> dict[str, Any] | None:
        """Look at the stream."""
        settings = get_settings()
        found = capacity(kinesis_client(settings), get_pipeline(name).source.name)
        return None if found is None else found._asdict()

    return before()


def provision_stream(pipeline: Pipeline) -> Any:
    """The task that takes one step after the other until the stream has what the form says; between them it waits."""
    name = pipeline.name

    @task.sensor(task_id="provision", mode="reschedule", poke_interval=LOOK_SECONDS, timeout=LIMIT_SECONDS, **CALL_LOST)
    def provision(params: dict[str, Any] | None = None, ti: Any = None) -> PokeReturnValue:
        """Take the next step; the value tells what was before and after."""
        stream, given = get_pipeline(name).source, params or {}
        wanted = Wanted(given.get("mode"), given.get("shards"), given.get("retention_hours"))
        try:
            after = advance(kinesis_client(get_settings()), stream, wanted)
        except PreconditionError as error:
            raise AirflowFailException(str(error)) from error
        if after is None:
            print(f"WAITING: stream {stream.name} is on its way. Looks again in {LOOK_SECONDS} s")  # noqa: T201
            return PokeReturnValue(is_done=False)
        before = ti.xcom_pull(task_ids="before")
        print(f"stream {stream.name}: {before or 'there was none'} -> {after._asdict()}")  # noqa: T201
        return PokeReturnValue(
            is_done=True, xcom_value={"stream": stream.name, "before": before, "after": after._asdict()}
        )

    return provision()
