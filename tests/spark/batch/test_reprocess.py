"""Reprocess: write, audit, publish; several at once; definitions that changed; and reconcile, which would tell."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from layers import make_tables
from pyspark.sql import SparkSession
from sales_lake import DAYS, ROLLUP, SALES, SCHEMA, Lake, expectation, lake, pipeline, sale, settings, suite

from tidemark.core.errors import CoverageError, QualityGateError, TableError
from tidemark.definition import Count, Max, Rollup, Window
from tidemark.lake.generations import begin_generation, current_generation
from tidemark.lake.maintenance.compaction import compact
from tidemark.lake.publish import publish_dates
from tidemark.lake.snapshots import open_table
from tidemark.lake.tables import tables_of
from tidemark.lake.transaction_ids import covered_app
from tidemark.quality.suite import Suite
from tidemark.serving import pin, query
from tidemark.serving.session import sql_session
from tidemark_spark.batch.reconcile import reconcile
from tidemark_spark.batch.reprocess import reprocess
from tidemark_spark.speed.fold import fold
from tidemark_spark.speed.rollup_history import roll_up_history

__all__ = ["lake", "settings", "suite"]


def test_a_slice_that_breaks_the_suite_is_not_published_and_the_error_says_why(
    spark: SparkSession, lake: Lake, suite: Callable[..., Suite]
) -> None:
    lake.add(sale(1, DAYS[0]), sale(2, DAYS[0], "99.00"), sale(3, DAYS[1]))
    tables = tables_of(SALES, lake.settings)
    strict = suite(expectation("expect_column_max_to_be_between", column="amount", max_value=50))
    versions = [open_table(table, lake.settings).version() for table in (tables.silver, tables.batch["daily"])]
    with pytest.raises(QualityGateError, match=r"expect_column_max_to_be_between.*observed 99"):
        reprocess(spark, SALES, strict, lake.settings, DAYS[0], DAYS[1], wait_seconds=5)
    assert [open_table(t, lake.settings).version() for t in (tables.silver, tables.batch["daily"])] == versions
    done = reprocess(spark, SALES, strict, lake.settings, DAYS[1], DAYS[3], wait_seconds=5)
    assert (done.silver_rows, done.published) == (1, [DAYS[1]]), "the other dates hold, and one of them has no event"
    assert lake.served() == {DAYS[0]: (2, "109.00"), DAYS[1]: (1, "10.00")}


def test_several_ranges_at_once_and_the_higher_coverage_stays(
    spark: SparkSession, lake: Lake, suite: Callable[..., Suite]
) -> None:
    for n in range(4):
        lake.add(*(sale(n * 10 + d, DAYS[d]) for d in range(4)))
        lake.seal()
    before = lake.served()
    no_rules = suite()
    ranges = [(DAYS[0], DAYS[2]), (DAYS[1], DAYS[3]), (DAYS[1], DAYS[2]), (DAYS[0], date(2026, 1, 5))]

    def run(dates: tuple[date, date]) -> Any:
        return reprocess(spark, SALES, no_rules, lake.settings, *dates, wait_seconds=5, audit=False)

    with ThreadPoolExecutor(max_workers=4) as pool:
        done = list(pool.map(run, ranges))
    assert lake.served() == before
    assert lake.ids("silver") == sorted(f"s{n * 10 + d}" for n in range(4) for d in range(4))
    assert {d.covered_segment for d in done} == {3}

    # A run that sealed earlier and comes late leaves what another one covered further.
    tables = tables_of(SALES, lake.settings)
    for table in (tables.silver, tables.batch["daily"]):
        assert publish_dates(table, [], DAYS, 2, lake.settings) == []
        assert open_table(table, lake.settings).transaction_version(covered_app(DAYS[0])) == 3
    assert lake.served() == before
    found = reconcile(spark, SALES, suite(), lake.settings, DAYS[0], date(2026, 1, 5))
    assert (found.events, found.served, found.speed, found.drifts) == (16, 0, 0, [])


def test_a_copy_under_another_date_is_still_a_copy(
    spark: SparkSession, lake: Lake, suite: Callable[..., Suite]
) -> None:
    lake.add(sale(1, DAYS[0], hour=23), sale(2, DAYS[1]))
    lake.add(sale(1, DAYS[1], hour=0), sale(3, DAYS[1]), wait=timedelta(minutes=10))
    before = lake.served()
    assert before == {DAYS[0]: (1, "10.00"), DAYS[1]: (2, "20.00")}
    reprocess(spark, SALES, suite(), lake.settings, DAYS[1], DAYS[2], wait_seconds=5, audit=False)
    assert lake.served() == before
    assert lake.ids("silver") == ["s1", "s2", "s3"]


def test_a_late_copy_beyond_the_horizon_drifts_until_the_date_is_reprocessed(
    spark: SparkSession, lake: Lake, suite: Callable[..., Suite]
) -> None:
    lake.add(sale(1, DAYS[0]))
    lake.add(sale(2, DAYS[0]), wait=timedelta(hours=3))
    lake.add(sale(3, DAYS[0]), wait=timedelta(hours=3))
    lake.add(sale(1, DAYS[0]))
    assert lake.served() == {DAYS[0]: (4, "40.00")}
    found = reconcile(spark, SALES, suite(), lake.settings, DAYS[0], DAYS[1])
    assert (found.served, found.speed) == (2, 2), "count and sum"
    shown = found.drifts[0]
    assert (shown.measure, shown.recomputed, shown.found) == ("n", "3", "4")
    assert "1 copies came later than the deduplication horizon" in shown.cause
    reprocess(spark, SALES, suite(), lake.settings, DAYS[0], DAYS[1], wait_seconds=5, audit=False)
    assert lake.served() == {DAYS[0]: (3, "30.00")}
    found = reconcile(spark, SALES, suite(), lake.settings, DAYS[0], DAYS[1])
    assert (found.served, found.speed) == (0, 2)
    assert "nothing to do" in found.drifts[0].cause, "the batch layer answers for the date"

    # Another definition comes. What the one before made of a date that is covered is compared no more; what this one
    # makes of a date that the one before has not touched is, as ever.
    changed = pipeline(required=["shop"])
    begin_generation(changed, suite(), lake.settings)
    for number in (4, 5, 6):
        lake.add(sale(number, DAYS[1]), definition=changed, wait=timedelta(hours=3))
    lake.add(sale(4, DAYS[1]), definition=changed)
    reprocess(spark, changed, suite(), lake.settings, DAYS[1], DAYS[2], wait_seconds=5, audit=False)
    found = reconcile(spark, changed, suite(), lake.settings, DAYS[0], DAYS[2])
    assert (found.served, found.speed) == (0, 2)
    assert all(f"pane_start={DAYS[1]}" in drift.pane for drift in found.drifts)


def test_reconcile_tells_of_rows_that_somebody_took_away(
    spark: SparkSession, lake: Lake, suite: Callable[..., Suite]
) -> None:
    lake.add(sale(1, DAYS[0]), sale(2, DAYS[1]))
    tables = tables_of(SALES, lake.settings)
    for table in (tables.speed["daily"], tables.silver):
        open_table(table, lake.settings).delete(f"event_date = '{DAYS[1]}'")
    found = reconcile(spark, SALES, suite(), lake.settings, DAYS[0], DAYS[2])
    assert [(d.layer, d.measure, d.recomputed, d.found) for d in found.drifts] == [
        ("serving", "n", "1", "none"), ("serving", "sum", "10.00", "none"),
        ("speed", "n", "1", "none"), ("speed", "sum", "10.00", "none"),
    ]  # fmt: skip
    assert "silver lacks 1 events of ingest_batch 0 to 0" in found.drifts[0].cause


def test_a_changed_rule_moves_records_in_and_out_of_quarantine_once(
    spark: SparkSession, lake: Lake, suite: Callable[..., Suite]
) -> None:
    strict = expectation("expect_column_values_to_be_between", column="amount", min_value=5)
    suite(strict)
    # The first definition: amounts from 5 on.
    begin_generation(SALES, suite(strict), lake.settings)
    lake.add(sale(1, DAYS[0], "1.00"), sale(2, DAYS[0], "7.00"), sale(3, DAYS[0], "50.00"), sale(4, DAYS[1], "2.00"))
    assert (lake.ids("silver"), lake.ids("quarantine")) == (["s2", "s3"], ["s1", "s4"])
    # The second: amounts from 0 to 20.
    relaxed = suite(expectation("expect_column_values_to_be_between", column="amount", min_value=0, max_value=20))
    with pytest.raises(TableError, match=r"restart them first.*rules"):
        reprocess(spark, SALES, relaxed, lake.settings, DAYS[0], DAYS[1], wait_seconds=5, audit=False)
    assert begin_generation(SALES, relaxed, lake.settings).after == 0
    lake.add(sale(5, DAYS[0], "3.00"), sale(6, DAYS[0], "30.00"))
    done = reprocess(spark, SALES, relaxed, lake.settings, DAYS[0], DAYS[1], wait_seconds=5, audit=False)
    assert (done.reclassified.quarantined, done.reclassified.recovered) == (1, 1)
    assert lake.ids("silver") == ["s1", "s2", "s5"]
    assert lake.ids("quarantine") == ["s3", "s4", "s6"], "of the other date nothing has changed"
    assert lake.served() == {DAYS[0]: (3, "11.00")}
    again = reprocess(spark, SALES, relaxed, lake.settings, DAYS[0], DAYS[1], wait_seconds=5, audit=False)
    assert (again.reclassified.quarantined, again.reclassified.recovered) == (0, 0)
    everything = reprocess(spark, SALES, relaxed, lake.settings, date.min, date.max, wait_seconds=5, audit=False)
    assert everything.reclassified.recovered == 1
    assert lake.ids("silver") == ["s1", "s2", "s4", "s5"]
    assert lake.ids("quarantine") == ["s3", "s6"]
    assert lake.served() == {DAYS[0]: (3, "11.00"), DAYS[1]: (1, "2.00")}


def test_a_changed_event_time_moves_events_only_with_both_dates_in_the_range(
    spark: SparkSession, lake: Lake, suite: Callable[..., Suite]
) -> None:
    lake.add(*({**sale(n, DAYS[0]), "sent": f"{DAYS[1]}T01:00:00Z"} for n in range(3)))
    lake.add({**sale(3, DAYS[1]), "sent": f"{DAYS[1]}T02:00:00Z"})
    by_sent = pipeline(event_time="sent")
    begin_generation(by_sent, suite(), lake.settings)
    assert current_generation(by_sent, suite(), lake.settings) == (1, 1)
    with pytest.raises(CoverageError, match=r"moves 3 events .* 2026-01-02 \(3\).*--all"):
        reprocess(spark, by_sent, suite(), lake.settings, DAYS[0], DAYS[1], wait_seconds=5, audit=False)
    assert lake.served() == {DAYS[0]: (3, "30.00"), DAYS[1]: (1, "10.00")}, "nothing was changed"
    reprocess(spark, by_sent, suite(), lake.settings, DAYS[0], DAYS[2], wait_seconds=5, audit=False)
    assert lake.served(by_sent) == {DAYS[1]: (4, "40.00")}
    assert lake.ids("silver") == ["s0", "s1", "s2", "s3"]


def test_a_copy_that_a_changed_event_time_breaks_comes_to_quarantine_and_reconcile_finds_nothing(
    spark: SparkSession, lake: Lake, suite: Callable[..., Suite]
) -> None:
    first = {**sale(1, DAYS[0]), "sent": f"{DAYS[0]}T13:00:00Z", "shop": None}
    lake.add(first, sale(1, DAYS[0], "2.00"), sale(2, DAYS[1]))
    assert (lake.ids("silver"), lake.ids("quarantine")) == (["s1", "s2"], []), "a copy is in neither"
    by_sent = pipeline(event_time="sent")
    begin_generation(by_sent, suite(), lake.settings)
    done = reprocess(spark, by_sent, suite(), lake.settings, DAYS[0], DAYS[1], wait_seconds=5, audit=False)
    assert (done.reclassified.quarantined, lake.ids("quarantine")) == (1, ["s1"])
    assert lake.ids("silver") == ["s1", "s2"], "the other date stays as it was judged"
    done = reprocess(spark, by_sent, suite(), lake.settings, date.min, date.max, wait_seconds=5, audit=False)
    assert (done.reclassified.quarantined, lake.ids("quarantine"), lake.ids("silver")) == (1, ["s1", "s2"], ["s1"])
    # What the former definition made of the dates in the speed layer is covered, and no shop is a shop as well.
    found = reconcile(spark, by_sent, suite(), lake.settings, DAYS[0], DAYS[2])
    assert (found.events, found.served, found.speed, found.drifts) == (1, 0, 0, [])


def test_a_new_rollup_knows_all_of_history_and_a_new_measure_no_part_of_it(
    spark: SparkSession, lake: Lake, suite: Callable[..., Suite]
) -> None:
    lake.add(sale(1, DAYS[0], "1.00"), sale(2, DAYS[1], "2.00"))
    reprocess(spark, SALES, suite(), lake.settings, DAYS[1], DAYS[2], wait_seconds=5, audit=False)
    measures = {**ROLLUP.measures, "most": Max("amount")}
    hourly = Rollup("hourly", ["shop"], Window("1 hour"), {"n": Count()})
    grown = pipeline(rollups=[Rollup("daily", ["shop"], Window("1 day"), measures), hourly])
    make_tables(grown, lake.settings)
    assert begin_generation(grown, suite(), lake.settings).number == 1
    assert roll_up_history(spark, grown, lake.settings) == ["hourly"]
    assert roll_up_history(spark, grown, lake.settings) == []
    lake.add(sale(3, DAYS[0], "3.00"), sale(4, DAYS[2], "4.00"), definition=grown)

    def answers(**question: Any) -> dict[date, tuple[int, Any]]:
        rows = query(pin(grown, grown.rollup("daily"), lake.settings), **question).to_pylist()
        return {row["window_start"].date(): (row["n"], row["most"]) for row in rows}

    hours = query(pin(grown, hourly, lake.settings)).to_pylist()
    assert [(row["window_start"].date(), row["n"]) for row in hours] == [(DAYS[0], 2), (DAYS[1], 1), (DAYS[2], 1)]
    assert answers() == {DAYS[0]: (2, None), DAYS[1]: (1, None), DAYS[2]: (1, Decimal("4.00"))}
    asked = f"SELECT n, most FROM sales.daily WHERE window_start = TIMESTAMPTZ '{DAYS[0]} 00:00:00+00'"
    with sql_session([grown], lake.settings) as connection:
        assert connection.sql(asked).fetchall() == [(2, None)]
    found = reconcile(spark, grown, suite(), lake.settings, DAYS[0], DAYS[3])
    assert (found.served, found.speed) == (0, 0)
    with pytest.raises(TableError, match=r"restart them first.*rollups"):
        reprocess(spark, SALES, suite(), lake.settings, DAYS[0], DAYS[1], wait_seconds=5, audit=False)

    reprocess(spark, grown, suite(), lake.settings, DAYS[0], DAYS[1], wait_seconds=5, audit=False)
    assert answers() == {DAYS[0]: (2, Decimal("3.00")), DAYS[1]: (1, None), DAYS[2]: (1, Decimal("4.00"))}
    reprocess(spark, grown, suite(), lake.settings, DAYS[1], DAYS[2], wait_seconds=5, audit=False)
    assert answers()[DAYS[1]] == (1, Decimal("2.00"))
    assert reconcile(spark, grown, suite(), lake.settings, DAYS[0], DAYS[3]).served == 0


def test_a_measure_that_goes_leaves_tables_that_are_read_and_comes_back_for_new_dates(
    spark: SparkSession, lake: Lake, suite: Callable[..., Suite]
) -> None:
    lake.add(sale(1, DAYS[0]))
    fewer = pipeline(rollups=[Rollup("daily", ["shop"], Window("1 day"), {"n": Count()})])
    make_tables(fewer, lake.settings)
    begin_generation(fewer, suite(), lake.settings)
    lake.add(sale(2, DAYS[0]), definition=fewer)
    # From here on no file of the batch table has the sum, nor any of the speed table once that is folded.
    reprocess(spark, fewer, suite(), lake.settings, date.min, date.max, wait_seconds=5, audit=False)
    lake.add(sale(3, DAYS[1]), definition=fewer)
    lake.seal()
    lake.add(sale(4, DAYS[1]), definition=fewer)
    fold(spark, fewer, lake.settings, now=lambda: datetime.now(UTC) + timedelta(days=1))
    counted = "SELECT window_start::DATE, n FROM sales.daily ORDER BY 1"
    with sql_session([fewer], lake.settings) as connection:
        assert connection.sql(counted).fetchall() == [(DAYS[0], 2), (DAYS[1], 2)]
        assert connection.sql("SELECT count(*) FROM sales.speed_daily").fetchall() == [(2,)]
    rows = query(pin(fewer, fewer.rollups[0], lake.settings)).to_pylist()
    assert [(row["window_start"].date(), row["n"]) for row in rows] == [(DAYS[0], 2), (DAYS[1], 2)]

    make_tables(SALES, lake.settings)
    begin_generation(SALES, suite(), lake.settings)
    lake.add(sale(5, DAYS[2]))
    rows = query(pin(SALES, ROLLUP, lake.settings)).to_pylist()
    assert [(row["n"], row["sum"]) for row in rows] == [(2, None), (2, None), (1, Decimal("10.00"))]


def test_many_columns_come_and_go_and_every_date_can_be_reprocessed_and_folded(
    spark: SparkSession, lake: Lake, suite: Callable[..., Suite]
) -> None:
    wide = pipeline(schema=f"{SCHEMA}, {', '.join(f'c{n} INT' for n in range(30))}")
    lake.add(sale(1, DAYS[0]))
    make_tables(wide, lake.settings)
    assert begin_generation(wide, suite(), lake.settings).number == 1
    lake.add(sale(2, DAYS[0]), sale(3, DAYS[1]), definition=wide)
    reprocess(spark, wide, suite(), lake.settings, DAYS[0], DAYS[1], wait_seconds=5, audit=False)
    assert lake.served(wide) == {DAYS[0]: (2, "20.00"), DAYS[1]: (1, "10.00")}

    make_tables(SALES, lake.settings)
    assert begin_generation(SALES, suite(), lake.settings).number == 2
    lake.add(sale(4, DAYS[1]))
    reprocess(spark, SALES, suite(), lake.settings, DAYS[1], DAYS[2], wait_seconds=5, audit=False)
    lake.add(sale(5, DAYS[1]))
    lake.seal()
    lake.add(sale(6, DAYS[2]))
    assert fold(spark, SALES, lake.settings, now=lambda: datetime.now(UTC) + timedelta(days=1))[0].rows_covered > 0
    compact(SALES, lake.settings, min_files=1)
    reprocess(spark, SALES, suite(), lake.settings, DAYS[0], DAYS[3], wait_seconds=5, audit=False)
    assert lake.served() == {DAYS[0]: (2, "20.00"), DAYS[1]: (3, "30.00"), DAYS[2]: (1, "10.00")}
    assert lake.ids("silver") == [f"s{n}" for n in range(1, 7)]
    assert reconcile(spark, SALES, suite(), lake.settings, DAYS[0], DAYS[3]).served == 0
