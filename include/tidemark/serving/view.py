"""Querying the serving view in this process: DuckDB over snapshots pinned in the right order."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from deltalake import DeltaTable

from tidemark.definition import Pipeline, Rollup, Window
from tidemark.definition.measures import Dialect
from tidemark.delta import open_table, position
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
    return Snapshot(pipeline, rollup, batch, speed)


def connect() -> duckdb.DuckDBPyConnection:
    """An in-memory DuckDB in UTC that knows the sketch functions and installs nothing."""
    connection = duckdb.connect(config={"autoinstall_known_extensions": False, "threads": 2})
    connection.execute("SET TimeZone = 'UTC'")
    register_sketches(connection)
    return connection


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
    """
    with connection.cursor() if connection else connect() as cursor:
        if connection:
            cursor.execute("SET TimeZone = 'UTC'")
        chosen = _dates(snapshot, since, until)
        cursor.register("batch", _dataset(snapshot.batch, chosen))
        cursor.register("speed", _dataset(snapshot.speed, chosen))
        text = serving_sql(snapshot.pipeline, snapshot.rollup, Dialect.DUCKDB, layer=layer)
        order = ", ".join(f'"{name}"' for name in [*snapshot.rollup.by, "window_start"])
        if since is None and until is None:
            return cursor.sql(f"{text} ORDER BY {order}").to_arrow_table()
        inside = "window_start >= $since AND window_start < $until"
        final = f"window_end <= $newest - INTERVAL {int(snapshot.pipeline.allowed_lateness.total_seconds())} SECOND"
        bounds = {"since": since or _EARLIEST, "until": until or _LATEST, "newest": _newest_event(snapshot, cursor)}
        asked = f"SELECT * REPLACE ({final} AS final) FROM ({text}) WHERE {inside} ORDER BY {order}"
        return cursor.execute(asked, bounds).to_arrow_table()


def _dates(snapshot: Snapshot, since: datetime | None, until: datetime | None) -> tuple[date, date] | None:
    """The event dates, in whatever zone, of the events of windows that start in ``[since, until)``; None: any."""
    window = snapshot.rollup.window
    if not isinstance(window, Window) or (since is None and until is None):
        return None
    first = since.date() - _ONE_DAY if since else date.min
    last = (until + window.length).date() + _ONE_DAY if until else date.max
    return first, last


def _dataset(table: DeltaTable, dates: tuple[date, date] | None) -> ds.Dataset:
    if dates is None:
        return table.to_pyarrow_dataset()
    known = {part["event_date"] for part in table.partitions()}
    chosen = sorted(day for day in known if dates[0] <= date.fromisoformat(day) <= dates[1])
    if not chosen:
        return ds.dataset(table.to_pyarrow_dataset().schema.empty_table())
    return table.to_pyarrow_dataset(partitions=[("event_date", "in", chosen)])


def _newest_event(snapshot: Snapshot, cursor: duckdb.DuckDBPyConnection) -> datetime | None:
    """The newest event time of the whole answer, whichever dates are asked for: the watermark is that of the log."""
    times: list[datetime] = []
    for table in (snapshot.batch, snapshot.speed):
        files = pa.table(table.get_add_actions(flatten=True))
        if "max.max_event_time" not in files.column_names:
            continue
        bound = pc.max(files["max.max_event_time"]).as_py()
        if bound is None:
            continue
        # Spark's statistics are cut to milliseconds: what lies within one of the highest is looked up.
        near = files.filter(pc.greater_equal(files["max.max_event_time"], pa.scalar(bound - timedelta(milliseconds=1))))
        days = sorted({day.isoformat() for day in near["partition.event_date"].to_pylist()})
        cursor.register("_newest", table.to_pyarrow_dataset(partitions=[("event_date", "in", days)]))
        [newest] = cursor.execute("SELECT max(max_event_time) FROM _newest").fetchone() or (None,)
        times += [newest] if newest is not None else []
    return max(times, default=None)
