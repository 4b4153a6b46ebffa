"""Validation by Great Expectations: what is recorded of it, in the table and in Data Docs, and what refuses a slice."""

import os
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from layers import make_tables
from pyspark.sql import SparkSession

from tidemark.core.errors import ExpectationError
from tidemark.core.settings import Settings
from tidemark.lake.tables import tables_of
from tidemark.monitoring.check_results import ExpectationResult, newest, record
from tidemark.pipelines.clickstream import clickstream
from tidemark.quality import Suite
from tidemark.quality.docs import PAGES, DataDocs
from tidemark.quality.suite import parse_suite
from tidemark_spark.batch.validate import critical_failures, validate

DAY = date(2026, 1, 1)
ROWS = "SELECT concat('0000000', id) AS event_id, id AS user_id, CAST(id AS DECIMAL(12,2)) AS value, "
ROWS += "timestamp'2026-01-01T12:00:00Z' + make_interval(0, 0, 0, 0, CAST(id AS INT)) AS event_time FROM range(10)"


HALF_IMPORTED = """
import sys
from tidemark.core.settings import get_settings
from tidemark.pipelines.flights import flights
from tidemark.quality import load_suite
from tidemark_spark.batch.validate import expectations_of, import_ahead

suite = load_suite(flights, get_settings())
import_ahead()
while "great_expectations.expectations.expectation_configuration" not in sys.modules:
    pass
assert sys.modules["great_expectations"].__spec__._initializing, "the other thread is in the middle of it"
made, refused = expectations_of(suite, {name: 1 for name in ("from", "to")})
print(len(made), refused)
assert made and not refused
"""


def test_expectations_are_found_while_another_thread_still_imports_them() -> None:
    done = subprocess.run([sys.executable, "-c", HALF_IMPORTED], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]


@pytest.fixture
def suite(tmp_path: Path) -> Any:
    def make(*expectations: tuple[str, dict[str, Any], str, dict[str, Any]]) -> Suite:
        made = [
            {
                "id": f"414f27c7-bedc-5fae-8718-9531803cce3{n}",
                "type": kind,
                "kwargs": kwargs,
                "severity": severity,
                "meta": meta,
            }
            for n, (kind, kwargs, severity, meta) in enumerate(expectations)
        ]
        (tmp_path / "s.json").write_bytes(orjson.dumps({"name": "clickstream", "expectations": made, "meta": {}}))
        return parse_suite(tmp_path / "s.json", clickstream)

    return make


