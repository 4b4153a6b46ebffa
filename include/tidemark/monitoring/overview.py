"""Every pipeline at a glance, from the logs: how its streams do, and what a reprocess has covered of each date."""

import calendar
from datetime import UTC, date, datetime
from typing import Literal, NamedTuple

import pyarrow.compute as pc

from tidemark.core.days import Days, in_a_row
from tidemark.core.errors import ExpectationError, TableError
from tidemark.core.settings import Settings
from tidemark.definition import Pipeline
from tidemark.lake.generations import plan
from tidemark.lake.publish import coverage
from tidemark.lake.snapshots import NOTHING, active_files, is_dated, open_table
from tidemark.lake.tables import Tables, tables_of
from tidemark.monitoring.health import Health, health
from tidemark.quality import load_suite

MAX_MONTHS = 24
"""Months with events that a calendar shows: the newest."""
MAX_GAPS = 10
"""Gaps that are listed: the newest."""
State = Literal["covered", "late", "uncovered", "none"]


class Day(NamedTuple):
    """One event date: ``covered`` by a reprocess, with ``late`` events since, ``uncovered`` yet, or without events."""

    date: date
    state: State
    rows: int
    rows_since: int
    """Rows that have come since the reprocess that covers the date, which the speed layer serves."""
    published: datetime | None
    """When the date was last reprocessed."""


class Month(NamedTuple):
    """A month as weeks of days, from Monday on; None where the week belongs to another month."""

    name: str
    weeks: list[list[Day | None]]


class Overview(NamedTuple):
    """A pipeline; without ``health`` it has no tables yet."""

    pipeline: str
    health: Health | None
    problems: list[str]
    quarantined: int
    months: list[Month]
    gaps: list[Days]
    """Dates that are late or uncovered, which a reprocess would bring in order, the newest first."""
    changed: list[str]
    """What the definition here has otherwise than the streams', in words."""
    due: list[Days]
    """Dates that hold what an older definition made of their events, the newest first."""


def overview(pipeline: Pipeline, settings: Settings, now: datetime | None = None) -> Overview:
    """What the logs say of a pipeline now."""
    try:
        found = health(pipeline, settings, now)
    except TableError:
        return Overview(pipeline.name, None, [], 0, [], [], [], [])
    tables = tables_of(pipeline, settings)
    quarantine = active_files(open_table(tables.quarantine, settings))
    quarantined = int(pc.sum(quarantine["num_records"]).as_py() or 0)
    seen = days(tables, settings)
    problems = found.problems(pipeline)
    changed: list[str] = []
    due: list[Days] = []
    try:
        asked = plan(pipeline, load_suite(pipeline, settings), settings)
        changed = [f"{change.object} ({change.change}): {change.category}" for change in asked.changes]
        due = newest(asked.due)
    except ExpectationError as error:
        problems = [*problems, str(error)]
    return Overview(pipeline.name, found, problems, quarantined, months(seen), gaps(seen), changed, due)


def days(tables: Tables, settings: Settings) -> dict[date, Day]:
    """The event dates of which silver holds rows, or that a reprocess covers."""
    batches = [open_table(table, settings) for table in tables.batch.values()]
    published: dict[date, int] = {}
    for batch in batches:
        for file in filter(
            is_dated, active_files(batch).select(["partition.event_date", "modification_time"]).to_pylist()
        ):
            day = file["partition.event_date"]
            published[day] = max(published.get(day, 0), file["modification_time"])
    rows: dict[date, dict[int, int]] = {day: {} for day in published}
    columns = ["partition.event_date", "partition.segment", "num_records"]
    for file in filter(is_dated, active_files(open_table(tables.silver, settings)).select(columns).to_pylist()):
        segments = rows.setdefault(file["partition.event_date"], {})
        segments[file["partition.segment"]] = segments.get(file["partition.segment"], 0) + file["num_records"]
    found = {}
    for day, segments in sorted(rows.items()):
        covered = min((coverage(batch, day) for batch in batches), default=NOTHING)
        since = sum(count for segment, count in segments.items() if segment > covered)
        state: State = "uncovered" if covered == NOTHING else "late" if since else "covered"
        at = datetime.fromtimestamp(published[day] / 1000, UTC) if day in published and covered != NOTHING else None
        found[day] = Day(day, state, sum(segments.values()), since, at)
    return found


def months(found: dict[date, Day]) -> list[Month]:
    """The newest months with events, as calendars, newest first."""
    named = sorted({(day.year, day.month) for day in found}, reverse=True)[:MAX_MONTHS]
    weeks_of = calendar.Calendar(firstweekday=calendar.MONDAY).monthdatescalendar
    return [
        Month(
            f"{calendar.month_name[month]} {year}",
            [
                [found.get(day, Day(day, "none", 0, 0, None)) if day.month == month else None for day in week]
                for week in weeks_of(year, month)
            ],
        )
        for year, month in named
    ]


def gaps(found: dict[date, Day]) -> list[Days]:
    """The newest ranges of dates that are late or uncovered, newest first."""
    return newest(in_a_row(day.date for day in found.values() if day.state in ("late", "uncovered")))


def newest(ranges: list[Days]) -> list[Days]:
    """As many as are listed, newest first."""
    return ranges[: -MAX_GAPS - 1 : -1]
