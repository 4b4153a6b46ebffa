"""Position, time and segment of the log, and its index by date: the same however files are laid out."""

import os
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemark.core.errors import TableError, TidemarkError
from tidemark.core.settings import Settings
from tidemark.definition import Pipeline
from tidemark.lake.commits import IdempotentWriter
from tidemark.lake.evolution import create_tables
from tidemark.lake.files.staged import staged_files
from tidemark.lake.log import DateIndex, Interval, ended_segment, first_within, places
from tidemark.lake.maintenance.vacuum import vacuum
from tidemark.lake.publish import publish_dates
from tidemark.lake.snapshots import open_table
from tidemark.lake.tables import Tables, tables_of
from tidemark.lake.transaction_ids import INGEST_APP, SEALED_APP, SEGMENT_APP
from tidemark.monitoring.health import health

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
MINUTES = timedelta(minutes=1)
DAY = date(2026, 1, 1)


@pytest.fixture
def tables(pipeline: Pipeline, settings: Settings) -> Tables:
    """Bronze with an ingest_batch each five minutes, two a segment; segment 11 is open, and refine has passed 21."""
    tables = tables_of(pipeline, settings)
    create_tables(tables, settings)
    writer = IdempotentWriter(tables.bronze, settings)
    for n in range(24):
        at = BEGIN + n * 5 * MINUTES
        row = {"data": b"{}", "ingest_batch": n, "segment": n // 2, "ingest_time": at, "ingest_date": at.date()}
        rows = pa.Table.from_pylist([row], schema=tables.bronze.schema)
        apps = {INGEST_APP: n, SEGMENT_APP: n // 2, SEALED_APP: n // 2 - 1}
        writer.append_stamped(lambda _, rows=rows, apps=apps: (rows, apps), INGEST_APP, n)
    for table in tables.refined:
        IdempotentWriter(table, settings).append(table.schema.empty_table(), 21)
    return tables


def test_compaction_of_bronze_changes_nothing_that_readers_ask(
    pipeline: Pipeline, tables: Tables, settings: Settings
) -> None:
    def asked() -> list[object]:
        bronze = open_table(tables.bronze, settings)
        return [
            ended_segment(bronze, 21),
            ended_segment(bronze, 20),
            ended_segment(bronze, 21, BEGIN + 60 * MINUTES),
            first_within(bronze, 21, 30 * MINUTES),
            health(pipeline, settings, BEGIN + 120 * MINUTES).lag_seconds,
            places(bronze).to_pylist(),
            places(bronze, beyond=21)["ingest_batch"].to_pylist(),
            places(bronze, since=BEGIN + 110 * MINUTES)["ingest_batch"].to_pylist(),
        ]

    before = asked()
    assert before[:5] == [10, 9, 5, 15, 600.0]
    assert before[6:] == [[22, 23], [22, 23]]
    assert open_table(tables.bronze, settings).optimize.compact()["numFilesAdded"] == 1
    assert asked() == before


def test_a_position_that_bronze_does_not_hold_is_read_from_the_start(tables: Tables, settings: Settings) -> None:
    open_table(tables.bronze, settings).delete("ingest_batch = 21")
    assert first_within(open_table(tables.bronze, settings), 21, 30 * MINUTES) == 0


DATES = [date(2026, 1, n) for n in range(1, 6)]
ENTRIES = st.lists(st.none() | st.lists(st.sampled_from(DATES), unique=True), min_size=1, max_size=12)


@given(entries=ENTRIES, start=st.sampled_from(DATES), days=st.integers(1, 4), old=st.integers(-1, 11))
def test_the_index_chooses_what_holds_the_dates_and_what_is_not_known(
    entries: list[list[date] | None], start: date, days: int, old: int
) -> None:
    rows = pa.table(
        {
            "ingest_batch": pa.array(range(len(entries)), pa.int64()),
            "ingest_time": pa.array([BEGIN + n * MINUTES for n in range(len(entries))], pa.timestamp("us", tz="UTC")),
            "records": pa.array(range(10, 10 + len(entries)), pa.int64()),
            "event_dates": pa.array([None if n <= old else e for n, e in enumerate(entries)], pa.list_(pa.date32())),
        }
    )
    index, end, through = DateIndex(rows), start + timedelta(days=days), len(entries)  # the last has no row
    chosen = {n for low, high in index.batches(start, end, through) for n in range(low, high + 1)}
    expected = {n for n, e in enumerate(entries) if n <= old or e is None or any(start <= day < end for day in e)}
    assert chosen == expected | {through}
    assert index.records(index.batches(start, end, through)) == sum(10 + n for n in expected)
    earlier = index.look_back(index.batches(start, end, through), 2 * MINUTES)
    assert all(
        low <= max(0, was.low - 2) for (low, _), was in zip(earlier, index.batches(start, end, through), strict=True)
    )
    assert index.look_back([Interval(len(entries) - 1, through)], 2 * MINUTES)[0].low == max(0, len(entries) - 3)


def test_vacuum_keeps_no_less_than_was_said(pipeline: Pipeline, tables: Tables, settings: Settings) -> None:
    for table in tables.refined:
        IdempotentWriter(table, settings).append(table.schema.empty_table(), 23)
    with pytest.raises(TidemarkError, match="less than an hour"):
        vacuum(pipeline, settings, 59 * MINUTES, 30 * MINUTES)
    staged = Path(tables.silver.uri) / "staged" / "now" / "part-0.parquet"
    staged.parent.mkdir(parents=True)
    staged.write_bytes(b"rows")
    age = (datetime.now(UTC) - 70 * MINUTES).timestamp()
    os.utime(staged, (age, age))
    vacuum(pipeline, settings, 90 * MINUTES, 60 * MINUTES)
    assert staged.exists(), "an hour and a half are two hours, and not one"
    vacuum(pipeline, settings, 60 * MINUTES, 60 * MINUTES)
    assert not staged.exists()


def test_staged_files_are_those_of_committed_attempts_and_must_be_there_when_published(
    tables: Tables, settings: Settings
) -> None:
    row = {"ingest_batch": 0, "event_date": DAY, "segment": 0}
    rows = pa.Table.from_pylist([row], schema=tables.silver.schema).drop_columns(["event_date", "segment"])
    folder = Path(tables.silver.uri) / "staged/one"
    for attempt in ("event_date=2026-01-01/segment=0", "_temporary/0/event_date=2026-01-01/segment=0"):
        (folder / attempt).mkdir(parents=True)
        pq.write_table(rows, folder / attempt / "part-0.parquet")
    staged = staged_files(tables.silver, "staged/one", settings)
    assert [file.path for file in staged] == ["staged/one/event_date=2026-01-01/segment=0/part-0.parquet"]
    version = open_table(tables.silver, settings).version()
    (Path(tables.silver.uri) / staged[0].path).unlink()
    with pytest.raises(TableError, match="1 of 1 staged files are not there"):
        publish_dates(tables.silver, staged, [DAY], 0, settings)
    assert open_table(tables.silver, settings).version() == version
