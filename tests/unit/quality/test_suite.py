"""Suites: what a file must be, and the row rules that are derived from it."""

from pathlib import Path
from typing import Any

import duckdb
import orjson
import pytest
from sample_pipeline import make_pipeline

from tidemark.core.errors import ExpectationError
from tidemark.core.settings import Settings
from tidemark.pipelines import load_pipelines
from tidemark.quality import Suite, load_suite
from tidemark.quality.parameters import needed_parameters
from tidemark.quality.suite import parse_suite

PIPELINE = make_pipeline()


def expectation(kind: str, meta: dict[str, Any] | None = None, **kwargs: Any) -> dict[str, Any]:
    return {"id": "00000000-0000-0000-0000-000000000001", "type": kind, "kwargs": kwargs, "meta": meta}


def suite_of(folder: Path, *expectations: dict[str, Any]) -> Suite:
    path = folder / "shops.json"
    path.write_bytes(orjson.dumps({"name": "shops", "expectations": list(expectations), "meta": {}}))
    return parse_suite(path, PIPELINE)


def test_the_suites_of_the_project_can_be_read() -> None:
    for pipeline in load_pipelines().values():
        suite = load_suite(pipeline, Settings())
        assert suite.name == pipeline.name
        assert suite.rules


def test_a_missing_file_names_the_pipeline_that_wants_it(tmp_path: Path) -> None:
    with pytest.raises(ExpectationError, match="no such suite; write one, or fix suite= of pipeline 'shops'"):
        parse_suite(tmp_path / "absent.json", PIPELINE)


@pytest.mark.parametrize(
    "content", [b"", b"{not json", b"[]", b'{"name": "x"}', b'{"name": "x", "expectations": [{}]}']
)
def test_a_file_that_is_no_suite_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "shops.json").write_bytes(content)
    with pytest.raises(ExpectationError, match="is not a Great Expectations suite"):
        parse_suite(tmp_path / "shops.json", PIPELINE)


@pytest.mark.parametrize("argument", ["column", "column_A", "column_B"])
def test_an_unknown_column_is_refused(tmp_path: Path, argument: str) -> None:
    with pytest.raises(ExpectationError, match="names the column 'city', which 'shops' does not have"):
        suite_of(tmp_path, expectation("expect_whatever", **{argument: "city"}))


def test_a_misspelt_type_is_refused_with_the_one_that_was_meant(tmp_path: Path) -> None:
    meant = r"is not an expectation of Great Expectations: did you mean expect_column_values_to_not_be_null\?"
    with pytest.raises(ExpectationError, match=meant):
        suite_of(tmp_path, expectation("expect_column_values_to_not_be_nul", column="shop"))


def test_an_unknown_action_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExpectationError, match="action 'drop'; known are quarantine, warn and fail"):
        suite_of(tmp_path, expectation("expect_column_values_to_not_be_null", {"action": "drop"}, column="shop"))


def test_what_is_no_rule_for_a_row_is_left_to_the_batch(tmp_path: Path) -> None:
    suite = suite_of(
        tmp_path,
        expectation("expect_table_row_count_to_be_between", min_value=1),
        expectation("expect_column_values_to_be_unique", column="id"),
        expectation("expect_column_values_to_not_be_null", column="shop", mostly=0.99),
        expectation("expect_column_values_to_not_be_null", column="amount"),
    )
    assert [rule.name for rule in suite.rules] == ["expect_column_values_to_not_be_null(amount)"]
    assert len(suite.batch_only) == 3


def test_the_action_is_quarantine_unless_stated(tmp_path: Path) -> None:
    kind = "expect_column_values_to_not_be_null"
    rules = suite_of(
        tmp_path, expectation(kind, column="shop"), expectation(kind, {"action": "warn"}, column="id")
    ).rules
    assert [rule.action for rule in rules] == ["quarantine", "warn"]


