"""Each measure's states: one definition from which Spark's aggregates and both engines' merges are made."""

from decimal import Decimal
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_pipeline import make_pipeline, make_rollup

from tidemark.core.errors import DefinitionError
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
from tidemark.definition.measures.base import as_double

SCHEMA = make_pipeline().event_schema
GIVEN = "FILTER (WHERE `amount` IS NOT NULL)"


@pytest.mark.parametrize(
    ("measure", "states"),
    [
        (Count(), [("m__count", "BIGINT", "count(*)")]),
        (Count("amount"), [("m__count", "BIGINT", "count(`amount`)")]),
        (CountIf("open"), [("m__count", "BIGINT", "count_if(`open`)")]),
        (Sum("amount"), [("m__sum", "DECIMAL(38,2)", "sum(CAST(`amount` AS DECIMAL(38,2)))")]),
        (Sum("weight"), [("m__sum", "DECIMAL(38,9)", "sum(CAST(`weight` AS DECIMAL(38,9)))")]),
        (
            Mean("amount"),
            [
                ("m__sum", "DECIMAL(38,2)", "sum(CAST(`amount` AS DECIMAL(38,2)))"),
                ("m__count", "BIGINT", "count(`amount`)"),
            ],
        ),
        (Min("at"), [("m__min", "TIMESTAMP", "min(`at`)")]),
        (Max("shop"), [("m__max", "STRING", "max(`shop`)")]),
        (Max("weight"), [("m__max", "DOUBLE", "max(if(`weight` = 0, CAST(0 AS DOUBLE), `weight`))")]),
        (
            First("amount"),
            [
                ("m__at", "TIMESTAMP", f"min(`at`) {GIVEN}"),
                ("m__value", "DECIMAL(12,2)", f"min_by(`amount`, struct(`at`, `amount`)) {GIVEN}"),
            ],
        ),
        (
            Last("amount"),
            [
                ("m__at", "TIMESTAMP", f"max(`at`) {GIVEN}"),
                ("m__value", "DECIMAL(12,2)", f"max_by(`amount`, struct(`at`, `amount`)) {GIVEN}"),
            ],
        ),
        (
            ApproxDistinct("shop"),
            [
                (
                    "m__hll",
                    "BINARY",
                    "hll_sketch_agg(if(octet_length(`shop`) = 0, CAST('tidemark: empty' AS STRING), `shop`), 12)",
                )
            ],
        ),
        (ApproxDistinct("amount"), [("m__hll", "BINARY", "hll_sketch_agg(CAST(`amount` AS STRING), 12)")]),
        (Quantile("amount", 0.9), [("m__kll", "BINARY", "kll_sketch_agg_double(CAST(`amount` AS DOUBLE), 200)")]),
        (
            TopK("shop"),
            [
                (
                    "m__items",
                    "BINARY",
                    "(approx_top_k_accumulate(`shop`, 768) FILTER (WHERE `shop` IS NOT NULL)).sketch",
                )
            ],
        ),
    ],
    ids=str,
)
def test_the_states_of_a_measure(measure: Measure, states: list[tuple[str, str, str]]) -> None:
    made = measure.states("m", SCHEMA)
    assert [(state.column, state.type.sql, state.partial) for state in made] == states


@pytest.mark.parametrize(
    ("measure", "kinds"),
    [
        (Variance("amount"), ["count", "lo", "lo_lo"]),
        (StdDev("weight"), ["count", "lo", "lo_lo", "hi", "hi_lo", "hi_hi"]),
    ],
)
def test_a_variance_keeps_exact_sums_and_no_more_than_it_needs(measure: Measure, kinds: list[str]) -> None:
    made = measure.states("m", SCHEMA)
    assert [state.column for state in made] == [f"m__{kind}" for kind in kinds]
    assert {state.type.sql for state in made[1:]} == {"DECIMAL(38,0)"}


ALL = [
    Count(), CountIf("open"), Sum("weight"), Mean("amount"), Variance("weight"), StdDev("amount"), Min("at"), Max("at"),
    First("shop"), Last("shop"), ApproxDistinct("shop"), Quantile("amount", 0.5), TopK("shop"),
]  # fmt: skip


@pytest.mark.parametrize("measure", ALL, ids=str)
def test_every_engine_can_merge_and_finish_every_state(measure: Measure) -> None:
    states = measure.states("m", SCHEMA)
    for dialect in Dialect:
        finish = measure.finish("m", SCHEMA, dialect)
        for state in states:
            assert state.column in state.merge[dialect]
            others = "".join(other.merge[dialect] for other in states if other is not state)
            assert state.column in finish + others, "no state is kept in vain"


def test_only_sketches_are_inexact() -> None:
    assert [type(measure) for measure in ALL if not measure.exact] == [ApproxDistinct, Quantile, TopK]


def test_two_measures_of_one_column_keep_states_of_their_own() -> None:
    first, second = Sum("amount").states("a", SCHEMA)[0], Sum("amount").states("b", SCHEMA)[0]
    assert first.column != second.column


WIDE = "id STRING, shop STRING, wide DECIMAL(38,18), whole DECIMAL(28,0), at TIMESTAMP"


@pytest.mark.parametrize("measure", [Sum("wide"), Mean("wide"), Variance("wide"), StdDev("wide")], ids=str)
def test_what_could_overflow_is_refused_with_the_remedy(measure: Measure) -> None:
    with pytest.raises(DefinitionError, match=r"could overflow: wide is DECIMAL\(38,18\).*as DECIMAL\(28,18\)"):
        make_pipeline(schema=WIDE, rollups=[make_rollup(measures={"m": measure})])


def test_what_cannot_overflow_is_not_refused() -> None:
    measures = {"s": Sum("whole"), "v": Variance("whole"), "m": Max("wide"), "f": First("wide"), "n": Count("wide")}
    assert make_pipeline(schema=WIDE, rollups=[make_rollup(measures=measures)])


def test_a_sum_past_38_digits_fails_and_is_not_null() -> None:
    state = Sum("amount").states("m", SCHEMA)[0]
    huge = pa.table({"m__sum": pa.array([Decimal(10**36 - 1)] * 200, pa.decimal128(38, 2))})
    with duckdb.connect() as connection:
        connection.register("huge", huge)
        merged = connection.sql(f"SELECT {state.merge[Dialect.DUCKDB]} FROM huge")
        with pytest.raises(duckdb.OutOfRangeException):
            merged.fetchall()


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(-(10**38) + 1, 10**38 - 1), min_size=50), st.sampled_from([0, 9]))
def test_a_decimal_of_any_size_becomes_the_nearest_double_in_duckdb(units: list[int], scale: int) -> None:
    values = [Decimal(f"{unit}e-{scale}") for unit in units]
    with duckdb.connect() as connection:
        connection.register("given", pa.table({"d": pa.array(values, pa.decimal128(38, scale))}))
        doubles = connection.sql(f"SELECT {as_double('d', Dialect.DUCKDB)} FROM given").fetchall()
    assert doubles == [(float(value),) for value in values]


@pytest.mark.parametrize(
    ("measure", "message"),
    [
        (TopK("shop", 0), "k must be within 1 and 768"),
        (TopK("shop", 769), "k must be within 1 and 768"),
        (Variance("shop"), "Variance('shop') needs a number, but shop is STRING"),
        (StdDev("open"), "StdDev('open') needs a number"),
        (First("nope"), "unknown column 'nope'"),
    ],
    ids=str,
)
def test_a_contradiction_is_named(measure: Any, message: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        make_pipeline(rollups=[make_rollup(measures={"m": measure})])
    assert message in str(caught.value)
