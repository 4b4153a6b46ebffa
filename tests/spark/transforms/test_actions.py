"""What becomes of rows that break an expectation, by its action: quarantine, warn or fail, in stream and reprocess."""

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import orjson
import pytest
from great_expectations.expectations import ExpectColumnValuesToMatchRegex
from layers import kinesis_records, make_tables, read
from pyspark.sql import SparkSession

from tidemark.core.errors import ExpectationError, QualityGateError
from tidemark.core.settings import Settings
from tidemark.lake.generations import begin_generation
from tidemark.lake.snapshots import open_table
from tidemark.lake.tables import tables_of
from tidemark.pipelines.clickstream import clickstream
from tidemark.quality import Suite, load_suite
from tidemark.quality.project import gx_project
from tidemark.serving.session import sql_session
from tidemark_spark.batch.reprocess import reprocess
from tidemark_spark.driver.streams import run_to_end, start_refine
from tidemark_spark.speed.ingest import BronzeSink
from tidemark_spark.transforms.rule_actions import check_rules

DAY = date(2026, 1, 1)
CHEAP = {"column": "value", "min_value": 0, "max_value": 10}
KNOWN = {"column": "event", "value_set": ["click", "view"]}
BETWEEN, IN_SET = "expect_column_values_to_be_between", "expect_column_values_to_be_in_set"


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    (tmp_path / "expectations").mkdir()
    return settings.model_copy(update={"project_dir": tmp_path})


def suite(settings: Settings, *expectations: tuple[str, dict[str, Any], str]) -> Suite:
    made = [
        {"id": f"414f27c7-bedc-5fae-8718-9531803cce3{n}", "type": kind, "kwargs": kwargs, "meta": {"action": action}}
        for n, (kind, kwargs, action) in enumerate(expectations)
    ]
    text = orjson.dumps({"name": "clickstream", "expectations": made, "meta": {}})
    (settings.project_dir / clickstream.suite).write_bytes(text)
    return load_suite(clickstream, settings)


def click(number: int, event: str = "click", value: str = "1.00") -> dict[str, Any]:
    row = {"event_id": f"{number:08x}", "user_id": 1, "event": event, "value": value}
    return {**row, "event_time": f"{DAY}T00:00:00Z"}


def test_warn_lets_rows_pass_and_counts_them_and_what_is_quarantined_names_all_it_broke(
    spark: SparkSession, settings: Settings, refine: Callable[..., None]
) -> None:
    made = suite(settings, (BETWEEN, CHEAP, "warn"), (IN_SET, KNOWN, "quarantine"))
    make_tables(clickstream, settings)
    sink = BronzeSink(clickstream, settings, lambda: "q")
    events = [click(1), click(2, value="20.00"), click(3, event="swipe", value="30.00")]
    sink.write(kinesis_records([*events, click(2, value="20.00")]), 0)
    refine(clickstream)
    tables = tables_of(clickstream, settings)
    assert sorted(read(tables.silver, settings)["event_id"].to_pylist()) == ["00000001", "00000002"]
    assert read(tables.quarantine, settings)["reasons"].to_pylist() == [
        [f"expectation:{IN_SET}(event)", f"expectation:{BETWEEN}(value)"]
    ]
    with sql_session([clickstream], settings) as connection:
        asked = "SELECT w.expectation, w.rows FROM (SELECT unnest(warnings) AS w FROM clickstream.refine_log)"
        assert connection.sql(asked).fetchall() == [(f"{BETWEEN}(value)", 1)]
    begin_generation(clickstream, made, settings)
    said: list[str] = []
    reprocess(
        spark, clickstream, made, settings, DAY, date(2026, 1, 2), wait_seconds=5, audit=False, say=said.append
    )  # fmt: skip
    assert read(tables.silver, settings).num_rows == 2
    assert any(line.startswith("warning: ") and f"break {BETWEEN}(value)" in line for line in said)


def test_fail_publishes_nothing_of_the_batch_says_why_and_goes_on_once_the_suite_is_mended(
    spark: SparkSession, settings: Settings, refine: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "tidemark.stream")
    strict = suite(settings, (BETWEEN, CHEAP, "fail"), (IN_SET, KNOWN, "quarantine"))
    make_tables(clickstream, settings)
    tables = tables_of(clickstream, settings)
    sink = BronzeSink(clickstream, settings, lambda: "q")
    sink.write(kinesis_records([click(1)]), 0)
    refine(clickstream)
    sink.write(
        kinesis_records([click(2), click(3, event="swipe"), *(click(n, value="99.00") for n in range(4, 9))], 1), 1
    )
    published = [*tables.refined]
    versions = [open_table(table, settings).version() for table in published]
    message = r"nothing of the micro-batch.*between\(value\): 5 rows, such as .*\"value\":\"99.00\".*kept in bronze"
    with pytest.raises(QualityGateError, match=message):
        run_to_end(spark, [start_refine(spark, clickstream, strict, settings, available_now=True)])
    assert "suite clickstream: the stream enforces 2 expectations (1 quarantine, 0 warn, 1 fail)" in caplog.text
    assert [open_table(table, settings).version() for table in published] == versions

    # Fixed with Great Expectations' own API, as its users do.
    fixed = gx_project(settings=settings).suites.get("clickstream")
    for expectation in fixed.expectations:
        expectation.meta = {"action": "quarantine"}
    fixed.add_expectation(
        ExpectColumnValuesToMatchRegex(column="event_id", regex="^0{7}[0-7]$", meta={"action": "quarantine"})
    )
    fixed.save()
    relaxed = load_suite(clickstream, settings)
    assert [(rule.name, rule.action) for rule in relaxed.rules] == [
        (f"{BETWEEN}(value)", "quarantine"),
        (f"{IN_SET}(event)", "quarantine"),
        ("expect_column_values_to_match_regex(event_id)", "quarantine"),
    ]
    begin_generation(clickstream, relaxed, settings)
    refine(clickstream)
    assert sorted(read(tables.silver, settings)["event_id"].to_pylist()) == ["00000001", "00000002"]
    reasons = {
        orjson.loads(row["data"])["event_id"]: row["reasons"] for row in read(tables.quarantine, settings).to_pylist()
    }
    assert sorted(reasons) == [f"{n:08x}" for n in range(3, 9)]
    assert reasons["00000008"] == [
        f"expectation:{BETWEEN}(value)",
        "expectation:expect_column_values_to_match_regex(event_id)",
    ]

    # A reprocess refuses the same rows, before it publishes anything.
    views = suite(settings, (IN_SET, {"column": "event", "value_set": ["view"]}, "fail"))
    begin_generation(clickstream, views, settings)
    with pytest.raises(QualityGateError, match=r"nothing of the reprocess of \[.*in_set\(event\): 8 rows, such as"):
        reprocess(spark, clickstream, views, settings, DAY, date(2026, 1, 2), wait_seconds=5, audit=False)
    assert read(tables.silver, settings).num_rows == 2


def test_a_rule_that_spark_cannot_evaluate_is_named_before_anything_starts(
    spark: SparkSession, settings: Settings
) -> None:
    good = ("expect_column_values_to_match_regex", {"column": "event_id", "regex": "^[0-9]+$"}, "warn")
    check_rules(spark, clickstream, suite(settings, good, (BETWEEN, CHEAP, "fail"), (IN_SET, KNOWN, "warn")))
    bad = ("expect_column_values_to_match_regex", {"column": "event_id", "regex": "([0-9"}, "warn")
    with pytest.raises(ExpectationError, match=r"cannot evaluate expect_column_values_to_match_regex\(event_id\)"):
        check_rules(spark, clickstream, suite(settings, bad))