def test_results_are_told_with_samples_and_kept_in_the_table_and_in_data_docs(
    spark: SparkSession, settings: Settings, suite: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fresh = {"column": "event_time", "min_value": {"$PARAMETER": "slice_end - timedelta(hours=6)"}}
    volume = {"min_value": {"$PARAMETER": "round(0.5 * expected_rows)"}}
    made = suite(
        ("expect_column_values_to_be_between", {"column": "value", "max_value": 7}, "critical", {}),
        ("expect_column_values_to_be_between", {"column": "value", "max_value": 5}, "critical", {"action": "warn"}),
        ("expect_column_mean_to_be_between", {"column": "value", "max_value": 2}, "warning", {}),
        ("expect_column_max_to_be_between", fresh, "critical", {}),
        ("expect_table_row_count_to_be_between", volume, "critical", {}),
        ("expect_column_values_to_be_unique", {"column": "event_id"}, "critical", {}),
    )
    parameters = {"slice_end": datetime(2026, 1, 2)}
    docs = DataDocs(tmp_path / "docs", timedelta(days=30))
    checked = validate(spark.sql(ROWS), made, ["event_id"], parameters, docs)
    between = "expect_column_values_to_be_between(value)"
    assert [(c.expectation, c.success, c.unexpected, c.severity) for c in checked] == [
        (between, False, 2, "critical"),
        (f"{between}#2", False, 4, "warning"),
        ("expect_column_mean_to_be_between(value)", False, 0, "warning"),
        ("expect_column_max_to_be_between(event_time)", True, 0, "critical"),
        ("expect_table_row_count_to_be_between", None, 0, "critical"),
        ("expect_column_values_to_be_unique(event_id)", True, 0, "critical"),
    ]
    assert checked[4].observed == "not checked: expected_rows has no value"
    refusal = critical_failures(checked)
    assert refusal.startswith(f'{between} (asks max_value=7.0): observed ["8.00","9.00"], ')
    assert refusal.endswith(
        '2 unexpected, such as {"event_id":"00000008","value":"8.00"} and {"event_id":"00000009","value":"9.00"}'
    )
    [page] = (docs.folder / PAGES).rglob("*.html")
    assert page.parent.name in (docs.folder / "index.html").read_text()

    (tmp_path / "file").touch()
    values = {"slice_end": datetime(2026, 1, 3), "expected_rows": 10.0}
    late = validate(spark.sql(ROWS), made, ["event_id"], values, docs._replace(folder=tmp_path / "file" / "docs"))
    assert "no Data Docs are written" in caplog.text, "a verdict does not depend on them"
    assert [(c.success, c.observed) for c in late[3:5]] == [(False, "2026-01-01 21:00:00"), (True, "10")]

    long_ago = (datetime.now(UTC) - timedelta(days=31)).timestamp()
    for run in docs.folder.glob(f"*/{made.name}/*/*"):
        os.utime(run, (long_ago, long_ago))
    validate(spark.sql(ROWS), made, ["event_id"], values, docs)
    [young] = (docs.folder / PAGES).rglob("*.html")
    assert young != page
    assert page.parent.name not in (docs.folder / "index.html").read_text(), "what is gone is not listed"

    make_tables(clickstream, settings)
    tables = tables_of(clickstream, settings)
    assert newest(tables, settings) == []
    record(tables, settings, late[:1], date.min, date.max, "staged slice")
    record(tables, settings, checked, DAY, date(2026, 1, 2), "published")
    rows = newest(tables, settings)
    assert [row["success"] for row in rows] == [c.success for c in checked]
    assert {row["stage"] for row in rows} == {"published"}
    assert orjson.loads(rows[0]["samples"])[0] == {"event_id": "00000008", "value": "8.00"}
    (staged,) = newest(tables, settings, "staged slice")
    assert (staged["from_date"], staged["to_date"]) == (None, None)


def test_what_cannot_be_evaluated_is_an_error_and_no_verdict(spark: SparkSession, suite: Any) -> None:
    made = suite(("expect_column_mean_to_be_between", {"column": "event", "max_value": 2}, "critical", {}))
    with pytest.raises(ExpectationError, match=r"could not be evaluated: expect_column_mean_to_be_between\(event\)"):
        validate(spark.sql(ROWS), made, ["event_id"])


def test_what_is_not_evaluated_is_never_passed_nor_skipped(spark: SparkSession, suite: Any) -> None:
    kind, misspelt = "expect_column_max_to_be_between", {"column": "value", "max_valeu": 2}
    with pytest.raises(ExpectationError, match=rf"could not be evaluated: {kind}\(value\): .*max_valeu"):
        validate(spark.sql(ROWS), suite((kind, misspelt, "critical", {})), ["event_id"])
    made = suite(
        (kind, misspelt, "warning", {}),
        ("expect_column_mean_to_be_between", {"column": "event_id", "max_value": 2}, "info", {}),
        (kind, {"column": "value", "max_value": 9}, "critical", {}),
        (kind, {"column": "value", "max_value": 9}, "critical", {}),
        (kind, {"column": "event_time", "min_value": "2026-01-01T14:00:00+02:00"}, "critical", {}),
        ("expect_column_median_to_be_between", {"column": "user_id", "min_value": 5}, "critical", {}),
    )
    checked = validate(spark.sql(ROWS), made, ["event_id"])
    assert [one.success for one in checked] == [False, False, True, True, True, False]
    assert [one.observed.startswith("not evaluated: ") for one in checked] == [True, True, False, False, False, False]
    assert critical_failures(checked).startswith("expect_column_median_to_be_between(user_id) (asks min_value=5.0): ")


def test_only_broken_critical_expectations_refuse() -> None:
    kept = [
        ExpectationResult("a", True, "", 0, "critical"),
        ExpectationResult("b", None, "", 0, "critical"),
        ExpectationResult("c", False, "", 1, "info"),
    ]
    assert critical_failures(kept) == ""
