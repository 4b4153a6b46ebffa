"""A rollup that leaves the definition and comes back is served whole: a deployment that was rolled back, and again."""

from collections.abc import Callable
from datetime import date
from typing import Any

import pytest
from layers import make_tables
from pyspark.sql import SparkSession
from sales_lake import DAYS, SALES, Lake, lake, pipeline, sale, settings, suite

from tidemark.core.errors import UnavailableError
from tidemark.definition import Count, Pipeline, Rollup, Sum, Window
from tidemark.lake.generations import begin_generation
from tidemark.lake.snapshots import open_table, position
from tidemark.lake.tables import tables_of
from tidemark.lake.transaction_ids import BEGUN_APP
from tidemark.quality import Suite
from tidemark.serving import pin, query
from tidemark_spark.batch.reconcile import reconcile
from tidemark_spark.batch.reprocess import reprocess
from tidemark_spark.speed import rollup_history as history
from tidemark_spark.speed.fold import fold
from tidemark_spark.speed.rollup_history import roll_up_history

__all__ = ["lake", "settings", "suite"]
HOURLY = Rollup("hourly", ["shop"], Window("1 hour"), {"n": Count(), "sum": Sum("amount")})
GROWN = pipeline(rollups=[*SALES.rollups, HOURLY])


def begin(spark: SparkSession, definition: Pipeline, suite: Suite, lake: Lake) -> list[str]:
    make_tables(definition, lake.settings)
    begin_generation(definition, suite, lake.settings)
    return roll_up_history(spark, definition, lake.settings)


def hours(lake: Lake) -> dict[date, int]:
    counted: dict[date, int] = {}
    for row in query(pin(GROWN, HOURLY, lake.settings)).to_pylist():
        day = row["window_start"].date()
        counted[day] = counted.get(day, 0) + row["n"]
    return counted


def run(spark: SparkSession, definition: Pipeline, suite: Suite, lake: Lake, first: int, last: int) -> None:
    reprocess(spark, definition, suite, lake.settings, DAYS[first], DAYS[last], wait_seconds=5, audit=False)


def test_what_came_while_it_was_away_is_there_when_it_is_back(
    spark: SparkSession, lake: Lake, suite: Callable[..., Suite]
) -> None:
    lake.add(sale(1, DAYS[0]), sale(2, DAYS[1]))
    assert begin(spark, GROWN, suite(), lake) == ["hourly"]
    lake.add(sale(3, DAYS[0]), definition=GROWN)
    run(spark, GROWN, suite(), lake, 0, 1)  # its batch table covers the first date
    lake.add(sale(4, DAYS[0]), definition=GROWN)
    fold(spark, GROWN, lake.settings, now=lambda: lake.now.replace(year=2040))

    assert begin(spark, SALES, suite(), lake) == []
    lake.add(sale(5, DAYS[0]), sale(6, DAYS[1]), sale(7, DAYS[2]))
    run(spark, SALES, suite(), lake, 0, 2)  # its silver rows have other segments from now on
    lake.add(sale(8, DAYS[0]))

    assert begin(spark, GROWN, suite(), lake) == ["hourly"]
    assert hours(lake) == {DAYS[0]: 5, DAYS[1]: 2, DAYS[2]: 1}
    assert begin(spark, GROWN, suite(), lake) == [], "once is enough"
    lake.add(sale(9, DAYS[2]), definition=GROWN)
    assert hours(lake) == {DAYS[0]: 5, DAYS[1]: 2, DAYS[2]: 2}
    assert lake.served(GROWN) == {DAYS[0]: (5, "50.00"), DAYS[1]: (2, "20.00"), DAYS[2]: (2, "20.00")}
    found = reconcile(spark, GROWN, suite(), lake.settings, DAYS[0], DAYS[3])
    assert (found.served, found.speed) == (0, 0)
    run(spark, GROWN, suite(), lake, 0, 1)
    fold(spark, GROWN, lake.settings, now=lambda: lake.now.replace(year=2040))
    assert hours(lake) == {DAYS[0]: 5, DAYS[1]: 2, DAYS[2]: 2}
    assert reconcile(spark, GROWN, suite(), lake.settings, DAYS[0], DAYS[3]).served == 0


def test_a_driver_that_dies_half_way_leaves_no_answer_rather_than_a_wrong_one(
    spark: SparkSession, lake: Lake, suite: Callable[..., Suite], monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(spark, GROWN, suite(), lake)
    lake.add(sale(1, DAYS[0]), sale(2, DAYS[1]), definition=GROWN)
    run(spark, GROWN, suite(), lake, 0, 1)
    begin(spark, SALES, suite(), lake)
    lake.add(sale(3, DAYS[0]))

    real, calls = history.replace_files, []

    def dying(table: Any, *args: Any, **kwargs: Any) -> bool:
        calls.append(table.name)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(table, *args, **kwargs)

    with monkeypatch.context() as killed:
        killed.setattr(history, "replace_files", dying)
        with pytest.raises(KeyboardInterrupt):
            begin(spark, GROWN, suite(), lake)
    assert calls == ["speed_hourly", "batch_hourly"]
    with pytest.raises(UnavailableError, match="being rolled up anew"):
        hours(lake)
    assert begin(spark, GROWN, suite(), lake) == ["hourly"]
    assert hours(lake) == {DAYS[0]: 2, DAYS[1]: 1}


def test_a_reprocess_that_publishes_meanwhile_makes_it_begin_anew(
    spark: SparkSession, lake: Lake, suite: Callable[..., Suite], monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(spark, GROWN, suite(), lake)
    lake.add(sale(1, DAYS[0]), definition=GROWN)
    begin(spark, SALES, suite(), lake)
    # Nothing comes while it is away: else a reprocess would wait until it is rolled up.

    real, staged = history._staged, []

    def slow(*args: Any) -> Any:
        made = real(*args)
        staged.append(made)
        if len(staged) == 1:
            run(spark, GROWN, suite(), lake, 0, 1)
        return made

    monkeypatch.setattr(history, "_staged", slow)
    assert begin(spark, GROWN, suite(), lake) == ["hourly"]
    assert len(staged) == 2
    assert hours(lake) == {DAYS[0]: 1}
    tables = tables_of(GROWN, lake.settings)
    assert {position(open_table(t["hourly"], lake.settings), BEGUN_APP) for t in (tables.speed, tables.batch)} == {3}
