"""Every expectation of Great Expectations, on a column of every type that a definition may have, comes to a verdict.

Those that the stream enforces are held against it in test_agreement.

The list is drawn from Great Expectations itself: a type that a new version brings is missed here before it is in use.
"""

import uuid
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import great_expectations.expectations.core  # noqa: F401  # registers them
import orjson
import pyarrow as pa
import pytest
from great_expectations.expectations.registry import list_registered_expectation_implementations
from pyspark.sql import SparkSession

from tidemark.core.errors import ExpectationError
from tidemark.core.settings import Settings
from tidemark.definition import Count, KinesisStream, Pipeline, Rollup, Window
from tidemark.lake.tables import tables_of
from tidemark.monitoring.check_results import newest, record
from tidemark.quality.docs import PAGES, DataDocs
from tidemark.quality.rules import DERIVABLE, KNOWN
from tidemark.quality.suite import parse_suite
from tidemark_spark.batch.validate import validate

from layers import make_tables  # isort: skip

VALUES: dict[str, list[Any]] = {
    "STRING": ["a", "b", "é", None],
    "BIGINT": [1, 2, 2**62, None],
    "INT": [1, 2, 3, None],
    "SMALLINT": [1, 2, 3, None],
    "DOUBLE": [0.5, 1.5, float("nan"), None],
    "FLOAT": [0.5, 1.5, -0.0, None],
    "BOOLEAN": [True, False, True, None],
    "DATE": [date(2026, 1, 1), date(2026, 1, 2), date(2026, 1, 3), None],
    "TIMESTAMP": [datetime(2026, 1, day, 12, tzinfo=UTC) for day in (1, 2, 3)] + [None],
    "BINARY": [b"a", b"\xff", b"", None],
    "DECIMAL(28,4)": [Decimal("1.5"), Decimal("90071992547409.9301"), Decimal("-2"), None],
}
"""Columns a and b of each type; the third row has the value that is hardest to hand on."""


OF_TEXT = {
    "expect_column_values_to_be_dateutil_parseable",
    "expect_column_values_to_be_json_parseable",
    "expect_column_values_to_match_json_schema",
    "expect_column_values_to_match_strftime_format",
}
"""Asked of a STRING column only: of another type they say no more than that it is none."""


EVALUATED = {
    "expect_column_distinct_values_to_be_in_set",
    "expect_column_proportion_of_non_null_values_to_be_between",
    "expect_column_proportion_of_unique_values_to_be_between",
    "expect_column_to_exist",
    "expect_column_unique_value_count_to_be_between",
    "expect_column_values_to_be_unique",
    "expect_compound_columns_to_be_unique",
    "expect_table_row_count_to_be_between",
    "unexpected_rows_expectation",
}
"""What has to be evaluated whatever type a column is of."""
OF_BOUNDS = {"expect_column_max_to_be_between", "expect_column_min_to_be_between"}
"""Great Expectations compares no text with bounds, and says so."""
OF_NUMBERS = {
    "expect_column_mean_to_be_between",
    "expect_column_median_to_be_between",
    "expect_column_quantile_values_to_be_between",
    "expect_column_stdev_to_be_between",
    "expect_column_sum_to_be_between",
}


