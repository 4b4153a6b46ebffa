"""Querying the serving view in this process: DuckDB over snapshots pinned in the right order."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache, cached_property
from typing import Any, NamedTuple

import duckdb
import pyarrow as pa
from deltalake import DeltaTable
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

from tidemark.core.errors import UnavailableError
from tidemark.core.settings import Settings
from tidemark.definition import Pipeline, Rollup, Window
from tidemark.definition.measures import Dialect
from tidemark.lake.evolution import EVOLVED
from tidemark.lake.generations import Added, History
from tidemark.lake.snapshots import NOTHING, active_files, is_dated, open_table, position
from tidemark.lake.tables import tables_of
from tidemark.lake.transaction_ids import BEGUN_APP, REFINE_APP, covered_app
from tidemark.serving.cache import finished_rows
from tidemark.serving.scan import relation
from tidemark.serving.sketches import register_sketches
from tidemark.serving.sql import Layer, serving_sql

_ONE_DAY = timedelta(days=1)
_DATE = "partition.event_date"
_NO_PANE = "null_count.pane_start"
_EARLIEST = datetime(1, 1, 2, tzinfo=UTC)
_LATEST = datetime(9999, 12, 30, tzinfo=UTC)


class ScanPlan(NamedTuple):
    """The files that an answer is made of: to be merged, of either layer, and of batch-only dates."""

    batch: list[str]
    speed: list[str]
    batch_only: dict[date, tuple[str, ...]]


@dataclass(frozen=True)
class Snapshot:
    """The batch and speed tables of a rollup, pinned so that together they hold exactly a prefix of the log.

    It never changes, and can be read until VACUUM removes its files.
    """

    pipeline: Pipeline
    """The pipeline, as it is defined now."""
    rollup: Rollup
    """The rollup whose tables these are."""
    batch: DeltaTable
    """The batch table at its pinned version."""
    speed: DeltaTable
    """The speed table, pinned after the batch table."""
    added: tuple[Added, ...] = ()
    """Measures that rows from before they were defined lack."""

    def missing_measures(self) -> dict[str, set[date]]:
        """By measure, the event dates that cannot tell it until they are reprocessed."""
        return {one.measure: one.missing_dates(self.batch_files.coverage) for one in self.added}

    @cached_property
    def batch_files(self) -> "Files":
        """The batch table's files."""
        stored = self.rollup.stored(self.pipeline.timezone).values()
        return Files(self.batch, [kept.column for kept in stored])

    @cached_property
    def speed_files(self) -> "Files":
        """The speed table's files."""
        return Files(self.speed)

    @cached_property
    def uncovered(self) -> list[dict[str, Any]]:
        """The speed table's files of segments that the batch table does not cover."""
        coverage = self.batch_files.coverage
        return [f for f in self.speed_files.rows if f["partition.segment"] > coverage.get(f[_DATE], NOTHING)]

    @cached_property
    def batch_only(self) -> set[date]:
        """The event dates that the batch table answers for alone, with a finished row a key and window."""
        if not self.rollup.has_one_row_a_window(self.pipeline.timezone):
            return set()
        unfinished = {f[_DATE] for f in self.batch_files.rows if not f["finished"]}
        merged = {f[_DATE] for f in self.uncovered}.union(unfinished, *self.missing_measures().values())
        return set(self.batch_files.coverage) - merged

    def scan_plan(
        self, since: datetime | None = None, until: datetime | None = None, layer: Layer | None = None
    ) -> ScanPlan:
        """The files that can hold events of windows that start in ``[since, until)``; None: no limit.

        ``layer``: no date counts as batch-only, so that the layers can be told apart.
        """
        alone = set() if layer else self.batch_only
        batch = _of_dates(self.batch_files.rows, self, since, until)
        batch_only: dict[date, tuple[str, ...]] = {}
        for file in batch:
            if file[_DATE] in alone:
                batch_only[file[_DATE]] = (*batch_only.get(file[_DATE], ()), file["path"])
        return ScanPlan(
            [file["path"] for file in batch if file[_DATE] not in alone],
            [file["path"] for file in _of_dates(self.uncovered, self, since, until)],
            batch_only,
        )

    @property
    def position(self) -> int:
        """The ingest_batch through which the answer holds every event; -1 before the first."""
        return position(self.speed, REFINE_APP)


