"""The proof: a rollup as served against a recomputation straight from the input file, which no table had a part in."""

import math
from bisect import bisect_left, bisect_right
from typing import Any, NamedTuple

import duckdb
import pandas as pd
import pyarrow as pa

from tidemark.definition import (
    ApproxDistinct,
    Count,
    CountIf,
    Max,
    Mean,
    Measure,
    Min,
    Pipeline,
    Quantile,
    Rollup,
    Sum,
    Window,
)
from tidemark.definition.measures import HLL_LOG2_BUCKETS

DISTINCT_ERROR = 4 * 1.04 / math.sqrt(2**HLL_LOG2_BUCKETS)
"""Stated bound of a distinct count: four relative standard errors of the sketch, 6.5 %."""
RANK_ERROR = 2 * 0.0133
"""Stated bound of a quantile's rank: twice the sketch's error at 99 % confidence, 2.7 %."""


class Proof(NamedTuple):
    """How a served rollup compares with the recomputation; it holds if nothing differs and the bounds are kept."""

    rollup: str
    windows: int
    missing: int
    unexpected: int
    exact_values: int
    exact_differences: int
    worst_distinct_error: float
    worst_rank_error: float

    @property
    def holds(self) -> bool:
        """Whether the served answer is right."""
        return (
            self.windows > 0
            and not (self.missing or self.unexpected or self.exact_differences)
            and self.worst_distinct_error <= DISTINCT_ERROR
            and self.worst_rank_error <= RANK_ERROR
        )


def recompute(events: pd.DataFrame, pipeline: Pipeline, rollup: Rollup) -> pa.Table:
    """The rollup's windows in DuckDB from the events themselves, with every value of a sketched column as a list."""
    assert isinstance(rollup.window, Window), "the demo's pipelines have no sessions"
    pane = int(rollup.window.pane.total_seconds() * 1_000_000)
    panes = rollup.window.panes
    by = ", ".join(rollup.by)
    columns = ", ".join(f"{_exact(measure)} AS {name}" for name, measure in rollup.measures.items())
    micros = f"epoch_us({pipeline.event_time})"
    query = f"""
        SELECT {by}, make_timestamptz(({micros} // {pane} - slide) * {pane}) AS window_start, {columns}
        FROM events CROSS JOIN range({panes}) AS slides(slide) GROUP BY {by}, window_start
    """
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("events", events)
        return connection.sql(query).to_arrow_table()


def _exact(measure: Measure) -> str:
    match measure:
        case Count():
            return f"count({measure.column or '*'})"
        case CountIf():
            return f"count_if({measure.column})"
        case Sum():
            return f"sum({measure.column})"
        case Mean():
            return f"CAST(sum({measure.column}) AS DOUBLE) / nullif(count({measure.column}), 0)"
        case Min():
            return f"min({measure.column})"
        case Max():
            return f"max({measure.column})"
        case ApproxDistinct():
            return f"count(DISTINCT {measure.column})"
        case Quantile():
            return f"list_sort(list({measure.column}) FILTER ({measure.column} IS NOT NULL))"
    raise TypeError(f"no recomputation of {type(measure).__name__} is known")


def prove(served: pa.Table, expected: pa.Table, rollup: Rollup) -> Proof:
    """Compare window by window: exact measures to the last bit, sketches by their error."""
    key = [*rollup.by, "window_start"]
    got = _by_key(served, key)
    wanted = _by_key(expected, key)
    values = differences = 0
    distinct_error = rank_error = 0.0
    for where in got.keys() & wanted.keys():
        for name, measure in rollup.measures.items():
            is_, should = got[where][name], wanted[where][name]
            if isinstance(measure, ApproxDistinct):
                distinct_error = max(distinct_error, abs(is_ - should) / max(should, 1))
            elif isinstance(measure, Quantile):
                rank_error = max(rank_error, _rank_error(is_, should or [], measure.q))
            else:
                values += 1
                differences += is_ != should
    return Proof(
        rollup.name,
        len(wanted),
        len(wanted.keys() - got.keys()),
        len(got.keys() - wanted.keys()),
        values,
        differences,
        distinct_error,
        rank_error,
    )


def _rank_error(value: float | None, ordered: list[float], q: float) -> float:
    """How far rank ``q`` lies outside the ranks that the value has among all values; 1 where one side is empty."""
    if value is None or not ordered:
        return 0.0 if value is None and not ordered else 1.0
    low, high = bisect_left(ordered, value) / len(ordered), bisect_right(ordered, value) / len(ordered)
    return max(0.0, low - q, q - high)


def _by_key(table: pa.Table, key: list[str]) -> dict[tuple[Any, ...], dict[str, Any]]:
    return {tuple(row[name] for name in key): row for row in table.to_pylist()}