@pytest.mark.parametrize(
    ("made", "sql"),
    [
        (expectation("expect_column_values_to_not_be_null", column="shop"), "coalesce(`shop` IS NULL, false)"),
        (expectation("expect_column_values_to_be_null", column="shop"), "coalesce(`shop` IS NOT NULL, false)"),
        (
            expectation("expect_column_values_to_be_between", column="amount", min_value=0, max_value=9),
            "coalesce(`amount` < 0.0D OR `amount` > 9.0D, false)",
        ),
        (
            expectation("expect_column_values_to_be_between", column="amount", min_value=0, strict_min=True),
            "coalesce(`amount` <= 0.0D, false)",
        ),
        (
            expectation("expect_column_value_lengths_to_be_between", column="shop", max_value=3),
            "coalesce(length(`shop`) > 3, false)",
        ),
        (
            expectation("expect_column_values_to_be_in_set", column="shop", value_set=["it's", "${HOME}", None]),
            r"coalesce(`shop` NOT IN ('it\'s', '\u0024{HOME}', NULL), false)",
        ),
        (
            expectation("expect_column_values_to_match_regex", column="id", regex=r"^\d+$"),
            r"coalesce(NOT `id` RLIKE '^\\d+$', false)",
        ),
        (
            expectation("expect_column_pair_values_a_to_be_greater_than_b", column_A="amount", column_B="weight"),
            "coalesce(NOT (`amount` > `weight`), false)",
        ),
    ],
)
def test_the_text_of_a_row_rule(tmp_path: Path, made: dict[str, Any], sql: str) -> None:
    (rule,) = suite_of(tmp_path, made).rules
    assert rule.broken == sql


def test_no_rule_but_not_null_is_broken_by_a_null(tmp_path: Path) -> None:
    rules = suite_of(
        tmp_path,
        expectation("expect_column_values_to_be_between", column="amount", min_value=0, max_value=9),
        expectation("expect_column_values_to_be_in_set", column="shop", value_set=["a"]),
        expectation("expect_column_pair_values_a_to_be_greater_than_b", column_A="amount", column_B="weight"),
        expectation("expect_column_values_to_not_be_null", column="shop"),
    ).rules
    # These texts mean the same in DuckDB but for the quotes of names.
    text = ", ".join(rule.broken.replace("`", '"').replace("0D", "0") for rule in rules)
    nulls = "SELECT NULL::DECIMAL(12,2) amount, NULL::VARCHAR shop, 1.0 weight"
    assert duckdb.sql(f"SELECT {text} FROM ({nulls})").fetchall() == [(False, False, False, True)]


@pytest.mark.parametrize(
    ("kind", "kwargs", "reason"),
    [
        ("expect_table_row_count_to_be_between", {"min_value": 1}, "about the table as a whole"),
        ("expect_column_values_to_be_unique", {"column": "id"}, "compares rows with one another"),
        ("expect_column_values_to_be_json_parseable", {"column": "id"}, "by Python code"),
        ("expect_column_values_to_not_be_null", {"column": "id", "mostly": 0.9}, "mostly lets some rows break it"),
        (
            "expect_column_values_to_be_between",
            {"column": "weight", "min_value": {"$PARAMETER": "0.5 * slice_days"}},
            "min_value is a parameter",
        ),
        ("expect_column_values_to_be_between", {"column": "shop", "min_value": 1}, "compares no STRING with bounds"),
        ("expect_column_values_to_be_between", {"column": "at", "min_value": "2026-01-01T00:00:00"}, "its time zone"),
        ("expect_column_values_to_be_between", {"column": "at", "min_value": 5}, "not a date or time in ISO 8601"),
        ("expect_column_values_to_be_in_set", {"column": "amount", "value_set": ["a"]}, "'a' is no DECIMAL"),
        ("expect_column_values_to_be_in_set", {"column": "shop", "value_set": [1]}, "1 is no STRING"),
        ("expect_column_values_to_match_regex", {"column": "amount", "regex": "1"}, "only of STRING"),
        (
            "expect_column_pair_values_to_be_equal",
            {"column_A": "id", "column_B": "amount"},
            "types that are not compared",
        ),
        (
            "expect_column_values_to_not_be_null",
            {"column": "id", "row_condition": 'col("id") == "a"', "condition_parser": "great_expectations"},
            "old syntax",
        ),
    ],
)
def test_what_is_left_to_the_batch_says_why(tmp_path: Path, kind: str, kwargs: dict[str, Any], reason: str) -> None:
    suite = suite_of(tmp_path, expectation(kind, {"action": "fail"}, **kwargs))
    assert suite.rules == ()
    assert reason in suite.batch_only[0].reason
    assert "its action fail has no effect" in suite.batch_only[0].reason
    assert suite.summary()[1].startswith(f"suite shops: left to the batch: {kind}")


