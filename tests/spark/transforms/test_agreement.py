"""The stream's row rules and Great Expectations, both on Spark, pass and fail exactly the same generated rows."""

import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import orjson
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from tidemark.definition import Count, KinesisStream, Pipeline, Rollup, Window
from tidemark.quality.rules import DERIVABLE
from tidemark.quality.suite import parse_suite
from tidemark_spark.batch import validate as validation

KINDS = Pipeline(
    name="kinds",
    source=KinesisStream("kinds"),
    schema="""id STRING, at TIMESTAMP, until TIMESTAMP, day DATE, n BIGINT, i INT, d DOUBLE, f FLOAT,
        m DECIMAL(12,2), s STRING, t STRING, b BOOLEAN""",
    event_time="at",
    key=["id"],
    rollups=[Rollup("daily", by=["s"], window=Window("1 day"), measures={"n": Count()})],
    suite="kinds.json",
)
COLUMNS = [column for column in KINDS.event_schema if column.name != "id"]

# Values and arguments are drawn from the same few, so that rows lie on, just inside and just outside of the limits.
WHOLE = [-(2**53) - 1, -7, -1, 0, 1, 2, 5, 2**31 - 1]
LONG = [*WHOLE, 2**53, 2**53 + 1, 2**63 - 1]
FLOATS = [0.1, -0.0, 0.5, 1.0, 2.5, 1e300, 5e-324, 0.1 + 0.2]
TEXTS = [
    "",
    " ",
    "a",
    "A",
    "ab",
    "a.b",
    "it's",
    'say "x"',
    "ä",
    "日本",
    "🦩",
    "a\nb",
    "a\\d",
    "$1",
    "${HOME}",
    "%",
    "5",
    "null",
    "\t",
    "\0",
]
DAYS = [date(1970, 1, 1), date(2024, 2, 29), date(2024, 3, 1), date(1969, 12, 31), date(9999, 12, 31)]
MOMENTS = [datetime(d.year, d.month, d.day, *time, tzinfo=UTC) for d in DAYS for time in [(0,), (23, 59, 59, 999_999)]]
REGEXES = [
    "^a",
    "b$",
    r"a.b",
    r"a\.b",
    r"^\d+$",
    r"\\",
    "^$",
    "[ä日]",
    "(?i)^a",
    "'",
    '"',
    r"\$\{",
    "a|5",
    r"\s",
    "^.$",
    "(?s)a.b",
]

VALUES: dict[str, st.SearchStrategy[Any]] = {
    "TIMESTAMP": st.sampled_from(MOMENTS),
    "DATE": st.sampled_from(DAYS),
    "BIGINT": st.sampled_from(LONG) | st.integers(-(2**63), 2**63 - 1),
    "INT": st.sampled_from([n for n in WHOLE if abs(n) < 2**31]),
    "DOUBLE": st.sampled_from([*FLOATS, float("nan"), float("inf"), float("-inf")]) | st.floats(),
    "FLOAT": st.sampled_from([0.1, 0.5, 1.0, 2.5, float("nan"), float("inf")]) | st.floats(width=32),
    "DECIMAL(12,2)": st.sampled_from([Decimal(text) for text in ("0.10", "0.50", "1.00", "2.50", "-7.00", "0.00")])
    | st.decimals(-(10**9), 10**9, places=2),
    "STRING": st.sampled_from(TEXTS) | st.text(max_size=4),
    "BOOLEAN": st.booleans(),
}
ROW = st.fixed_dictionaries({column.name: st.none() | VALUES[column.type.sql] for column in COLUMNS})

NUMBER = st.sampled_from([*WHOLE, *FLOATS, 2**53 + 1])
ZONED = MOMENTS + [moment.astimezone(timezone(timedelta(hours=5, minutes=30))) for moment in MOMENTS[2:4]]
ISO = st.sampled_from([str(day) for day in DAYS] + [moment.isoformat() for moment in ZONED])
NUMERIC, TEXT = st.sampled_from(["n", "i", "d", "f", "m"]), st.sampled_from(["s", "t"])
FLAGS = {"strict_min": st.booleans(), "strict_max": st.booleans()}
CONDITION = st.sampled_from(
    [
        {"type": "comparison", "column": {"name": "s"}, "operator": "!=", "parameter": "it's"},
        {"type": "comparison", "column": {"name": "n"}, "operator": "IN", "parameter": [0, 1, 5]},
        {"type": "nullity", "column": {"name": "m"}, "is_null": False},
        {"type": "pass_through", "pass_through_filter": "i > 0 OR b"},
        {
            "type": "or",
            "conditions": [
                {"type": "nullity", "column": {"name": "t"}, "is_null": True},
                {"type": "comparison", "column": {"name": "d"}, "operator": ">=", "parameter": 0.5},
            ],
        },
    ]
)  # fmt: skip