@retry(retry=retry_if_exception_type(UnavailableError), stop=stop_after_delay(2), wait=wait_fixed(0.05), reraise=True)
def pin(pipeline: Pipeline, rollup: Rollup, settings: Settings) -> Snapshot:
    """Pin the newest state of a rollup.

    The batch table first: what it covers, refine had finished, so a later speed snapshot holds everything else of at
    least that prefix. The other way round, a date published in between would be missing (it was, in 1 answer of 281).

    Raises:
        TableError: a table does not exist yet (NoTableError) or cannot be read; the message says what to do.
        UnavailableError: a rollup that came back is being rolled up anew: one of its tables is, the other is not yet,
            and two seconds did not change that.

    Examples:
        Each answer of one snapshot is of one state, however much is written meanwhile. Pin again for a newer one. With
        the pipeline and the settings of the example in [tidemark.serving][]:

        >>> from tidemark.serving import pin
        >>> pin(flights, flights.rollup("by_carrier"), settings).position
        7
    """
    tables = tables_of(pipeline, settings)
    batch = open_table(tables.batch[rollup.name], settings)
    speed = open_table(tables.speed[rollup.name], settings)
    return pinned(pipeline, rollup, batch, speed, settings)


def pinned(pipeline: Pipeline, rollup: Rollup, batch: DeltaTable, speed: DeltaTable, settings: Settings) -> Snapshot:
    """A snapshot of tables that were opened in the right order; raises as ``pin`` does."""
    if position(batch, BEGUN_APP) != position(speed, BEGUN_APP):
        raise UnavailableError(
            f"{pipeline.name}.{rollup.name} is back in the definition, and is being rolled up anew: ask again in a "
            "moment. If the refine stream ended in the middle of it, start it again: it begins anew"
        )
    # A measure that was added has added columns.
    evolved = batch.metadata().configuration.get(EVOLVED)
    return Snapshot(
        pipeline, rollup, batch, speed, tuple(History.of(pipeline, settings).added(rollup) if evolved else ())
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


def query(
    snapshot: Snapshot,
    *,
    layer: Layer | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    connection: duckdb.DuckDBPyConnection | None = None,
) -> pa.Table:
    """The rollup's windows as of the snapshot, ordered by keys and window. Grain: one row a key and window.

    Columns as those of ``serving_sql``. A measure that was added has no value in windows with events from before, until
    their dates are reprocessed.

    Args:
        snapshot: What ``pin`` gave.
        layer: ``"batch"`` or ``"speed"``: only what that layer contributes; None: both.
        since: Only windows that start at this time or later, with a time zone. The files of other dates are not read,
            so the cost follows the question and not the history. Of sessions all files are read.
        until: Only windows that start before this time, with a time zone.
        connection: A DuckDB to ask, as ``connect`` gives it; by default one that this process keeps.

    Examples:
        With the snapshot of the example in [tidemark.serving][]:

        >>> from datetime import UTC, datetime
        >>> from tidemark.serving import query
        >>> nine, ten = datetime(2026, 5, 1, 9, tzinfo=UTC), datetime(2026, 5, 1, 10, tzinfo=UTC)
        >>> query(snapshot, since=nine, until=ten)["flights"].to_pylist()
        [3]
        >>> query(snapshot, since=ten)["flights"].to_pylist()
        []

        What the batch has counted so far, without the late flight:

        >>> query(snapshot, layer="batch")["flights"].to_pylist()
        [2]
    """
    with (connection or _shared()).cursor() as cursor:
        cursor.execute("SET TimeZone = 'UTC'")
        plan = snapshot.scan_plan(since, until, layer)
        if plan.batch_only:
            rows = finished_rows(cursor, snapshot.pipeline, snapshot.rollup, snapshot.batch, plan.batch_only)
            cursor.register("batch_only", rows)
        text = answering_sql(
            cursor, "answer", snapshot, plan, batch_only="batch_only" if plan.batch_only else "", layer=layer
        )
        order = ", ".join(f'"{name}"' for name in [*snapshot.rollup.by, "window_start"])
        if since is None and until is None:
            return cursor.sql(f"{text} ORDER BY {order}").to_arrow_table()
        final = f"window_end <= $newest - INTERVAL {int(snapshot.pipeline.allowed_lateness.total_seconds())} SECOND"
        asked = (
            f"SELECT * REPLACE ({final} AS final) FROM ({text}) WHERE window_start >= $since AND window_start < $until"
        )
        bounds = {"since": since or _EARLIEST, "until": until or _LATEST, "newest": _newest_event(cursor, snapshot)}
        return cursor.sql(f"{asked} ORDER BY {order}", params=bounds).to_arrow_table()


def answering_sql(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    snapshot: Snapshot,
    plan: ScanPlan,
    *,
    batch_only: str,
    layer: Layer | None = None,
) -> str:
    """The serving SQL over the files of an answer; ``name`` is for what is registered with the connection for it."""
    return serving_sql(
        snapshot.pipeline,
        snapshot.rollup,
        Dialect.DUCKDB,
        batch=f"({relation(connection, f'{name}.batch', snapshot.batch, plan.batch)})",
        speed=f"({relation(connection, f'{name}.speed', snapshot.speed, plan.speed)})",
        batch_only=batch_only,
        layer=layer,
        covered_left_out=True,
        missing_measures=snapshot.missing_measures(),
    )


class Files:
    """The files of a snapshot of a batch or speed table, by what its log says of them.

    ``finished``: the file has all of the columns ``stored``. One from before a column was added, or beyond the columns
    of which there are statistics, is not known to, and is merged and finished as it is read; so is one in which such a
    column is null throughout, as compaction fills what a file lacks.
    """

    def __init__(self, table: DeltaTable, stored: Collection[str] = ()) -> None:
        self._table = table
        kept = ["path", "num_records", _DATE, "partition.segment", "max.covered_segment", "max.max_event_time"]
        files = active_files(table)
        counts = [f"null_count.{column}" for column in stored]
        told = [name for name in (*counts, _NO_PANE) if name in files.column_names]
        # A date that no reader can hold is none of an event: the next reprocess of everything takes it out.
        self.rows = [row for row in files.select(kept + told).to_pylist() if is_dated(row)]
        for row in self.rows:
            row["finished"] = all(row.get(name) is not None and _holds_any(row, name) for name in counts)

    @cached_property
    def coverage(self) -> dict[date, int]:
        """The segment through which each date is covered; every row of a date states it, so statistics suffice."""
        covered: dict[date, int] = {}
        for file in self.rows:
            day, segment = file[_DATE], file["max.covered_segment"]
            # Statistics reach as far as the first 32 columns.
            segment = position(self._table, covered_app(day)) if segment is None else segment
            covered[day] = max(covered.get(day, NOTHING), segment)
        return covered


def _holds_any(row: Mapping[str, Any], null_count: str) -> bool:
    """Whether a column has a value in a file, or needs none, as the file has nothing but a date's marker."""
    return bool(row[null_count] < row["num_records"] or row.get(_NO_PANE) == row["num_records"])


def _newest_event(cursor: duckdb.DuckDBPyConnection, snapshot: Snapshot) -> datetime | None:
    """The newest event time of all dates, whichever are asked for: the watermark is that of the log."""
    both = [(snapshot.batch, snapshot.batch_files.rows), (snapshot.speed, snapshot.speed_files.rows)]
    bounds = [file["max.max_event_time"] for _, files in both for file in files]
    # Spark's statistics are cut to milliseconds: what lies within one of the highest is looked up.
    highest = max(filter(None, bounds), default=_EARLIEST) - timedelta(milliseconds=1)
    found = []
    for table, files in both:
        near = [f["path"] for f in files if f["max.max_event_time"] is None or f["max.max_event_time"] >= highest]
        if near:
            text = f"SELECT max(max_event_time) FROM ({relation(cursor, 'newest', table, near)})"
            found += [newest for [newest] in cursor.execute(text).fetchall() if newest is not None]
    return max(found, default=None)


def _of_dates(
    files: list[dict[str, Any]], snapshot: Snapshot, since: datetime | None, until: datetime | None
) -> list[dict[str, Any]]:
    """The files that can hold events, dated in whatever zone, of windows that start in ``[since, until)``."""
    window = snapshot.rollup.window
    first, last = date.min, date.max
    if isinstance(window, Window):
        first = since.date() - _ONE_DAY if since else first
        last = (until + window.length).date() + _ONE_DAY if until else last
    return [file for file in files if first <= file[_DATE] <= last]
