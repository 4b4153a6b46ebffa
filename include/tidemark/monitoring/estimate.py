"""What a reprocess would read and how long it would take, told by the log's index and earlier runs alone."""

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from tidemark.core.errors import TidemarkError
from tidemark.core.settings import Settings
from tidemark.definition import Pipeline
from tidemark.lake.log import DateIndex
from tidemark.lake.scan_ranges import date_index, scan_ranges
from tidemark.lake.snapshots import active_files, open_table, position
from tidemark.lake.tables import tables_of
from tidemark.lake.transaction_ids import INGEST_APP


class Slice(NamedTuple):
    """What of bronze a reprocess of some event dates reads. Rows and bytes are of whole files: it reads no more."""

    dates: int
    dates_with_events: int
    bronze_rows: int
    bronze_bytes: int
    bronze_files: int


class Timed(NamedTuple):
    """An earlier reprocess: the rows of bronze that it read, and the seconds that it took."""

    bronze_rows: int
    seconds: float


def event_dates(pipeline: Pipeline, settings: Settings) -> list[date]:
    """The event dates of which the log or silver holds events, quarantined ones included, in order.

    Silver alone does not tell: rows that somebody deleted there come back by a reprocess, which must not be refused.

    Raises:
        TableError: the pipeline has no tables yet.
    """
    through = position(open_table(tables_of(pipeline, settings).bronze, settings), INGEST_APP)
    return _event_dates(pipeline, settings, date_index(pipeline, settings), through)


def _event_dates(pipeline: Pipeline, settings: Settings, index: DateIndex, through: int) -> list[date]:
    files = active_files(open_table(tables_of(pipeline, settings).silver, settings))
    held = set(files["partition.event_date"].to_pylist()) - {None}
    return sorted(held | set(index.dates(date.min, date.max, through)))


def slice_of(pipeline: Pipeline, settings: Settings, start: date, end: date) -> Slice:
    """The slice of bronze for the event dates ``[start, end)``, through what the log holds now.

    Raises:
        TableError: the pipeline has no tables yet.
    """
    tables = tables_of(pipeline, settings)
    bronze = open_table(tables.bronze, settings)
    index = date_index(pipeline, settings)
    through = position(bronze, INGEST_APP)
    intervals = scan_ranges(index, pipeline, start, end, through)
    files = active_files(bronze)
    low, high = files["min.ingest_batch"], files["max.ingest_batch"]
    read = pa.array([False] * files.num_rows)
    for interval in intervals:
        inside = pc.and_(pc.less_equal(low, interval.high), pc.greater_equal(high, interval.low))
        read = pc.or_(read, pc.fill_null(inside, True))
    files = files.filter(read)
    found = sum(start <= day < end for day in _event_dates(pipeline, settings, index, through))
    return Slice(
        (end - start).days,
        found,
        int(pc.sum(files["num_records"]).as_py() or 0),
        int(pc.sum(files["size_bytes"]).as_py() or 0),
        files.num_rows,
    )


def expected_seconds(bronze_rows: int, earlier: Iterable[Timed]) -> float | None:
    """What the earlier run nearest in size took, and in proportion more for more rows; None without earlier runs.

    Never less than that run took: what a small run takes is the start of Spark.
    """
    nearest = min(earlier, key=lambda run: abs(run.bronze_rows - bronze_rows), default=None)
    if nearest is None:
        return None
    return round(nearest.seconds * max(1.0, bronze_rows / max(nearest.bronze_rows, 1)), 1)


def timed(figures: Iterable[Mapping[str, Any]]) -> list[Timed]:
    """The runs of which there are figures, among the extras of asset events."""
    return [
        Timed(int(each["bronze_rows"]), float(each["seconds"]))
        for each in figures
        if {"bronze_rows", "seconds"} <= each.keys()
    ]


def refuse_before_history(pipeline: Pipeline, settings: Settings, start: date, end: date) -> None:
    """Raise TidemarkError for a range that begins before the first event date there is: it was mistyped."""
    days = event_dates(pipeline, settings)
    if not days:
        raise TidemarkError(f"{pipeline.name} holds no event yet: start its streams first")
    if start < days[0]:
        raise TidemarkError(
            f"the range [{start}, {end}) is longer than the history: the event dates of {pipeline.name} are "
            f"{days[0]} to {days[-1]}; give a range that begins on {days[0]} or later"
        )
