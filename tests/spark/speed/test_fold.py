"""Folding of speed tables: fewer rows and files, and the same answers, before and after and in between."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from layers import kinesis_records, make_tables, read
from pyspark.sql import SparkSession

from tidemark.core.errors import CoverageError
from tidemark.core.settings import Settings
from tidemark.lake.log import seal
from tidemark.lake.publish import claim_folding, coverage, publish_dates
from tidemark.lake.snapshots import open_table, position
from tidemark.lake.tables import tables_of
from tidemark.lake.transaction_ids import folded_app
from tidemark.pipelines.clickstream import clickstream
from tidemark.pipelines.producers.clickstream import events
from tidemark.quality import load_suite
from tidemark.serving import pin, query
from tidemark_spark.batch.reprocess import reprocess
from tidemark_spark.speed.fold import fold
from tidemark_spark.speed.ingest import BronzeSink

ROLLUP = clickstream.rollup("activity")
GRACE = timedelta(hours=1)
EXACT = ("event", "window_start", "events", "revenue", "final", "newest_event", "newest_arrival")


@pytest.fixture
def lake(settings: Settings, refine: Callable[..., None]) -> Settings:
    """Six micro-batches in five segments, the last one open; all went through refine."""
    make_tables(clickstream, settings)
    sink = BronzeSink(clickstream, settings, lambda: "query")
    source = list(events(600, seed=11, per_second=0.01))
    for batch_id in range(6):
        sink.write(kinesis_records(source[batch_id * 100 : batch_id * 100 + 100], batch_id * 100), batch_id)
        if batch_id < 4:
            seal(tables_of(clickstream, settings), settings)
    refine(clickstream)
    return settings


def exact(settings: Settings) -> list[dict[str, Any]]:
    """The serving answer, without its sketches."""
    return list(query(pin(clickstream, ROLLUP, settings)).select(EXACT).to_pylist())


def in_hours(hours: float) -> Callable[[], datetime]:
    return lambda: datetime.now(UTC) + timedelta(hours=hours)


def test_folding_merges_what_is_old_and_removes_what_is_covered_and_changes_no_answer(
    spark: SparkSession, lake: Settings
) -> None:
    tables = tables_of(clickstream, lake)
    speed, batch = tables.speed[ROLLUP.name], tables.batch[ROLLUP.name]
    before = query(pin(clickstream, ROLLUP, lake))
    assert fold(spark, clickstream, lake, grace=GRACE) == [], "nothing is older than the grace period"

    folded = fold(spark, clickstream, lake, grace=GRACE, now=in_hours(2))[0]
    assert folded.rows_covered == 0
    assert folded.rows_after < folded.rows_before
    assert folded.files_after < folded.files_before
    assert exact(lake) == before.select(EXACT).to_pylist()
    distinct = (query(pin(clickstream, ROLLUP, lake))["users"].to_pylist(), before["users"].to_pylist())
    assert distinct[0] == distinct[1], "sketches of so few values are exact"
    rows = read(speed, lake)
    merged = [row for row in rows.to_pylist() if row["segment"] <= 3]
    keys = [(row["event"], row["pane_start"], row["event_date"]) for row in merged]
    assert len(keys) == len(set(keys)), "one row a key and pane"
    assert 4 in set(rows["segment"].to_pylist()), "the open segment is the stream's"
    again = fold(spark, clickstream, lake, grace=GRACE, now=in_hours(2))
    assert again == [], "there is nothing left to fold"

    # A reprocess covers some dates; their speed rows stay for the readers that began before, and go after the grace.
    days = sorted(set(rows["event_date"].to_pylist()))
    reprocess(spark, clickstream, load_suite(clickstream, lake), lake, days[0], days[2], wait_seconds=5, audit=False)
    covered = coverage(open_table(batch, lake), days[0])
    assert covered >= 3
    assert exact(lake) == before.select(EXACT).to_pylist()
    assert all(f.rows_covered == 0 for f in fold(spark, clickstream, lake, grace=GRACE))
    assert any(d in days[:2] for d in read(speed, lake)["event_date"].to_pylist()), "younger than the grace period"
    assert fold(spark, clickstream, lake, grace=GRACE, now=in_hours(2))[0].rows_covered > 0
    left = read(speed, lake).to_pylist()
    assert not [row for row in left if row["event_date"] in days[:2] and row["segment"] <= covered]
    assert exact(lake) == before.select(EXACT).to_pylist()


def test_an_answer_for_some_windows_is_that_part_of_the_whole(spark: SparkSession, lake: Settings) -> None:
    days = sorted(set(read(tables_of(clickstream, lake).speed[ROLLUP.name], lake)["event_date"].to_pylist()))
    reprocess(spark, clickstream, load_suite(clickstream, lake), lake, days[0], days[2], wait_seconds=5, audit=False)
    fold(spark, clickstream, lake, grace=GRACE, now=in_hours(2))
    whole = exact(lake)
    starts = sorted({row["window_start"] for row in whole})
    snapshot = pin(clickstream, ROLLUP, lake)
    for since, until in ((starts[3], None), (None, starts[-3]), (starts[5], starts[-5]), (starts[-1], None)):
        part = query(snapshot, since=since, until=until).select(EXACT).to_pylist()
        wanted = [
            row
            for row in whole
            if (since is None or row["window_start"] >= since) and (until is None or row["window_start"] < until)
        ]
        assert part == wanted, "also whether a window is final, which the newest event of all decides"
    assert query(snapshot, since=starts[-1] + timedelta(days=9)).num_rows == 0


def test_a_reader_that_began_before_a_folding_gets_its_answer(spark: SparkSession, lake: Settings) -> None:
    pinned = pin(clickstream, ROLLUP, lake)
    before = query(pinned).select(EXACT)
    fold(spark, clickstream, lake, grace=GRACE, now=in_hours(2))
    assert query(pinned).select(EXACT) == before


def test_no_coverage_is_published_in_the_middle_of_what_was_folded(spark: SparkSession, lake: Settings) -> None:
    tables = tables_of(clickstream, lake)
    batch = tables.batch[ROLLUP.name]
    before = exact(lake)
    fold(spark, clickstream, lake, grace=GRACE, now=in_hours(2))
    folded = open_table(batch, lake)
    day = max(
        set(read(tables.speed[ROLLUP.name], lake)["event_date"].to_pylist()),
        key=lambda d: position(folded, folded_app(d)),
    )
    assert position(folded, folded_app(day)) == 3
    with pytest.raises(CoverageError, match="run it again"):
        publish_dates(batch, [], [day], 1, lake)
    assert exact(lake) == before
    assert not claim_folding(batch, {day: 2}, {day: 3}, lake), "planned by another coverage than there is"
    assert coverage(open_table(batch, lake), date(1999, 1, 1)) == -1
