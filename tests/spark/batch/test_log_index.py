"""A reprocess reads bronze by the log's index: what silver holds, and how files are laid out, changes nothing."""

from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import pytest
from layers import make_tables, read
from pyspark.sql import SparkSession
from sales_lake import DAYS, SALES, Lake, expectation, lake, pipeline, sale, settings, suite

import tidemark_spark.batch.reprocess as reprocessing
from tidemark.core.errors import CoverageError, DefinitionChangedError, TableError, TidemarkError
from tidemark.lake.generations import begin_generation, plan
from tidemark.lake.publish import publish_dates, replace_files
from tidemark.lake.snapshots import open_table
from tidemark.lake.tables import tables_of
from tidemark.lake.transaction_ids import covered_app
from tidemark.monitoring.estimate import refuse_before_history, slice_of
from tidemark.quality.suite import Suite
from tidemark.serving import pin, query
from tidemark_spark.batch import dated_anew
from tidemark_spark.batch.reconcile import reconcile
from tidemark_spark.batch.reprocess import reprocess

__all__ = ["lake", "settings", "suite"]

Suites = Callable[..., Suite]
FIFTH = date(2026, 1, 5)


def test_the_index_has_the_dates_of_copies_and_of_quarantined_events_too(lake: Lake) -> None:
    lake.add(sale(1, DAYS[0]), sale(2, DAYS[2]), b"not json")
    lake.add(sale(1, DAYS[1]), {**sale(3, DAYS[3]), "amount": "many"})
    lake.add(b"not json")
    log = read(tables_of(SALES, lake.settings).refine_log, lake.settings).sort_by("ingest_batch")
    assert log["event_dates"].to_pylist() == [[DAYS[0], DAYS[2]], [DAYS[1], DAYS[3]], []]
    assert (log["silver"].to_pylist(), log["duplicates"].to_pylist()) == ([2, 0, 0], [0, 1, 0])


def test_rows_of_silver_that_somebody_deleted_come_back(spark: SparkSession, lake: Lake, suite: Suites) -> None:
    lake.add(sale(1, DAYS[0]))
    lake.add(sale(2, DAYS[1]))
    before = lake.served()
    open_table(tables_of(SALES, lake.settings).silver, lake.settings).delete(f"event_date = '{DAYS[0]}'")
    refuse_before_history(SALES, lake.settings, DAYS[0], DAYS[1])
    with pytest.raises(TidemarkError, match=f"are {DAYS[0]} to {DAYS[1]}"):
        refuse_before_history(SALES, lake.settings, DAYS[0] - timedelta(days=1), DAYS[1])
    assert slice_of(SALES, lake.settings, DAYS[0], DAYS[1]).dates_with_events == 1
    done = reprocess(spark, SALES, suite(), lake.settings, DAYS[0], DAYS[1], wait_seconds=5, audit=False)
    assert (done.silver_rows, done.published) == (1, [DAYS[0]])
    assert lake.served() == before
    assert lake.ids("silver") == ["s1", "s2"]
    assert reconcile(spark, SALES, suite(), lake.settings, DAYS[0], DAYS[2]).served == 0


def test_a_wider_key_finds_its_former_copies(spark: SparkSession, lake: Lake, suite: Suites) -> None:
    lake.add(sale(1, DAYS[0]))
    lake.add({**sale(1, DAYS[0], "20.00"), "shop": "b"})
    wide = pipeline(key=["id", "shop"])
    make_tables(wide, lake.settings)
    begin_generation(wide, suite(), lake.settings)
    lake.add(sale(9, DAYS[2]), definition=wide)
    done = reprocess(spark, wide, suite(), lake.settings, DAYS[0], DAYS[1], wait_seconds=5, audit=False)
    assert done.silver_rows == 2
    rows = query(pin(wide, wide.rollups[0], lake.settings)).to_pylist()
    assert sorted((row["shop"], row["n"]) for row in rows) == [("a", 1), ("a", 1), ("b", 1)]
    assert reconcile(spark, wide, suite(), lake.settings, DAYS[0], DAYS[1]).served == 0


