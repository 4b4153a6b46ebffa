"""Approximate measures: sketches of Apache DataSketches, by Spark's own functions and by datasketches in Python."""

from pydantic.dataclasses import dataclass

from tidemark.definition.measures.base import CONFIG, Dialect, OfColumn, State, Stored, value_of
from tidemark.definition.schema import INTEGERS, ColumnType, EventSchema

HLL_LOG2_BUCKETS = 12
"""lgK of the HyperLogLog sketches: 4,096 buckets, relative standard error 1.04/sqrt(4096) = 1.6 %."""

KLL_K = 200
"""k of the KLL quantile sketches: rank error below 1.33 % with 99 % confidence (Apache DataSketches' table)."""

TOP_K_COUNTERS = 768
"""Values that a TopK sketch counts at once, three quarters of its 1,024 places. Up to as many distinct values it is
exact; beyond, a count is off by at most 3.5/1024 = 0.35 % of all (Apache DataSketches' frequent items)."""

_NO_ITEMS = "01010A0A030500000000000000000000"
"""An empty frequent items sketch of 1,024 places as Spark writes it: DataSketches' preamble, and its count of nulls."""

_EMPTY = "tidemark: empty"
"""What stands for an empty text in a distinct count: HyperLogLog leaves empty ones out (DataSketches' update)."""


class _Sketch(OfColumn):
    exact = False


@dataclass(frozen=True, config=CONFIG)
class ApproxDistinct(_Sketch):
    """Approximate number of distinct values that are not null (HyperLogLog, Apache DataSketches, lgK = 12).

    A BIGINT with a relative standard error of 1.6 %.
    """

    def states(self, name: str, schema: EventSchema) -> tuple[State, ...]:
        value, kind = value_of(self.column, schema), schema[self.column].sql
        if kind in {"STRING", "BINARY"}:
            value = f"if(octet_length({value}) = 0, CAST('{_EMPTY}' AS {kind}), {value})"
        elif kind not in INTEGERS:
            value = f"CAST({value} AS STRING)"
        column = f"{name}__hll"
        merge = {
            Dialect.SPARK: f"hll_union_agg({column})",
            Dialect.DUCKDB: f"hll_union(list({column}))",
        }
        return (State(column, ColumnType("BINARY"), f"hll_sketch_agg({value}, {HLL_LOG2_BUCKETS})", merge),)

    def finish(self, name: str, schema: EventSchema, dialect: Dialect) -> str:
        return f"hll_sketch_estimate({name}__hll)"

    def stored(self, name: str) -> Stored:
        return Stored(f"{name}__estimate", ColumnType("BIGINT"))


@dataclass(frozen=True, config=CONFIG)
class Quantile(_Sketch):
    """Approximate quantile of the values that are not null, by rank ``0 <= q <= 1`` (DataSketches' KLL, k = 200).

    A DOUBLE, null without values. The rank of the answer is off by less than 1.33 % with 99 % confidence. The column
    must be a number.

    Examples:
        >>> from tidemark.definition import Quantile
        >>> from tidemark.definition.schema import parse_ddl
        >>> schema = parse_ddl("delay BIGINT")
        >>> Quantile("delay", 0.95).problems(schema)
        []
        >>> Quantile("delay", 95).problems(schema)
        ["Quantile('delay', 95.0): the rank must be within 0 and 1"]
    """

    q: float
    """The rank, from 0 (the smallest value) to 1 (the largest); 0.5 is the median."""

    def problems(self, schema: EventSchema) -> list[str]:
        rank = [] if 0 <= self.q <= 1 else [f"Quantile({self.column!r}, {self.q}): the rank must be within 0 and 1"]
        return rank + self.not_a_number(schema)

    def states(self, name: str, schema: EventSchema) -> tuple[State, ...]:
        column = f"{name}__kll"
        merge = {
            Dialect.SPARK: f"kll_merge_agg_double({column})",
            Dialect.DUCKDB: f"kll_merge(list({column}))",
        }
        partial = f"kll_sketch_agg_double(CAST({value_of(self.column, schema)} AS DOUBLE), {KLL_K})"
        return (State(column, ColumnType("BINARY"), partial, merge),)

    def finish(self, name: str, schema: EventSchema, dialect: Dialect) -> str:
        if dialect is Dialect.DUCKDB:
            return f"kll_quantile({name}__kll, {self.q})"
        state = f"{name}__kll"
        return (
            f"CASE WHEN kll_sketch_get_n_double({state}) > 0 "
            f"THEN kll_sketch_get_quantile_double({state}, {self.q}D) END"
        )

    def stored(self, name: str) -> Stored:
        return Stored(f"{name}__q{str(self.q).replace('.', '_').replace('-', '_')}", ColumnType("DOUBLE"))


@dataclass(frozen=True, config=CONFIG)
class TopK(_Sketch):
    """The ``k`` most frequent values that are not null: a list of ``(item, count)``, most frequent first, then by item.

    An item is the value as a string. Exact while a window has at most 768 distinct values; beyond, each count is off by
    at most 0.35 % of the window's values, and one that is twice as frequent as that is never missed. Fewer than ``k``
    where no other is surely frequent, and empty without values. A state has at most 768 values with their counts.
    """

    k: int = 10
    """How many values to list: from 1 to 768."""

    def problems(self, schema: EventSchema) -> list[str]:
        if 1 <= self.k <= TOP_K_COUNTERS:
            return []
        return [f"TopK({self.column!r}, {self.k}): k must be within 1 and {TOP_K_COUNTERS}, which the sketch counts"]

    def states(self, name: str, schema: EventSchema) -> tuple[State, ...]:
        column = f"{name}__items"
        value = value_of(self.column, schema)
        text = value if schema[self.column].sql == "STRING" else f"CAST({value} AS STRING)"
        partial = f"(approx_top_k_accumulate({text}, {TOP_K_COUNTERS}) FILTER (WHERE {value} IS NOT NULL)).sketch"
        merge = {
            Dialect.SPARK: f"approx_top_k_combine({_with_type(column)}, {TOP_K_COUNTERS}).sketch",
            Dialect.DUCKDB: f"items_merge(list({column}))",
        }
        return (State(column, ColumnType("BINARY"), partial, merge),)

    def finish(self, name: str, schema: EventSchema, dialect: Dialect) -> str:
        state = f"{name}__items"
        if dialect is Dialect.DUCKDB:
            return f"items_top({state}, {self.k})"
        # All of them, sorted here: how the sketch orders equal counts depends on how it was merged.
        items = f"approx_top_k_estimate({_with_type(state)}, {TOP_K_COUNTERS})"
        order = (
            "(l, r) -> CASE WHEN l.count > r.count THEN -1 WHEN l.count < r.count THEN 1 "
            "WHEN l.item < r.item THEN -1 WHEN l.item > r.item THEN 1 ELSE 0 END"
        )
        return f"slice(array_sort({items}, {order}), 1, {self.k})"


def _with_type(sketch: str) -> str:
    """Spark's state of approx_top_k: the sketch with its size and the type of its items; only the sketch is kept.

    It accepts neither nulls nor empty input.
    """
    kept = f"coalesce({sketch}, X'{_NO_ITEMS}')"
    return (
        f"named_struct('sketch', {kept}, 'maxItemsTracked', {TOP_K_COUNTERS}, 'itemDataType', CAST(NULL AS STRING), "
        "'itemDataTypeDDL', 'item string not null')"
    )
