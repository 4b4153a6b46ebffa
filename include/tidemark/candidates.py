"""Which ingest_batches can hold the events of some dates, told by the tables' logs alone: no file is opened."""

from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from itertools import pairwise
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

from tidemark.delta import files_of

NO_BATCH = "false"
"""The condition that no ingest_batch fulfils."""
MAX_INTERVALS = 100
"""Intervals of a condition; beyond that, those with the smallest gaps between them are joined."""


class Interval(NamedTuple):
    """The ingest_batches from ``low`` to ``high``, both included."""

    low: int
    high: int


EVERYTHING = Interval(0, 2**62)


def batches_of_dates(silver: DeltaTable, start: date, end: date, segment: int) -> list[Interval]:
    """The ingest_batches of silver's rows with an event date in ``[start, end)``, through a segment."""
    files = files_of(silver)
    dates, segments = files["partition.event_date"], files["partition.segment"]
    inside = pc.and_(pc.greater_equal(dates, pa.scalar(start)), pc.less(dates, pa.scalar(end)))
    files = files.filter(pc.and_(inside, pc.less_equal(segments, segment)))
    return merged(_intervals(files["min.ingest_batch"].to_pylist(), files["max.ingest_batch"].to_pylist()))


def look_back(intervals: Sequence[Interval], bronze: DeltaTable, horizon: timedelta) -> list[Interval]:
    """The intervals, each begun one horizon of ingest time earlier, where first copies of its events may be.

    Without that, a copy of an event under another date would count as its first, and the key would be there twice.
    """
    files = files_of(bronze)
    earlier = []
    for low, high in intervals:
        times = files.filter(pc.greater_equal(files["max.ingest_batch"], low))["min.ingest_time"]
        since = pc.min(times).as_py()
        if since is not None:
            recent = files.filter(pc.greater_equal(files["max.ingest_time"], pa.scalar(since - horizon)))
            low = min(low, pc.min(recent["min.ingest_batch"]).as_py())
        earlier.append(Interval(low, high))
    return merged(earlier)


def merged(intervals: Iterable[Interval]) -> list[Interval]:
    """The same ingest_batches in order, in at most ``MAX_INTERVALS``: then with what lies in the smallest gaps."""
    joined: list[Interval] = []
    for interval in sorted(intervals):
        if joined and interval.low <= joined[-1].high + 1:
            joined[-1] = Interval(joined[-1].low, max(joined[-1].high, interval.high))
        else:
            joined.append(interval)
    if len(joined) <= MAX_INTERVALS:
        return joined
    gaps = sorted((after.low - before.high, after.low) for before, after in pairwise(joined))
    kept = {low for _, low in gaps[len(gaps) - MAX_INTERVALS + 1 :]}
    few = [joined[0]]
    for interval in joined[1:]:
        if interval.low in kept:
            few.append(interval)
        else:
            few[-1] = Interval(few[-1].low, interval.high)
    return few


def condition(intervals: Sequence[Interval]) -> str:
    """A SQL condition on ``ingest_batch``; ``NO_BATCH`` where there is no interval."""
    return " OR ".join(f"ingest_batch BETWEEN {int(low)} AND {int(high)}" for low, high in intervals) or NO_BATCH


def _intervals(low: list[Any], high: list[Any]) -> list[Interval]:
    # A file whose bounds the log does not state may hold any.
    return [EVERYTHING if a is None or b is None else Interval(a, b) for a, b in zip(low, high, strict=True)]