def test_a_first_copy_that_breaks_a_new_rule_gives_way_to_the_second(
    spark: SparkSession, lake: Lake, suite: Suites
) -> None:
    lake.add(sale(1, DAYS[0], "-5.00"))
    lake.add(sale(1, DAYS[0], "5.00"))
    strict = suite(expectation("expect_column_values_to_be_between", column="amount", min_value=0))
    begin_generation(SALES, strict, lake.settings)
    lake.add(sale(9, DAYS[2]))
    reprocess(spark, SALES, strict, lake.settings, DAYS[0], DAYS[1], wait_seconds=5, audit=False)
    assert (lake.ids("silver"), lake.ids("quarantine")) == (["s1", "s9"], ["s1"])
    assert lake.served() == {DAYS[0]: (1, "5.00"), DAYS[2]: (1, "10.00")}


def test_the_same_reprocess_twice_gives_the_same(spark: SparkSession, lake: Lake, suite: Suites) -> None:
    lake.add(sale(100, DAYS[1]))
    lake.add(sale(1, DAYS[0]), wait=timedelta(minutes=10))
    lake.add(sale(50, DAYS[2]), wait=timedelta(hours=3))
    lake.add(sale(51, DAYS[2]), wait=timedelta(hours=3))
    lake.add(sale(1, DAYS[1]), wait=timedelta(hours=3))
    found = []
    for _ in range(2):
        reprocess(spark, SALES, suite(), lake.settings, DAYS[1], DAYS[2], wait_seconds=5, audit=False)
        open_table(tables_of(SALES, lake.settings).bronze, lake.settings).optimize.compact()
        found.append(lake.served())
    assert found[0] == found[1]


def test_ingest_batches_without_an_entry_are_read(spark: SparkSession, lake: Lake, suite: Suites) -> None:
    lake.add(sale(1, DAYS[0]))
    lake.add(sale(2, DAYS[1]))
    tables = tables_of(SALES, lake.settings)
    open_table(tables.refine_log, lake.settings).delete("ingest_batch = 0")
    open_table(tables.silver, lake.settings).delete(f"event_date = '{DAYS[0]}'")
    done = reprocess(spark, SALES, suite(), lake.settings, DAYS[0], DAYS[1], wait_seconds=5, audit=False)
    assert (done.bronze_rows, done.silver_rows) == (1, 1)


def test_nothing_is_published_where_bronze_lacks_what_the_log_counted(
    spark: SparkSession, lake: Lake, suite: Suites
) -> None:
    lake.add(sale(1, DAYS[0]), sale(2, DAYS[0]), sale(3, DAYS[0]))
    before = lake.served()
    open_table(tables_of(SALES, lake.settings).bronze, lake.settings).delete("partition_key = '1'")
    with pytest.raises(CoverageError, match="bronze holds 2 of the 3 records"):
        reprocess(spark, SALES, suite(), lake.settings, DAYS[0], DAYS[1], wait_seconds=5, audit=False)
    assert lake.served() == before


def test_a_zone_that_moves_events_into_the_range_is_refused_as_one_that_moves_them_out(
    spark: SparkSession, lake: Lake, suite: Suites
) -> None:
    lake.add(sale(1, DAYS[0], hour=23), sale(2, DAYS[1], hour=3), sale(3, DAYS[1], hour=12))
    east = pipeline(timezone="Europe/Berlin")
    make_tables(east, lake.settings)
    begin_generation(east, suite(), lake.settings)
    lake.add(sale(9, DAYS[2]), definition=east)
    with pytest.raises(CoverageError, match=r"moves 1 events of other dates into .*: 2026-01-02 \(1\).*--all"):
        reprocess(spark, east, suite(), lake.settings, DAYS[1], FIFTH, wait_seconds=5, audit=False)
    assert lake.ids("silver") == ["s1", "s2", "s3", "s9"], "nothing was changed"
    reprocess(spark, east, suite(), lake.settings, DAYS[0], FIFTH, wait_seconds=5, audit=False)
    assert lake.ids("silver") == ["s1", "s2", "s3", "s9"]
    assert reconcile(spark, east, suite(), lake.settings, DAYS[0], FIFTH).served == 0


