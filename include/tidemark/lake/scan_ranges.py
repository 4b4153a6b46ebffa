"""Which ingest_batches a reprocess of some event dates reads: by the log's index, and where copies are."""

from collections.abc import Iterable, Sequence
from datetime import date
from itertools import pairwise

from tidemark.core.settings import Settings
from tidemark.definition import Pipeline
from tidemark.lake.generations import History
from tidemark.lake.log import DateIndex, Interval
from tidemark.lake.snapshots import open_table
from tidemark.lake.tables import tables_of

NO_BATCH = "false"
"""The condition that no ingest_batch fulfils."""
MAX_INTERVALS = 100
"""Intervals of a condition; beyond that, those with the smallest gaps between them are joined."""


def date_index(pipeline: Pipeline, settings: Settings) -> DateIndex:
    """The index of a pipeline's log; of what another definition dated otherwise it knows nothing."""
    refine_log = open_table(tables_of(pipeline, settings).refine_log, settings)
    return DateIndex.of(refine_log, History.of(pipeline, settings).dated_otherwise(pipeline, refine_log))


def scan_ranges(index: DateIndex, pipeline: Pipeline, start: date, end: date, through: int) -> list[Interval]:
    """The ingest_batches that a reprocess of the event dates ``[start, end)`` reads, in order.

    Where the dates of an ingest_batch are not known, it is read.
    """
    wanted = index.batches(start, end, through)
    return merged(index.look_back(wanted, pipeline.deduplication_horizon))


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