def ordered(bounds: tuple[Any, Any]) -> dict[str, Any]:
    low, high = bounds
    if isinstance(low, str) and (len(low) == 10) == (len(high) == 10):
        low, high = sorted((low, high), key=datetime.fromisoformat)
    elif isinstance(low, str):
        high = None
    else:
        low, high = sorted(bounds, key=float)
    return {"min_value": low, "max_value": high}


def between(columns: st.SearchStrategy[str], bounds: st.SearchStrategy[Any], **more: Any) -> st.SearchStrategy[Any]:
    limits = st.tuples(bounds, bounds).map(ordered)
    one_sided = bounds.map(lambda low: {"min_value": low}) | bounds.map(lambda high: {"max_value": high})
    made = st.fixed_dictionaries({"column": columns}, optional={**FLAGS, **more})
    return st.tuples(made, limits | one_sided).map(lambda parts: {**parts[0], **parts[1]})


def of(**arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(arguments)


def several(values: st.SearchStrategy[Any], least: int = 0) -> st.SearchStrategy[list[Any]]:
    return st.lists(values, min_size=least, max_size=4)


ANY = st.sampled_from([column.name for column in COLUMNS])
SETS = (
    of(column=st.sampled_from(["n", "i"]), value_set=several(st.none() | st.sampled_from(WHOLE)))
    | of(column=st.sampled_from(["d", "f", "m"]), value_set=several(NUMBER))
    | of(column=TEXT, value_set=several(st.none() | st.sampled_from(TEXTS)))
    | of(column=st.just("b"), value_set=several(st.booleans()))
    | of(column=st.just("day"), value_set=several(st.sampled_from([str(day) for day in DAYS])))
    | of(column=st.just("at"), value_set=several(ISO))
)
PAIRS = st.sampled_from([("n", "i"), ("d", "f"), ("m", "n"), ("s", "t"), ("at", "until"), ("day", "at"), ("i", "m")])
IGNORED = {"ignore_row_if": st.sampled_from(["both_values_are_missing", "either_value_is_missing", "neither"])}
IGNORED_LIST = {"ignore_row_if": st.sampled_from(["all_values_are_missing", "any_value_is_missing", "never"])}


def pairs(**more: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.tuples(PAIRS, st.fixed_dictionaries({}, optional={**IGNORED, **more})).map(
        lambda parts: {"column_A": parts[0][0], "column_B": parts[0][1], **parts[1]}
    )


def lists(*columns: tuple[str, ...], **more: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({"column_list": st.sampled_from(columns).map(list), **more}, optional=IGNORED_LIST)


ARGUMENTS: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "expect_column_values_to_not_be_null": of(column=ANY),
    "expect_column_values_to_be_null": of(column=ANY),
    "expect_column_values_to_be_between": between(NUMERIC, NUMBER) | between(st.sampled_from(["at", "day"]), ISO),
    "expect_column_value_lengths_to_be_between": between(TEXT, st.integers(0, 3)),
    "expect_column_value_lengths_to_equal": of(column=TEXT, value=st.integers(0, 3)),
    "expect_column_values_to_be_in_set": SETS,
    "expect_column_values_to_not_be_in_set": SETS,
    "expect_column_values_to_match_regex": of(column=TEXT, regex=st.sampled_from(REGEXES)),
    "expect_column_values_to_not_match_regex": of(column=TEXT, regex=st.sampled_from(REGEXES)),
    "expect_column_values_to_match_regex_list": of(
        column=TEXT, regex_list=several(st.sampled_from(REGEXES), 1), match_on=st.sampled_from(["any", "all"])
    ),
    "expect_column_values_to_not_match_regex_list": of(column=TEXT, regex_list=several(st.sampled_from(REGEXES), 1)),
    "expect_column_pair_values_a_to_be_greater_than_b": pairs(or_equal=st.booleans()),
    "expect_column_pair_values_to_be_equal": pairs(),
    "expect_column_pair_values_to_be_in_set": st.fixed_dictionaries(
        {
            "column_A": st.just("s"),
            "column_B": st.just("i"),
            "value_pairs_set": several(st.tuples(st.sampled_from(TEXTS), st.sampled_from([0, 1, 5])), 1),
        },
        optional=IGNORED,
    ),
    "expect_multicolumn_sum_to_equal": lists(("n", "i"), ("i", "m"), ("d", "f"), ("n", "d"), sum_total=NUMBER),
    "expect_multicolumn_values_to_be_equal": lists(("n", "i", "m"), ("s", "t"), ("at", "until"), ("d", "f")),
    "expect_select_column_values_to_be_unique_within_record": lists(
        ("n", "i", "m"), ("s", "t"), ("day", "at", "until")
    ),
}


WITHOUT_CONDITION = {"expect_column_pair_values_to_be_in_set"}
"""Great Expectations does not heed its row_condition, so a suite with one is refused."""


@st.composite
def suites(draw: st.DrawFn) -> list[dict[str, Any]]:
    made = []
    for kind, arguments in ARGUMENTS.items():
        kwargs = draw(arguments)
        if kind not in WITHOUT_CONDITION and draw(st.booleans()):
            kwargs = {**kwargs, "row_condition": draw(CONDITION)}
        made.append({"id": str(uuid.UUID(int=len(made))), "type": kind, "kwargs": kwargs, "meta": {}})
    return made


def test_every_derivable_type_is_held_against_great_expectations() -> None:
    assert sorted(ARGUMENTS) == sorted(DERIVABLE)


@pytest.fixture(scope="module")
def disagreements(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[str]]:
    path = tmp_path_factory.mktemp("agreement") / "kinds.json"
    schema = pa.schema([("id", pa.string()), *((column.name, column.type.arrow) for column in COLUMNS)])

    def compare(rows: list[dict[str, Any]], expectations: list[dict[str, Any]]) -> list[str]:
        path.write_bytes(orjson.dumps({"name": "kinds", "expectations": expectations, "meta": {}}))
        suite = parse_suite(path, KINDS)
        assert not suite.batch_only, suite.batch_only
        table = pa.Table.from_pylist([{"id": str(n), **row} for n, row in enumerate(rows)], schema=schema)
        frame = spark.createDataFrame(table).coalesce(1).cache()
        ours = frame.select("id", *(F.expr(rule.broken).alias(f"r{n}") for n, rule in enumerate(suite.rules))).collect()
        # Without the text of a query that nobody reads here, which some types fail to write beside a row_condition.
        complete = {
            "result_format": "COMPLETE",
            "unexpected_index_column_names": ["id"],
            "return_unexpected_index_query": False,
        }
        made, refused = validation.expectations_of(suite)
        assert not refused
        results = validation._run(frame, suite.name, made, complete, None, None)
        theirs = {result.expectation_config.type: result for result in results}  # a suite here has each type once
        frame.unpersist()
        wrong = []
        for n, (expectation, rule) in enumerate(zip(expectations, suite.rules, strict=True)):
            result = theirs[expectation["type"]]
            if "unexpected_index_list" not in result.result:
                wrong.append(f"{expectation}: Great Expectations raised {result.exception_info}")
                continue
            by_stream = {row["id"] for row in ours if row[f"r{n}"]}
            by_batch = {found["id"] for found in result.result["unexpected_index_list"] or []}
            wrong += [
                f"{expectation['type']} {expectation['kwargs']} ({rule.broken}): {rows[int(id_)]} is broken "
                f"{'in the stream' if id_ in by_stream else 'in the batch'} only"
                for id_ in by_stream ^ by_batch
            ]
        return wrong

    return compare


# What was generated is shown in the error; to shrink it would take minutes of Spark.
@examples(
    max_examples=3,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(rows=st.lists(ROW, min_size=40, max_size=60), expectations=suites())
def test_stream_and_batch_break_the_same_rows(
    disagreements: Callable[..., list[str]], rows: list[dict[str, Any]], expectations: list[dict[str, Any]]
) -> None:
    if wrong := disagreements(rows, expectations):
        pytest.fail(f"{len(wrong)} disagreements, such as\n" + "\n".join(wrong[:8]), pytrace=False)