@pytest.mark.parametrize(
    ("kind", "kwargs", "problem"),
    [
        (
            "expect_column_values_to_match_like_pattern",
            {"column": "id", "like_pattern": "a%"},
            "as a regular expression",
        ),
        ("expect_column_values_to_be_between", {"column": "amount"}, "neither a min_value nor a max_value"),
        (
            "expect_column_values_to_be_between",
            {"column": "amount", "min_value": 2, "max_value": 1},
            "greater than its",
        ),
        ("expect_column_values_to_be_in_set", {"column": "shop"}, "lacks the argument 'value_set'"),
        ("expect_column_value_lengths_to_be_between", {"column": "shop", "min_value": 1.5}, "is a whole number"),
        (
            "expect_column_values_to_match_regex_list",
            {"column": "shop", "regex_list": []},
            "lists no regular expression",
        ),
        (
            "expect_column_pair_values_to_be_equal",
            {"column_A": "amount", "column_B": "weight", "ignore_row_if": "never"},
            "known are both_values_are_missing, either_value_is_missing and neither",
        ),
    ],
)
def test_an_argument_that_nobody_can_evaluate_is_refused(
    tmp_path: Path, kind: str, kwargs: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ExpectationError, match=rf"shops.json: {kind}.*{problem}"):
        suite_of(tmp_path, expectation(kind, **kwargs))


def test_an_unknown_parameter_is_refused(tmp_path: Path) -> None:
    made = expectation("expect_table_row_count_to_be_between", min_value={"$PARAMETER": "0.5 * rows"})
    with pytest.raises(ExpectationError, match=r"names the parameters \['rows'\]; known are .*expected_rows"):
        suite_of(tmp_path, made)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("slice_end", {"slice_end"}),
        ("slice_end - timedelta(hours=6)", {"slice_end"}),
        ("round(0.5 * expected_rows) + 1e3", {"expected_rows"}),
        ("now()", set()),
    ],
)
def test_the_parameters_that_an_expression_names(text: str, names: set[str]) -> None:
    assert needed_parameters({"kwargs": {"min_value": {"$PARAMETER": text}, "column": "slice_end"}}) == names


def test_a_row_condition_limits_a_rule_to_some_rows(tmp_path: Path) -> None:
    condition = {
        "type": "and",
        "conditions": [
            {"type": "comparison", "column": {"name": "shop"}, "operator": "IN", "parameter": ["a", "b"]},
            {"type": "nullity", "column": {"name": "at"}, "is_null": False},
        ],
    }
    made = expectation("expect_column_values_to_not_be_null", column="amount", row_condition=condition)
    (rule,) = suite_of(tmp_path, made).rules
    assert rule.broken == "coalesce(((`shop` IN ('a', 'b') AND `at` IS NOT NULL)) AND (`amount` IS NULL), false)"


def test_two_expectations_of_one_type_and_column_have_names_of_their_own(tmp_path: Path) -> None:
    kind = "expect_column_values_to_match_regex"
    suite = suite_of(tmp_path, *(expectation(kind, column="id", regex=regex) for regex in ("a", "b")))
    assert [rule.name for rule in suite.rules] == [f"{kind}(id)", f"{kind}(id)#2"]
