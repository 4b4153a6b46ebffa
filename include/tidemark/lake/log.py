"""The log: which ingest_batch came when and in which segment, and which event dates it holds. The one place that says.

Position, time and segment are translated here and nowhere else, and by rows: a file that compaction has merged has the
bounds of many ingest_batches, and says of none of them when it came. Of a file of one ingest_batch its bounds are its
rows, and it is not opened; of others three columns are read.
"""

from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple, Self
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pa_fs
import pyarrow.parquet as pq
from deltalake import DeltaTable
from deltalake.fs import DeltaStorageHandler

from tidemark.lake.commits import retry_conflicts, set_transactions
from tidemark.lake.snapshots import NOTHING, active_files, open_table, position
from tidemark.lake.tables import TIMESTAMP, Tables
from tidemark.lake.transaction_ids import INGEST_APP, REFINE_APP, SEALED_APP, SEGMENT_APP

if TYPE_CHECKING:  # what each Python worker of Spark imports is a part of the start of each query
    from tidemark.core.settings import Settings

_PLACE = pa.schema([("ingest_batch", pa.int64()), ("segment", pa.int64()), ("ingest_time", TIMESTAMP)])
_ROUNDED = timedelta(milliseconds=1)
"""Some writers round the bounds of times in Delta's log to milliseconds."""


class Sealed(NamedTuple):
    """The highest sealed segment, and the last ingest_batch in it; both ``NOTHING`` in a log without rows."""

    segment: int
    through: int


@retry_conflicts
def seal(tables: Tables, settings: "Settings", *, leave_out: bool = False) -> Sealed:
    """Seal the open segment, if it holds rows, and return what is sealed now.

    ``leave_out``: seal one more number after it, which no row will ever have. What is covered through that one was
    sealed later than anything that was sealed before.

    The commit carries the ingest stream's transaction identifier too, so that a concurrent micro-batch conflicts with
    it, and is stamped with the next segment: no row ever enters a sealed segment.
    """
    bronze = open_table(tables.bronze, settings)
    sealed, newest = position(bronze, SEALED_APP), position(bronze, SEGMENT_APP)
    # Of the snapshot that is sealed, and not of a later one: the next micro-batch belongs to the next segment.
    through = position(bronze, INGEST_APP)
    segment = max(sealed, newest) + (1 if leave_out else 0)
    if segment <= sealed or through == NOTHING:
        return Sealed(sealed, through)
    set_transactions(bronze, {INGEST_APP: through, SEALED_APP: segment})
    return Sealed(segment, through)


def places(bronze: DeltaTable, *, beyond: int | None = None, since: datetime | None = None) -> pa.Table:
    """The ingest_batches beyond a position, and those that came at ``since`` or later. Neither: all.

    Grain: one row an ingest_batch, in order: ``ingest_batch``, ``segment``, ``ingest_time``.
    """
    files = active_files(bronze)
    if beyond is not None or since is not None:
        files = files.filter(
            pc.fill_null(_chosen(files["max.ingest_batch"], files["max.ingest_time"], beyond, since), True)
        )
    single = pc.and_(
        pc.equal(files["min.ingest_batch"], files["max.ingest_batch"]),
        pc.and_(pc.is_valid(files["min.segment"]), pc.is_valid(files["min.ingest_time"])),
    )
    single = pc.fill_null(single, False)
    alone, merged = files.filter(single), files.filter(pc.invert(single))
    stated = [alone[f"min.{name}"].cast(kind) for name, kind in zip(_PLACE.names, _PLACE.types, strict=True)]
    found = [pa.table(stated, schema=_PLACE)]
    if merged.num_rows:
        handle = pa_fs.PyFileSystem(DeltaStorageHandler.from_table(bronze._table))
        for path in merged["path"].to_pylist():
            with handle.open_input_file(unquote(path)) as file:
                found.append(pq.read_table(file, columns=_PLACE.names).select(_PLACE.names).cast(_PLACE))
    rows = pa.concat_tables(found)
    if beyond is not None or since is not None:
        rows = rows.filter(_chosen(rows["ingest_batch"], rows["ingest_time"], beyond, since, timedelta(0)))
    by_batch = rows.group_by("ingest_batch").aggregate([("segment", "min"), ("ingest_time", "min")])
    columns = [by_batch["ingest_batch"], by_batch["segment_min"], by_batch["ingest_time_min"]]
    return pa.table(columns, schema=_PLACE).sort_by("ingest_batch")


def _chosen(
    batches: pa.ChunkedArray,
    times: pa.ChunkedArray,
    beyond: int | None,
    since: datetime | None,
    slack: timedelta = _ROUNDED,
) -> pa.ChunkedArray:
    after = None if beyond is None else pc.greater(batches, beyond)
    late = None if since is None else pc.greater_equal(times, pa.scalar(since - slack, TIMESTAMP))
    return late if after is None else after if late is None else pc.or_(after, late)


class Refined(NamedTuple):
    """How far the refine stream has come."""

    position: int
    """The newest ingest_batch that all refined tables hold."""
    lag: timedelta
    """How long the oldest record that it has not passed has been in bronze; zero if it has passed all."""


def refined_through(bronze: DeltaTable, tables: Tables, settings: "Settings", now: datetime) -> Refined:
    """How far the refine stream has come in a snapshot of bronze; raises TableError where there is no refined table."""
    refined = min(position(open_table(table, settings), REFINE_APP) for table in tables.refined)
    waiting = pc.min(places(bronze, beyond=refined)["ingest_time"]).as_py()
    return Refined(refined, timedelta() if waiting is None else now - waiting)


