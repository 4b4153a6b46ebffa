"""Each measure made by Spark and merged in any grouping and order, by Spark and by DuckDB, is what one pass gives.

What one pass gives is computed in plain Python with whole numbers. Cases are many small groups in few Spark jobs: of a
case's events, each is in one of four parts, parts are merged in random groups, and those again, beside rows without
states, as there are from before a measure was added.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal, localcontext
from fractions import Fraction
from random import Random
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pyspark.errors import ArithmeticException
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from tidemark.definition import (
    ApproxDistinct,
    Count,
    CountIf,
    Dialect,
    First,
    Last,
    Max,
    Mean,
    Measure,
    Min,
    Quantile,
    StdDev,
    Sum,
    TopK,
    Variance,
)
from tidemark.definition.measures import HLL_LOG2_BUCKETS, TOP_K_COUNTERS
from tidemark.definition.schema import parse_ddl
from tidemark.serving.view import connect

DDL = """
    example INT, part INT, at TIMESTAMP, i BIGINT, n INT, d DECIMAL(28,4), w DECIMAL(38,4), x DOUBLE, t STRING,
    b BINARY, e BOOLEAN
"""
SCHEMA = parse_ddl(DDL, "at")
ARROW = pa.schema([(column.name, column.type.arrow) for column in SCHEMA])
START = datetime(2026, 1, 1, tzinfo=UTC)
EXAMPLES, PARTS = 25, 4
Row = dict[str, Any]

EXTREMES: dict[str, Sequence[Any]] = {
    "i": [2**63 - 1, -(2**63), 0, 1],
    "n": [2**31 - 1, -(2**31), 7],
    "d": [Decimal("999999999999999999999999.9999"), Decimal("-999999999999999999999999.9999"), Decimal("0.0001")],
    "w": [Decimal("9" * 34 + ".9999"), Decimal("-" + "9" * 34 + ".9999"), Decimal(0)],
    "x": [0.0, -0.0, 1e17, -1e17, 9.5e17, 1e-9, 0.1, 0.2],
    "t": ["", "a", "A", "ä", "€", "\U0001f600", "\uffff"],
    "b": [b"", b"\x00", b"\x7f", b"\xff", b"\xff\x00"],
    "e": [True, False],
}


def some_events(rng: Random) -> list[Row]:
    """Events of all cases: in some of them hardly any value is null, in others every one is."""
    ordinary: dict[str, Callable[[], Any]] = {
        "i": lambda: rng.randrange(-5, 5),
        "n": lambda: rng.randrange(100),
        "d": lambda: Decimal(rng.randrange(10**9)) / 10**4,
        "w": lambda: Decimal(rng.randrange(10**9)) / 10**4,
        "x": lambda: round(rng.gauss(0, 1000), 6),
        "t": lambda: rng.choice("abcdef"),
        "b": lambda: rng.randbytes(2),
        "e": lambda: rng.random() < 0.5,
    }
    rows = []
    for example in range(EXAMPLES):
        nulls, extremes = rng.choice([0, 0.3, 1]), rng.choice([0, 0.2, 1])
        for _ in range(rng.choice([1, 2, 5, 30])):
            row: Row = {"example": example, "part": rng.randrange(PARTS)}
            row["at"] = START + timedelta(microseconds=rng.randrange(5))
            for name, draw in ordinary.items():
                value = rng.choice(EXTREMES[name]) if rng.random() < extremes else draw()
                row[name] = None if rng.random() < nulls else value
            rows.append(row)
    return rows


def selected(measures: dict[str, Measure], dialect: Dialect) -> tuple[str, str]:
    """The merges and the answers of the measures, as lists of a SELECT."""
    states = [state for name, measure in measures.items() for state in measure.states(name, SCHEMA)]
    merges = ", ".join(f"{state.merge[dialect]} AS {state.column}" for state in states)
    return merges, ", ".join(f"{measure.finish(name, SCHEMA, dialect)} AS {name}" for name, measure in measures.items())


def merged_twice(measures: dict[str, Measure], dialect: Dialect) -> str:
    merges, answers = selected(measures, dialect)
    groups = f"SELECT example, bundle, {merges} FROM parts GROUP BY example, bundle"
    return f"SELECT example, {answers} FROM (SELECT example, {merges} FROM ({groups}) GROUP BY example)"


def by_example(table: pa.Table) -> dict[int, Row]:
    return {row.pop("example"): row for row in table.to_pylist()}


def in_three_ways(
    spark: SparkSession, measures: dict[str, Measure], rows: list[Row], rng: Random
) -> list[dict[int, Row]]:
    """Answers by example: of one pass in Spark, of parts merged by Spark, and of parts merged by DuckDB."""
    events = spark.createDataFrame(pa.Table.from_pylist(rows, schema=ARROW)).coalesce(1)
    partials = [
        F.expr(state.partial).alias(state.column)
        for name, measure in measures.items()
        for state in measure.states(name, SCHEMA)
    ]
    events.groupBy("example").agg(*partials).createOrReplaceTempView("whole")
    answers = selected(measures, Dialect.SPARK)[1]
    one_pass = spark.sql(f"SELECT example, {answers} FROM whole").toArrow()
    parts = events.groupBy("example", "part").agg(*partials).toArrow()
    parts = parts.cast(pa.schema([field.with_nullable(True) for field in parts.schema]))
    zeros = pa.Table.from_pylist([{"example": n, "part": PARTS} for n in range(EXAMPLES)], schema=parts.schema)
    parts = pa.concat_tables([parts, zeros])
    parts = parts.take(pa.array(rng.sample(range(parts.num_rows), parts.num_rows)))
    parts = parts.append_column("bundle", pa.array([rng.randrange(3) for _ in range(parts.num_rows)], pa.int32()))
    spark.createDataFrame(parts).coalesce(1).createOrReplaceTempView("parts")
    by_spark = spark.sql(merged_twice(measures, Dialect.SPARK)).toArrow()
    with connect() as connection:
        connection.register("parts", parts)
        by_duckdb = connection.sql(merged_twice(measures, Dialect.DUCKDB)).to_arrow_table()
    return [by_example(table) for table in (one_pass, by_spark, by_duckdb)]


def fixed(value: Any) -> Fraction:
    """The value as it is summed: a double rounded to nine decimals."""
    if isinstance(value, float):
        return Fraction(Decimal(repr(value)).quantize(Decimal("1e-9"), ROUND_HALF_UP))
    return Fraction(value)


def one_zero(value: Any) -> Any:
    return 0.0 if value == 0 and isinstance(value, float) else value


def ordered(value: Any) -> Any:
    return value.encode() if isinstance(value, str) else value


def total(values: list[Any]) -> Any:
    if not values:
        return None
    exact = sum(fixed(value) for value in values)
    with localcontext(prec=60):
        return float(exact) if isinstance(values[0], float) else Decimal(exact.numerator) / exact.denominator


def variance(values: list[Any], population: bool) -> float | None:
    freedom = len(values) if population else len(values) - 1
    if freedom <= 0:
        return None
    numbers = [fixed(value) for value in values]
    mean = sum(numbers) / len(numbers)
    return float(sum((number - mean) ** 2 for number in numbers) / freedom)


def by_event_time(events: list[Row], column: str, choose: Callable[..., Row]) -> Any:
    some = [event for event in events if event[column] is not None]
    return one_zero(choose(some, key=lambda event: (event["at"], ordered(event[column])))[column]) if some else None


def text(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, Decimal) else str(value)


def top(values: list[Any], k: int) -> list[Row]:
    counted = Counter(text(value) for value in values)
    ranked = sorted(counted.items(), key=lambda pair: (-pair[1], pair[0].encode()))
    return [{"item": item, "count": count} for item, count in ranked[:k]]


def expected(measure: Measure, events: list[Row]) -> Any:
    """The measure of these events in plain Python."""
    column = measure.columns[0] if measure.columns else ""
    values = [event[column] for event in events if event[column] is not None] if column else events
    match measure:
        case Count():
            return len(values)
        case CountIf():
            return sum(values)
        case Sum():
            return total(values)
        case Mean():
            return float(sum(fixed(value) for value in values)) / len(values) if values else None
        case StdDev():
            squared = variance(values, measure.population)
            return None if squared is None else math.sqrt(squared)
        case Variance():
            return variance(values, measure.population)
        case Min():
            return one_zero(min(values, key=ordered, default=None))
        case Max():
            return one_zero(max(values, key=ordered, default=None))
        case First():
            return by_event_time(events, column, min)
        case Last():
            return by_event_time(events, column, max)
        case ApproxDistinct():
            return len(set(values))
        case Quantile():
            return float(sorted(values)[max(0, math.ceil(measure.q * len(values)) - 1)]) if values else None
        case TopK():
            return top(values, measure.k)
    raise AssertionError(measure)


FAMILIES: dict[str, list[Measure]] = {
    "counts": [Count(), Count("t"), Count("w"), CountIf("e")],
    "sums": [*(Sum(column) for column in "indx"), *(Mean(column) for column in "indx")],
    "variances": [*(Variance(column) for column in "indx"), *(Variance(column, population=True) for column in "ix")],
    "deviations": [*(StdDev(column) for column in "dx"), StdDev("n", population=True)],
    "extremes": [*(Min(column) for column in ("at", *"inwxtbe")), *(Max(column) for column in ("at", *"inwxtbe"))],
    "first_and_last": [*(First(column) for column in "iwxtbe"), *(Last(column) for column in "iwxtbe")],
    "distinct": [ApproxDistinct(column) for column in "iwtbe"],
    "quantiles": [Quantile("i", 0.5), Quantile("d", 0.0), Quantile("d", 0.95), Quantile("n", 1.0)],
    "top": [TopK("t", 3), TopK("i", 1), TopK("w", 20)],
}


@pytest.mark.parametrize("family", FAMILIES)
@settings(
    max_examples=2,
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(rng=st.randoms(use_true_random=True))
def test_any_grouping_and_order_of_merges_agrees_with_one_pass(spark: SparkSession, family: str, rng: Random) -> None:
    measures = {f"m{number}": measure for number, measure in enumerate(FAMILIES[family])}
    rows = some_events(rng)
    one_pass, by_spark, by_duckdb = in_three_ways(spark, measures, rows, rng)
    for example in range(EXAMPLES):
        events = [row for row in rows if row["example"] == example]
        for name, measure in measures.items():
            answers = [way[example][name] for way in (one_pass, by_spark, by_duckdb)]
            assert len({repr(answer) for answer in answers}) == 1, f"bit for bit: {measure} of {events}: {answers}"
            wanted = expected(measure, events)
            if isinstance(measure, Variance) and wanted is not None:
                wanted = pytest.approx(wanted, rel=1e-14)
            assert answers[0] == wanted, f"{measure} of {events}"


def test_the_stated_errors_of_sketches_hold_after_many_merges(spark: SparkSession) -> None:
    count = 100_000
    measures: dict[str, Measure] = {
        "users": ApproxDistinct("n"),
        "p50": Quantile("n", 0.5),
        "p99": Quantile("n", 0.99),
        "often": TopK("t", 20),
    }
    # Every number up to a prime once, in no order; of the texts, some thousands, few of them frequent.
    events = spark.range(count).selectExpr(
        "CAST(id % 40 AS INT) AS part",
        "CAST(id * 7919 % 100003 AS INT) AS n",
        "CAST(CAST(5000 * pow(id * 7919 % 100003 / 100003, 4) AS INT) AS STRING) AS t",
    )
    partials = [
        F.expr(state.partial).alias(state.column)
        for name, measure in measures.items()
        for state in measure.states(name, SCHEMA)
    ]
    parts = events.groupBy("part").agg(*partials).selectExpr("0 AS example", "part % 7 AS bundle", "*").toArrow()
    counted = Counter(row["t"] for row in events.select("t").toArrow().to_pylist())
    assert len(counted) > TOP_K_COUNTERS
    assert max(len(state) for state in parts["often__items"].to_pylist()) < 20_000, "bounded"
    spark.createDataFrame(parts).createOrReplaceTempView("parts")
    answers = spark.sql(merged_twice(measures, Dialect.SPARK)).toArrow().to_pylist()
    with connect() as connection:
        connection.register("parts", parts)
        answers += connection.sql(merged_twice(measures, Dialect.DUCKDB)).to_arrow_table().to_pylist()
    assert len(answers) == 2
    for answer in answers:
        assert answer["users"] == pytest.approx(count, rel=3 * 1.04 / 2 ** (HLL_LOG2_BUCKETS / 2))
        assert answer["p50"] == pytest.approx(0.5 * count, abs=2 * 0.0133 * count)
        assert answer["p99"] == pytest.approx(0.99 * count, abs=2 * 0.0133 * count)
        error = 0.0035 * count
        found = {item["item"]: item["count"] for item in answer["often"]}
        assert all(abs(counted[item] - many) <= error for item, many in found.items())
        surely = [item for item, many in counted.items() if many > sorted(counted.values())[-20] + 2 * error]
        assert set(surely) <= set(found), "no item that is clearly frequent is missed"


def test_a_sum_past_38_digits_fails_in_spark_and_is_not_null(spark: SparkSession) -> None:
    [state] = Sum("d").states("m", SCHEMA)
    huge = pa.table({state.column: pa.array([Decimal("9" * 34)] * 2, pa.decimal128(38, 4))})
    merged = spark.createDataFrame(huge).selectExpr(state.merge[Dialect.SPARK])
    with pytest.raises(ArithmeticException, match="cannot be represented"):
        merged.collect()