def test_a_reprocess_of_everything_dates_the_log_anew_unless_compaction_is_faster(
    spark: SparkSession, lake: Lake, suite: Suites, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.add(sale(1, DAYS[0]))
    lake.add(sale(2, DAYS[2]), wait=timedelta(days=1))
    lake.add({**sale(3, DAYS[3], hour=23), "amount": "many"})
    east = pipeline(timezone="Europe/Berlin")
    make_tables(east, lake.settings)
    begin_generation(east, suite(), lake.settings)
    told: list[str] = []

    def compacted_first(*args: Any, **named: Any) -> bool:
        log = open_table(tables_of(east, lake.settings).refine_log, lake.settings)
        assert log.optimize.compact()["numFilesRemoved"]
        return replace_files(*args, **named)

    with monkeypatch.context() as patched:
        patched.setattr(dated_anew, "replace_files", compacted_first)
        everything = (date.min, date.max)
        reprocess(spark, east, suite(), lake.settings, *everything, wait_seconds=5, audit=False, say=told.append)
    assert any("was rewritten meanwhile" in line for line in told)
    reprocess(spark, east, suite(), lake.settings, *everything, wait_seconds=5, audit=False, say=told.append)
    assert "states this definition's dates now" in told[-2]
    assert not plan(east, suite(), lake.settings).due, "the fifth has a quarantined event, which is judged too"
    done = reprocess(spark, east, suite(), lake.settings, DAYS[2], FIFTH, wait_seconds=5, audit=False)
    assert (done.bronze_rows, done.silver_rows) == (1, 1), "only what holds events of the dates is read"


def test_a_reprocess_that_waited_while_the_definition_changed_publishes_nothing(
    spark: SparkSession, lake: Lake, suite: Suites, monkeypatch: pytest.MonkeyPatch
) -> None:
    strict = suite(expectation("expect_column_values_to_be_between", column="amount", min_value=5))
    begin_generation(SALES, strict, lake.settings)
    lake.add(sale(1, DAYS[0], "7.00"))
    relaxed = suite(expectation("expect_column_values_to_be_between", column="amount", min_value=0))
    seal_and_wait = reprocessing.seal_and_wait

    def restarted(*args: object) -> object:
        begin_generation(SALES, relaxed, lake.settings)
        lake.add(sale(3, DAYS[0], "1.00"))
        return seal_and_wait(*args)  # type: ignore[arg-type]

    with monkeypatch.context() as waiting:
        waiting.setattr(reprocessing, "seal_and_wait", restarted)
        with pytest.raises(TableError, match="restart them first"):
            reprocess(spark, SALES, strict, lake.settings, DAYS[0], DAYS[1], wait_seconds=5, audit=False)
    assert (lake.ids("silver"), lake.served()) == (["s1", "s3"], {DAYS[0]: (2, "8.00")})

    # After the wait, each publishing commit compares.
    tables = tables_of(SALES, lake.settings)
    for table in (tables.silver, tables.batch["daily"]):
        with pytest.raises(DefinitionChangedError, match="the streams began another definition"):
            publish_dates(table, [], [DAYS[0]], 5, lake.settings, generation=1)
    reprocess(spark, SALES, relaxed, lake.settings, DAYS[0], DAYS[1], wait_seconds=5, audit=False)
    assert (lake.ids("silver"), lake.served()) == (["s1", "s3"], {DAYS[0]: (2, "8.00")})


def test_a_long_range_costs_what_its_events_cost(spark: SparkSession, lake: Lake, suite: Suites) -> None:
    lake.add(sale(1, DAYS[0]), sale(2, DAYS[2]))
    start, end = date(1970, 1, 1), date(2030, 1, 1)
    done = reprocess(spark, SALES, suite(), lake.settings, start, end, wait_seconds=5, audit=False)
    assert done.published == [DAYS[0], DAYS[2]]
    tables = tables_of(SALES, lake.settings)
    for table in (tables.silver, tables.batch["daily"]):
        snapshot = open_table(table, lake.settings)
        assert snapshot.transaction_version(covered_app(DAYS[0])) == 0
        assert snapshot.transaction_version(covered_app(DAYS[1])) is None
    assert lake.served() == {DAYS[0]: (1, "10.00"), DAYS[2]: (1, "10.00")}
