"""Ranges of event dates, as a reprocess is asked for them."""

from collections.abc import Iterable
from datetime import date, timedelta
from typing import NamedTuple


class Days(NamedTuple):
    """Event dates in a row, ``[start, end)``."""

    start: date
    end: date

    def __str__(self) -> str:
        last = self.end - timedelta(days=1)
        return str(self.start) if last == self.start else f"{self.start} to {last}"


def days_between(start: date, end: date) -> list[date]:
    """The dates in ``[start, end)``."""
    return [start + timedelta(days=n) for n in range((end - start).days)]


def in_a_row(days: Iterable[date]) -> list[Days]:
    """Dates as the ranges that hold them and no others, in order."""
    ranges: list[Days] = []
    for day in sorted(days):
        after = day + timedelta(days=1)
        if ranges and ranges[-1].end == day:
            ranges[-1] = Days(ranges[-1].start, after)
        else:
            ranges.append(Days(day, after))
    return ranges
