"""Querying the serving view in this process: DuckDB over snapshots pinned in the right order."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache, cached_property
from typing import Any

import duckdb
import pyarrow as pa
from deltalake import DeltaTable

from tidemark.definition import Pipeline, Rollup, Window
from tidemark.definition.measures import Dialect
from tidemark.delta import EVOLVED, NOTHING, files_of, open_table, position
from tidemark.generations import Added, added_measures
from tidemark.publish import covered_app
from tidemark.serving.scan import create_view
from tidemark.serving.sketches import register_sketches
from tidemark.serving.sql import Layer, serving_sql
from tidemark.settings import Settings
from tidemark.tables import REFINE_APP, tables_of

_ONE_DAY = timedelta(days=1)
_EARLIEST = datetime(1, 1, 2, tzinfo=UTC)
_LATEST = datetime(9999, 12, 30, tzinfo=UTC)


@dataclass(frozen=True)
class Snapshot:
    """The batch and speed tables of a rollup, pinned so that together they hold exactly a prefix of the log."""

    pipeline: Pipeline
    rollup: Rollup
    batch: DeltaTable
    speed: DeltaTable
    added: tuple[Added, ...] = ()
    """Measures that rows from before they were defined lack."""

    def lacking(self) -> dict[str, set[date]]:
        """By measure, the event dates that cannot tell it until they are reprocessed."""
        return {one.measure: one.lacking(self.batch_files.coverage) for one in self.added}

    @cached_property
    def batch_files(self) -> "Files":
        """The batch table's files."""
        return Files(self.batch)

    @cached_property
    def speed_files(self) -> "Files":
        """The speed table's files."""
        return Files(self.speed)

    @property
    def position(self) -> int:
        """The ingest_batch through which the answer holds every event; -1 before the first."""
        return position(self.speed, REFINE_APP)


def pin(pipeline: Pipeline, rollup: Rollup, settings: Settings) -> Snapshot:
    """Pin the newest state.

    The batch table first: what it covers, refine had finished, so a later speed snapshot holds everything else of at
    least that prefix. The other way round, a date published in between would be missing (facts: 1 answer of 281).
    """
    tables = tables_of(pipeline, settings)
    batch = open_table(tables.batch[rollup.name], settings)
    speed = open_table(tables.speed[rollup.name], settings)
    return pinned(pipeline, rollup, batch, speed, settings)


def pinned(pipeline: Pipeline, rollup: Rollup, batch: DeltaTable, speed: DeltaTable, settings: Settings) -> Snapshot:
    """A snapshot of tables that were opened in the right order."""
    # A measure that was added has added columns.
    evolved = batch.metadata().configuration.get(EVOLVED)
    return Snapshot(
        pipeline, rollup, batch, speed, tuple(added_measures(pipeline, rollup, settings) if evolved else ())
    )


def connect() -> duckdb.DuckDBPyConnection:
    """An in-memory DuckDB in UTC that knows the sketch functions and installs nothing."""
    connection = duckdb.connect(config={"autoinstall_known_extensions": False, "threads": 2})
    connection.execute("SET TimeZone = 'UTC'")
    register_sketches(connection)
    return connection


@cache
def _shared() -> duckdb.DuckDBPyConnection:
    # To connect costs more than many an answer; each answer has a cursor of its own.
    return connect()


def answer(
    snapshot: Snapshot,
    *,
    layer: Layer | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    connection: duckdb.DuckDBPyConnection | None = None,
) -> pa.Table:
    """The rollup's windows as of the snapshot, ordered by keys and window; ``layer``: only what that layer gives.

    ``since`` and ``until`` (exclusive, with a time zone) choose windows by their start; only the files of dates that
    can hold their events are read, so the cost follows the question and not the history. Of sessions all are read.
    A measure that was added has no value in windows with events from before, until their dates are reprocessed.
    """
    batch, speed, coverage = snapshot.batch_files, snapshot.speed_files, snapshot.batch_files.coverage
    uncovered = [
        file for file in speed.rows if file["partition.segment"] > coverage.get(file["partition.event_date"], -1)
    ]
    with (connection or _shared()).cursor() as cursor:
        cursor.execute("SET TimeZone = 'UTC'")
        create_view(cursor, "batch", snapshot.batch, _of_dates(batch.rows, snapshot, since, until))
        create_view(cursor, "speed", snapshot.speed, _of_dates(uncovered, snapshot, since, until))
        text = serving_sql(
            snapshot.pipeline,
            snapshot.rollup,
            Dialect.DUCKDB,
            layer=layer,
            covered_left_out=True,
            lacking=snapshot.lacking(),
        )
        order = ", ".join(f'"{name}"' for name in [*snapshot.rollup.by, "window_start"])
        if since is None and until is None:
            return cursor.sql(f"{text} ORDER BY {order}").to_arrow_table()
        newest = max(filter(None, (files.newest_event(cursor) for files in (batch, speed))), default=None)
        final = f"window_end <= $newest - INTERVAL {int(snapshot.pipeline.allowed_lateness.total_seconds())} SECOND"
        asked = (
            f"SELECT * REPLACE ({final} AS final) FROM ({text}) WHERE window_start >= $since AND window_start < $until"
        )
        bounds = {"since": since or _EARLIEST, "until": until or _LATEST, "newest": newest}
        return cursor.sql(f"{asked} ORDER BY {order}", params=bounds).to_arrow_table()


class Files:
    """The files of a snapshot of a batch or speed table, by what its log says of them."""

    def __init__(self, table: DeltaTable) -> None:
        self._table = table
        kept = ["path", "partition.event_date", "partition.segment", "max.covered_segment", "max.max_event_time"]
        self.rows = files_of(table).select(kept).to_pylist()

    @cached_property
    def coverage(self) -> dict[date, int]:
        """The segment through which each date is covered; every row of a date states it, so statistics suffice."""
        covered: dict[date, int] = {}
        for file in self.rows:
            day, segment = file["partition.event_date"], file["max.covered_segment"]
            # Statistics reach as far as the first 32 columns.
            segment = position(self._table, covered_app(day)) if segment is None else segment
            covered[day] = max(covered.get(day, NOTHING), segment)
        return covered

    def newest_event(self, cursor: duckdb.DuckDBPyConnection) -> datetime | None:
        """The newest event time of all dates, whichever are asked for: the watermark is that of the log."""
        bounds = {file["path"]: file["max.max_event_time"] for file in self.rows}
        if not bounds:
            return None
        # Spark's statistics are cut to milliseconds: what lies within one of the highest is looked up.
        highest = max(filter(None, bounds.values()), default=_EARLIEST) - timedelta(milliseconds=1)
        near = [path for path, bound in bounds.items() if bound is None or bound >= highest]
        create_view(cursor, "newest", self._table, near)
        [[newest]] = cursor.execute("SELECT max(max_event_time) FROM newest").fetchall()
        return newest if isinstance(newest, datetime) else None


def _of_dates(
    files: list[dict[str, Any]], snapshot: Snapshot, since: datetime | None, until: datetime | None
) -> list[str]:
    """The files that can hold events, dated in whatever zone, of windows that start in ``[since, until)``."""
    window = snapshot.rollup.window
    first, last = date.min, date.max
    if isinstance(window, Window):
        first = since.date() - _ONE_DAY if since else first
        last = (until + window.length).date() + _ONE_DAY if until else last
    return [file["path"] for file in files if first <= file["partition.event_date"] <= last]