def ended_segment(bronze: DeltaTable, refined: int, before: datetime | None = None) -> int:
    """The highest sealed segment that refine has passed, at ``refined``, and whose rows all came ``before`` a time."""
    unfinished = places(bronze, beyond=refined, since=before)
    sealed = position(bronze, SEALED_APP)
    return min(sealed, int(unfinished["segment"][0].as_py()) - 1) if unfinished.num_rows else sealed


def first_within(bronze: DeltaTable, number: int, horizon: timedelta) -> int:
    """The first ingest_batch that came no more than ``horizon`` before another one; 0 if bronze lacks that."""
    found = places(bronze, beyond=number - 1)
    if not found.num_rows or found["ingest_batch"][0].as_py() != number:
        return 0
    since = found["ingest_time"][0].as_py() - horizon
    return int(places(bronze, since=since)["ingest_batch"][0].as_py())


class Interval(NamedTuple):
    """The ingest_batches from ``low`` to ``high``, both included."""

    low: int
    high: int


class DateIndex(NamedTuple):
    """The index of the log by event date: a row an ingest_batch that refine has passed, of the refine log.

    It is independent of what silver and quarantine hold, and of how any table's files are laid out.
    """

    rows: pa.Table
    """``ingest_batch`` in order, ``segment``, ``ingest_time``, ``records``; ``event_dates``, null if not known."""

    @classmethod
    def of(cls, refine_log: DeltaTable, unknown: list[Interval]) -> Self:
        """The index of a snapshot of the refine log; ``unknown``: what another definition gave its dates."""
        held = {field.name for field in refine_log.schema().fields}
        names = [n for n in ("ingest_batch", "segment", "ingest_time", "records", "event_dates") if n in held]
        rows = refine_log.to_pyarrow_dataset().to_table(columns=names).sort_by("ingest_batch")
        if "event_dates" not in held:
            rows = rows.append_column("event_dates", pa.nulls(rows.num_rows, pa.list_(pa.date32())))
        for low, high in unknown:
            old = pc.and_(pc.greater_equal(rows["ingest_batch"], low), pc.less_equal(rows["ingest_batch"], high))
            at = rows.column_names.index("event_dates")
            dates = rows["event_dates"]
            rows = rows.set_column(at, "event_dates", pc.if_else(old, pa.scalar(None, dates.type), dates))
        return cls(rows)

    def known(self, through: int) -> pa.Table:
        """The rows whose dates are known, up to an ingest_batch."""
        kept = pc.and_(pc.is_valid(self.rows["event_dates"]), pc.less_equal(self.rows["ingest_batch"], through))
        return self.rows.filter(kept)

    def segment(self, through: int) -> int:
        """The highest segment of the ingest_batches up to one; -1 where there is none."""
        newest = pc.max(self.rows.filter(pc.less_equal(self.rows["ingest_batch"], through))["segment"]).as_py()
        return NOTHING if newest is None else int(newest)

    def is_complete(self, through: int) -> bool:
        """Whether the dates of every ingest_batch up to one are known."""
        return bool(self.known(through).num_rows > through)

    def dates(self, start: date, end: date, through: int) -> list[date]:
        """The dates in ``[start, end)`` that have events, as far as is known."""
        found = pc.unique(pc.list_flatten(self.known(through)["event_dates"]))
        return sorted(day for day in found.to_pylist() if start <= day < end)

    def batches(self, start: date, end: date, through: int) -> list[Interval]:
        """The ingest_batches up to one that hold, or may hold, events of the dates ``[start, end)``."""
        known = self.known(through).combine_chunks()
        numbers = known["ingest_batch"].to_numpy()
        dates = pc.list_flatten(known["event_dates"])
        inside = pc.and_(pc.greater_equal(dates, pa.scalar(start)), pc.less(dates, pa.scalar(end)))
        hits = pc.unique(pc.list_parent_indices(known["event_dates"]).filter(inside)).to_numpy()
        may = np.ones(max(through, NOTHING) + 1, dtype=bool)
        may[numbers] = False
        may[numbers[hits]] = True
        edges = np.flatnonzero(np.diff(np.concatenate(([False], may, [False])).astype(np.int8)))
        return [Interval(int(low), int(high) - 1) for low, high in edges.reshape(-1, 2)]

    def look_back(self, intervals: list[Interval], horizon: timedelta) -> list[Interval]:
        """The intervals, each begun one horizon of ingest time earlier, where first copies of its events may be.

        Without that, a copy of an event under another date would count as its first, and the key would be there twice.
        Once is enough: the first copy of all is kept where it is, and each later one that is read here has either that
        or another copy of its event before it.
        """
        numbers = self.rows["ingest_batch"].to_numpy()
        times = self.rows["ingest_time"].cast(pa.timestamp("us")).cast(pa.int64()).to_numpy()
        reach = round(horizon / timedelta(microseconds=1))
        earlier = []
        for low, high in intervals:
            # Of an ingest_batch without a row the time is unknown: that of the row before it is no later.
            at = int(np.searchsorted(numbers, low, "right")) - 1
            first = int(np.searchsorted(times, times[at] - reach, "left")) if at >= 0 else 0
            begin = int(numbers[first - 1]) + 1 if first else 0
            earlier.append(Interval(min(low, begin), high))
        return earlier

    def records(self, intervals: list[Interval]) -> int:
        """The records of the ingest_batches in some intervals that do not overlap, as refine counted them."""
        numbers, counts = self.rows["ingest_batch"].to_numpy(), self.rows["records"].to_numpy()
        sums = np.concatenate(([0], np.cumsum(counts)))
        bounds = [
            (np.searchsorted(numbers, low, "left"), np.searchsorted(numbers, high, "right")) for low, high in intervals
        ]
        return int(sum(sums[high] - sums[low] for low, high in bounds))
