"""How a pipeline's streams do: who runs them, how far behind they are, and what lies beyond its stated limits.

Read from the tables' logs and from the locks, by the wall clock. A file of data is opened only where compaction
has merged what refine has not passed.
"""

from datetime import UTC, datetime
from typing import Any, NamedTuple

import pyarrow.compute as pc

from tidemark.core.settings import Settings
from tidemark.core.stream_locks import running_streams
from tidemark.definition import Pipeline
from tidemark.lake.log import refined_through
from tidemark.lake.snapshots import active_files, open_table, position
from tidemark.lake.tables import tables_of
from tidemark.lake.transaction_ids import INGEST_APP


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
        limit = pipeline.max_staleness
        if limit is not None and self.silent_seconds is not None and self.silent_seconds > limit.total_seconds():
            found.append(
                f"no record has come to {self.pipeline} for {self.silent_seconds:,.0f} s; max_staleness is {limit}: "
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
    bronze = open_table(tables.bronze, settings)
    refined, lag = refined_through(bronze, tables, settings, now)
    newest = pc.max(active_files(bronze)["max.ingest_time"]).as_py()
    return Health(
        pipeline.name,
        position(bronze, INGEST_APP),
        refined,
        lag.total_seconds(),
        None if newest is None else (now - newest).total_seconds(),
        running_streams(pipeline.name, settings),
    )
