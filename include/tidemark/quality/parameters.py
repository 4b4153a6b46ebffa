"""Parameters that a suite's arguments may name, as Great Expectations' own ``{"$PARAMETER": "0.5 * expected_rows"}``.

So an expectation about freshness or volume is one of Great Expectations' own types, whose limits follow the slice.
"""

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc

from tidemark.definition import Pipeline

DAYS_BEFORE = 7
"""Dates before a slice whose mean number of rows is what it is expected to have a day."""
PARAMETERS = {
    "slice_start": "when the first event date of the slice begins, in UTC",
    "slice_end": "when its last event date ends, or now, whichever is earlier, in UTC",
    "slice_days": "how many event dates the slice has",
    "expected_rows": "rows that it would have if each date had the mean of those that have any among the "
    f"{DAYS_BEFORE} dates before it; without a value where none has",
}
"""What each run of the batch sets, and what it means."""

_FUNCTIONS = {"e", "pi"}
_NAMES = re.compile(r"(?<![\w.$])[A-Za-z][\w$]*(?!\s*[=(\w$])")


def needed_parameters(expectation: Mapping[str, Any]) -> set[str]:
    """The parameters that the arguments of an expectation name; functions such as ``timedelta(hours=6)`` are none."""
    texts = [
        str(value["$PARAMETER"])
        for value in expectation["kwargs"].values()
        if isinstance(value, Mapping) and "$PARAMETER" in value
    ]
    return {name for text in texts for name in _NAMES.findall(text) if name.lower() not in _FUNCTIONS}


def slice_parameters(pipeline: Pipeline, files: pa.Table, start: date, end: date, now: datetime) -> dict[str, Any]:
    """The values for the event dates ``[start, end)``; ``date.min`` and ``max``: no limit.

    ``files``: those of silver, as the log of a snapshot states them (``tidemark.lake.snapshots.active_files``).

    Times are UTC and carry no zone, as Great Expectations gets them from Spark.
    """
    zone = ZoneInfo(pipeline.timezone)

    def midnight(day: date) -> datetime:
        return datetime.combine(day, time(), zone).astimezone(UTC).replace(tzinfo=None)

    until = now.astimezone(UTC).replace(tzinfo=None)
    if (start, end) == (date.min, date.max):
        return {"slice_end": until}
    days = (end - start).days
    values = {"slice_start": midnight(start), "slice_end": min(midnight(end), until), "slice_days": days}
    dates = files["partition.event_date"]
    before = files.filter(
        pc.and_(
            pc.greater_equal(dates, pa.scalar(start - timedelta(days=DAYS_BEFORE))), pc.less(dates, pa.scalar(start))
        )
    )
    found = len(pc.unique(before["partition.event_date"]))
    if found:
        values["expected_rows"] = days * pc.sum(before["num_records"]).as_py() / found
    return values
