"""How a pipeline's streams do: who runs them, how far behind they are, and what lies beyond its stated limits.

Read from the tables' logs and from the locks, by the wall clock. A file of data is opened only where compaction
has merged what refine has not passed.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.compute as pc

from tidemark.definition import Pipeline
from tidemark.delta import files_of, open_table, position
from tidemark.errors import TidemarkError
from tidemark.locks import holder, state_folder
from tidemark.log import places
from tidemark.settings import Settings
from tidemark.tables import INGEST_APP, REFINE_APP, tables_of

STREAMS = ("ingest", "refine")


class Health(NamedTuple):
    """The streams of a pipeline at one moment; -1 and None: nothing has come yet."""

    pipeline: str
    position: int
    """The newest ingest_batch in bronze."""
    refined: int
    """The newest ingest_batch that all refined tables hold."""
    lag_seconds: float
    """How long the oldest record that refine has not passed has been in bronze; 0 if it has passed all."""
    silent_seconds: float | None
    """How long ago the newest record came to bronze."""
    running: dict[str, dict[str, Any]]
    """Of each stream that runs on this machine's disk: who holds its lock, and what it last did."""

    def problems(self, pipeline: Pipeline) -> list[str]:
        """What lies beyond the limits that the definition states, in words."""
        found = []
        if self.lag_seconds > pipeline.max_lag.total_seconds():
            found.append(
                f"refine of {self.pipeline} lags {self.lag_seconds:,.0f} s behind bronze (ingest_batch {self.refined} "
                f"of {self.position}), and max_lag is {pipeline.max_lag}: does the stream run? See its log"
            )
        limit = pipeline.max_silence
        if limit is not None and self.silent_seconds is not None and self.silent_seconds > limit.total_seconds():
            found.append(
                f"no record has come to {self.pipeline} for {self.silent_seconds:,.0f} s, and max_silence is {limit}: "
                "do the producers put records, and does the ingest stream run?"
            )
        return found


def health(pipeline: Pipeline, settings: Settings, now: datetime | None = None) -> Health:
    """The health of a pipeline's streams.

    Raises:
        TableError: it has no tables yet.
    """
    now = now or datetime.now(UTC)
    tables = tables_of(pipeline, settings)
    refined = min(position(open_table(table, settings), REFINE_APP) for table in tables.refined)
    bronze = open_table(tables.bronze, settings)
    waiting = pc.min(places(bronze, beyond=refined)["ingest_time"]).as_py()
    newest = pc.max(files_of(bronze)["max.ingest_time"]).as_py()
    return Health(
        pipeline.name,
        position(bronze, INGEST_APP),
        refined,
        0.0 if waiting is None else (now - waiting).total_seconds(),
        None if newest is None else (now - newest).total_seconds(),
        running_streams(pipeline.name, settings),
    )


def stream_lock(pipeline: str, stream: str, settings: Settings) -> Path | None:
    """The lock of a stream, beside its checkpoint location; None where that is on an object store."""
    folder = state_folder(pipeline, settings)
    return None if folder is None else folder / f"{stream}.lock"


def running_streams(pipeline: str, settings: Settings) -> dict[str, dict[str, Any]]:
    """Of each stream that a driver runs now, what its lock says."""
    found = {}
    for stream in STREAMS:
        path = stream_lock(pipeline, stream, settings)
        if path is None:
            continue
        if (said := holder(path)) is not None:
            found[stream] = said
    return found


def stop_file(pipeline: str, settings: Settings) -> Path:
    """The file whose presence asks the driver of a pipeline's streams to end.

    Raises:
        TidemarkError: the state is on an object store.
    """
    folder = state_folder(pipeline, settings)
    if folder is None:
        raise TidemarkError(
            "a planned stop goes by a file beside the checkpoints, and those are on an object store: end the driver "
            "(in Airflow: mark the task stream as failed). Nothing is lost: a micro-batch is written once or not at all"
        )
    return folder / "stop"