def _arguments(sql: str) -> dict[str, dict[str, Any]]:
    """Of each type of expectation, arguments about the columns of one type."""
    low, high = orjson.loads(orjson.dumps([VALUES[sql][0], VALUES[sql][1]], default=str))
    if sql.startswith("DECIMAL"):
        low, high = 1.5, 9e13
    one, two, several = {"column": "a"}, {"column_A": "a", "column_B": "b"}, {"column_list": ["a", "b"]}
    between = {"min_value": low, "max_value": high}
    members = {"value_set": [low, high]}
    spread = timedelta(days=9).total_seconds() if sql in ("DATE", "TIMESTAMP") else 9
    return {
        "expect_column_distinct_values_to_be_in_set": {**one, **members},
        "expect_column_distinct_values_to_contain_set": {**one, **members},
        "expect_column_distinct_values_to_equal_set": {**one, **members},
        "expect_column_kl_divergence_to_be_less_than": {
            **one, "partition_object": {"values": [low, high], "weights": [0.5, 0.5]}, "threshold": 1.0,
        },
        "expect_column_max_to_be_between": {**one, **between},
        "expect_column_mean_to_be_between": {**one, "min_value": 0},
        "expect_column_median_to_be_between": {**one, **between},
        "expect_column_min_to_be_between": {**one, **between},
        "expect_column_most_common_value_to_be_in_set": {**one, **members},
        "expect_column_pair_values_a_to_be_greater_than_b": {**two, "or_equal": True},
        "expect_column_pair_values_to_be_equal": two,
        "expect_column_pair_values_to_be_in_set": {**two, "value_pairs_set": [[low, low], [high, high]]},
        "expect_column_proportion_of_non_null_values_to_be_between": {**one, "min_value": 0.5},
        "expect_column_proportion_of_unique_values_to_be_between": {**one, "min_value": 0.1},
        "expect_column_quantile_values_to_be_between": {
            **one, "quantile_ranges": {"quantiles": [0.0, 0.5], "value_ranges": [[low, high], [low, high]]},
        },
        "expect_column_stdev_to_be_between": {**one, "min_value": 0, "max_value": spread},
        "expect_column_sum_to_be_between": {**one, "min_value": 0},
        "expect_column_to_exist": one,
        "expect_column_type_to_be": {**one, "type_": "StringType"},
        "expect_column_unique_value_count_to_be_between": {**one, "min_value": 1},
        "expect_column_value_lengths_to_be_between": {**one, "min_value": 0},
        "expect_column_value_lengths_to_equal": {**one, "value": 1},
        "expect_column_value_z_scores_to_be_less_than": {**one, "threshold": 2, "double_sided": True},
        "expect_column_values_to_be_between": {**one, **between},
        "expect_column_values_to_be_dateutil_parseable": one,
        "expect_column_values_to_be_decreasing": one,
        "expect_column_values_to_be_in_set": {**one, **members},
        "expect_column_values_to_be_in_type_list": {**one, "type_list": ["StringType", "LongType"]},
        "expect_column_values_to_be_increasing": one,
        "expect_column_values_to_be_json_parseable": one,
        "expect_column_values_to_be_null": one,
        "expect_column_values_to_be_of_type": {**one, "type_": "StringType"},
        "expect_column_values_to_be_unique": one,
        "expect_column_values_to_match_json_schema": {**one, "json_schema": {"type": "object"}},
        "expect_column_values_to_match_regex": {**one, "regex": "^a"},
        "expect_column_values_to_match_regex_list": {**one, "regex_list": ["^a", "b$"]},
        "expect_column_values_to_match_strftime_format": {**one, "strftime_format": "%Y"},
        "expect_column_values_to_not_be_in_set": {**one, **members},
        "expect_column_values_to_not_be_null": one,
        "expect_column_values_to_not_be_outliers": {**one, "method": "iqr", "multiplier": 1.5},
        "expect_column_values_to_not_match_regex": {**one, "regex": "^a"},
        "expect_column_values_to_not_match_regex_list": {**one, "regex_list": ["^a", "b$"]},
        "expect_compound_columns_to_be_unique": several,
        "expect_multicolumn_sum_to_equal": {**several, "sum_total": 2},
        "expect_multicolumn_values_to_be_equal": several,
        "expect_query_results_to_match_comparison": {
            "base_query": "SELECT count(*) FROM {batch}", "comparison_data_source_name": "spark",
            "comparison_query": "SELECT 4",
        },
        "expect_select_column_values_to_be_unique_within_record": several,
        "expect_table_column_count_to_be_between": {"min_value": 1},
        "expect_table_column_count_to_equal": {"value": 4},
        "expect_table_columns_to_match_ordered_list": {"column_list": ["id", "at", "a", "b"]},
        "expect_table_columns_to_match_set": {"column_set": ["id", "at", "a", "b"]},
        "expect_table_row_count_to_be_between": {"min_value": 1},
        "expect_table_row_count_to_equal": {"value": 4},
        "expect_table_row_count_to_equal_other_table": {"other_table_name": "other"},
        "unexpected_rows_expectation": {"unexpected_rows_query": "SELECT * FROM {batch} WHERE a IS NULL"},
    }  # fmt: skip


