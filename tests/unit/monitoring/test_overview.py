"""The overview of a pipeline: what of each event date a reprocess has covered."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
from deltalake import write_deltalake
from sample_pipeline import make_pipeline

from tidemark.core.settings import Settings
from tidemark.lake.commits import transactions
from tidemark.lake.evolution import create_tables
from tidemark.lake.snapshots import open_table
from tidemark.lake.tables import Table, tables_of
from tidemark.lake.transaction_ids import covered_app
from tidemark.monitoring.overview import MAX_GAPS, Day, gaps, months, overview

FIRST, SECOND, THIRD = (date(2026, 2, day) for day in (1, 2, 3))


def append(table: Table, settings: Settings, rows: list[dict[str, object]], covered: dict[str, int]) -> None:
    write_deltalake(
        open_table(table, settings),
        pa.Table.from_pylist(rows, schema=table.schema),
        mode="append",
        commit_properties=transactions(covered),
    )


def test_a_pipeline_without_tables_says_so(tmp_path: Path) -> None:
    settings = Settings(lake_uri=str(tmp_path), state_uri=str(tmp_path))
    assert overview(make_pipeline(), settings) == ("shops", None, [], 0, [], [], [], [])


def test_each_date_is_covered_late_or_uncovered(tmp_path: Path) -> None:
    settings, pipeline = Settings(lake_uri=str(tmp_path), state_uri=str(tmp_path)), make_pipeline()
    tables = tables_of(pipeline, settings)
    create_tables(tables, settings)
    events = [(FIRST, 1), (SECOND, 1), (SECOND, 5), (THIRD, 1)]
    append(tables.silver, settings, [{"id": "a", "event_date": day, "segment": n} for day, n in events], {})
    markers: list[dict[str, object]] = [{"event_date": day, "covered_segment": 3} for day in (FIRST, SECOND)]
    covered = {covered_app(day): 3 for day in (FIRST, SECOND)}
    append(tables.batch["visits"], settings, markers, covered)

    shown = overview(pipeline, settings, datetime(2026, 2, 4, tzinfo=UTC))
    [month] = shown.months
    assert shown.gaps == [(SECOND, date(2026, 2, 4))], "late and uncovered dates in a row are one range"
    assert month.name == "February 2026"
    assert [len(week) for week in month.weeks] == [7] * 5
    assert month.weeks[0][:6] == [None] * 6, "weeks begin on Monday"
    found = {day.date: day for week in month.weeks for day in week if day}
    assert len(found) == 28
    assert [found[day].state for day in (FIRST, SECOND, THIRD)] == ["covered", "late", "uncovered"]
    assert [found[day].rows_since for day in (FIRST, SECOND, THIRD)] == [0, 1, 1]
    assert found[FIRST].published is not None
    assert found[THIRD].published is None
    assert found[date(2026, 2, 28)].state == "none"


def test_no_date_makes_no_month_and_no_gap() -> None:
    assert (months({}), gaps({})) == ([], [])


def test_of_many_gaps_the_newest_are_listed() -> None:
    days = [FIRST + timedelta(days=2 * n) for n in range(MAX_GAPS + 5)]
    listed = gaps({day: Day(day, "uncovered", 1, 1, None) for day in days})
    assert listed == [(day, day + timedelta(days=1)) for day in reversed(days[5:])]
