"""Each measure's states: one definition from which Spark's aggregates and both engines' merges are made."""

import pytest
from sample_pipeline import make_pipeline

from tidemark.definition import ApproxDistinct, Count, CountIf, Max, Mean, Measure, Min, Quantile, Sum
from tidemark.definition.measures import Dialect

SCHEMA = make_pipeline().events


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
        (ApproxDistinct("shop"), [("m__hll", "BINARY", "hll_sketch_agg(`shop`, 12)")]),
        (ApproxDistinct("amount"), [("m__hll", "BINARY", "hll_sketch_agg(CAST(`amount` AS STRING), 12)")]),
        (Quantile("amount", 0.9), [("m__kll", "BINARY", "kll_sketch_agg_double(CAST(`amount` AS DOUBLE), 200)")]),
    ],
)
def test_the_states_of_a_measure(measure: Measure, states: list[tuple[str, str, str]]) -> None:
    made = measure.states("m", SCHEMA)
    assert [(state.column, state.type.sql, state.partial) for state in made] == states
    for state in made:
        assert set(state.merge) == set(Dialect), "every engine can merge every state"
        assert all(state.column in text for text in state.merge.values())
    for dialect in Dialect:
        finish = measure.finish("m", SCHEMA, dialect)
        assert all(state.column in finish for state in made), "the answer uses every state that is kept"


def test_only_sketches_are_inexact() -> None:
    exact = [Count(), CountIf("open"), Sum("weight"), Mean("amount"), Min("at"), Max("at")]
    assert all(measure.exact for measure in exact)
    assert not ApproxDistinct("shop").exact
    assert not Quantile("amount", 0.5).exact


def test_two_measures_of_one_column_keep_states_of_their_own() -> None:
    first, second = Sum("amount").states("a", SCHEMA)[0], Sum("amount").states("b", SCHEMA)[0]
    assert first.column != second.column