def _pipeline(sql: str) -> Pipeline:
    return Pipeline(
        name="kinds",
        source=KinesisStream("kinds"),
        schema=f"id STRING, at TIMESTAMP, a {sql}, b {sql}",
        event_time="at",
        key=["id"],
        rollups=[Rollup("daily", by=[], window=Window("1 day"), measures={"n": Count()})],
        suite="kinds.json",
    )


def _entry(kind: str, kwargs: dict[str, Any], severity: str) -> dict[str, Any]:
    return {"id": str(uuid.uuid4()), "type": kind, "kwargs": kwargs, "severity": severity, "meta": {}}


def test_the_list_of_known_types_is_great_expectations_own() -> None:
    assert set(list_registered_expectation_implementations()) == KNOWN


@pytest.mark.parametrize("sql", list(VALUES))
def test_every_expectation_comes_to_a_verdict(
    spark: SparkSession, settings: Settings, tmp_path: Path, sql: str
) -> None:
    pipeline, arguments = _pipeline(sql), _arguments(sql)
    kind = pipeline.event_schema["a"].arrow
    rows = pa.table(
        {
            "id": pa.array([str(n) for n in range(4)]),
            "at": pa.array([datetime(2026, 1, 1, tzinfo=UTC)] * 4, pa.timestamp("us", tz="UTC")),
            "a": pa.array(VALUES[sql], kind),
            "b": pa.array(VALUES[sql], kind),
        }
    )
    entries = []
    path = tmp_path / "kinds.json"
    for name in sorted(set(list_registered_expectation_implementations()) - set(DERIVABLE)):
        if sql != "STRING" and (name.startswith("expect_table_") or name in OF_TEXT):
            continue
        entry = _entry(name, arguments.get(name, {"column": "a"}), "warning")
        path.write_bytes(orjson.dumps({"name": "kinds", "expectations": [entry], "meta": {}}))
        if name not in arguments:
            with pytest.raises(ExpectationError, match="is not evaluated by Great Expectations on Spark"):
                parse_suite(path, pipeline)  # else it is new: say above how it is used
            continue
        entries.append(entry)
    path.write_bytes(orjson.dumps({"name": "kinds", "expectations": entries, "meta": {}}))
    docs = DataDocs(tmp_path / "docs", timedelta(days=1))
    checked = validate(spark.createDataFrame(rows).coalesce(1).cache(), parse_suite(path, pipeline), ["id"], {}, docs)
    assert len(checked) == len(entries)
    verdicts = {entry["type"]: one for entry, one in zip(entries, checked, strict=True)}
    assert all(one.success is not None for one in checked), "nothing is skipped"
    unevaluated = {name for name, one in verdicts.items() if one.observed.startswith("not evaluated: ")}
    assert not any(verdicts[name].success for name in unevaluated)
    wanted = EVALUATED | (OF_NUMBERS if pipeline.event_schema["a"].is_numeric else set())
    assert not unevaluated & (wanted if sql in ("STRING", "BINARY") else wanted | OF_BOUNDS)
    make_tables(pipeline, settings)
    record(tables_of(pipeline, settings), settings, checked, date.min, date.max, "published")
    assert len(newest(tables_of(pipeline, settings), settings)) == len(entries)
    assert list((docs.folder / PAGES).rglob("*.html"))
