"""Every pipeline at a glance, from the logs: how its streams do, and what a reprocess has covered of each date."""

import calendar
from datetime import UTC, date, datetime, timedelta
from typing import Literal, NamedTuple

import pyarrow.compute as pc

from tidemark.definition import Pipeline
from tidemark.delta import NOTHING, files_of, is_dated, open_table
from tidemark.errors import TableError
from tidemark.health import Health, health
from tidemark.publish import coverage
from tidemark.settings import Settings
from tidemark.tables import Tables, tables_of

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


class Gap(NamedTuple):
    """Event dates in a row ``[start, end)`` that are late or uncovered: what a form asks for as From and To."""

    start: date
    end: date


class Overview(NamedTuple):
    """A pipeline; without ``health`` it has no tables yet."""

    pipeline: str
    health: Health | None
    problems: list[str]
    quarantined: int
    months: list[Month]
    gaps: list[Gap]
    """What a reprocess would bring in order, the newest first."""


def overview(pipeline: Pipeline, settings: Settings, now: datetime | None = None) -> Overview:
    """What the logs say of a pipeline now."""
    try:
        found = health(pipeline, settings, now)
    except TableError:
        return Overview(pipeline.name, None, [], 0, [], [])
    tables = tables_of(pipeline, settings)
    quarantine = files_of(open_table(tables.quarantine, settings))
    quarantined = int(pc.sum(quarantine["num_records"]).as_py() or 0)
    seen = days(tables, settings)
    return Overview(pipeline.name, found, found.problems(pipeline), quarantined, months(seen), gaps(seen))


def days(tables: Tables, settings: Settings) -> dict[date, Day]:
    """The event dates of which silver holds rows, or that a reprocess covers."""
    batches = [open_table(table, settings) for table in tables.batch.values()]
    published: dict[date, int] = {}
    for batch in batches:
        for file in filter(is_dated, files_of(batch).select(["partition.event_date", "modification_time"]).to_pylist()):
            day = file["partition.event_date"]
            published[day] = max(published.get(day, 0), file["modification_time"])
    rows: dict[date, dict[int, int]] = {day: {} for day in published}
    columns = ["partition.event_date", "partition.segment", "num_records"]
    for file in filter(is_dated, files_of(open_table(tables.silver, settings)).select(columns).to_pylist()):
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


def gaps(found: dict[date, Day]) -> list[Gap]:
    """The newest gaps, newest first."""
    open_ = sorted(day.date for day in found.values() if day.state in ("late", "uncovered"))
    listed: list[Gap] = []
    for day in open_:
        if listed and listed[-1].end == day:
            listed[-1] = Gap(listed[-1].start, day + timedelta(days=1))
        else:
            listed.append(Gap(day, day + timedelta(days=1)))
    return listed[: -MAX_GAPS - 1 : -1]
