"""Measures as partial aggregates: one definition that the speed layer, the batch layer and the serving view share.

A measure keeps one or more *states*. Each state has a partial aggregate over events, and a merge that is associative,
commutative and has a zero, so that any grouping and order of merges gives the same result as one pass (the requirement
of a lambda architecture; cf. Boykin et al., "Summingbird", VLDB 2014). ``finish`` turns merged states into the answer.
Expressions are SQL text, because states are made by Spark and merged by whichever engine reads the serving view.
"""

from abc import ABC, abstractmethod
from enum import StrEnum
from typing import NamedTuple

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from tidemark.definition.schema import FLOATS, INTEGERS, ColumnType, EventSchema

HLL_LOG2_BUCKETS = 12
"""lgK of the HyperLogLog sketches: 4,096 buckets, relative standard error 1.04/sqrt(4096) = 1.6 %."""

KLL_K = 200
"""k of the KLL quantile sketches: rank error below 1.33 % with 99 % confidence (Apache DataSketches' table)."""

FIXED_POINT_SCALE = 9
"""Digits kept of a DOUBLE when it is summed: fixed-point addition does not depend on order, floating-point does."""

_CONFIG = ConfigDict(extra="forbid")


class Dialect(StrEnum):
    """Engines for which serving SQL is written."""

    SPARK = "spark"
    DUCKDB = "duckdb"


class State(NamedTuple):
    """One mergeable column: its name, Spark type, aggregate over events (Spark SQL), and merge aggregate by dialect."""

    column: str
    type: ColumnType
    partial: str
    merge: dict[Dialect, str]


def quote(name: str) -> str:
    """A column name in backticks for Spark SQL; names are validated identifiers, so nothing needs escaping."""
    return f"`{name}`"


class Measure(ABC):
    """A measure over the events of a pane; subclasses are frozen dataclasses."""

    exact = True
    """Whether speed and batch agree bit for bit; otherwise within the sketch's stated error."""

    @property
    @abstractmethod
    def columns(self) -> tuple[str, ...]:
        """The event columns that it reads."""

    def problems(self, schema: EventSchema) -> list[str]:
        """What is wrong with it for events of this schema; empty when nothing is."""
        return []

    @abstractmethod
    def states(self, name: str, schema: EventSchema) -> tuple[State, ...]:
        """The states that a measure called ``name`` keeps."""

    @abstractmethod
    def finish(self, name: str, schema: EventSchema, dialect: Dialect) -> str:
        """A scalar SQL expression over the merged states, which are named as in ``states``."""


def _merged(name: str, kind: str, type_sql: str, partial: str, aggregate: str) -> State:
    column = f"{name}__{kind}"
    # DuckDB widens sum(BIGINT) to HUGEINT; the cast gives both engines one type.
    merge = dict.fromkeys(Dialect, f"CAST({aggregate}({column}) AS {type_sql})")
    return State(column, ColumnType(type_sql), partial, merge)


def _sum_type(column: ColumnType) -> str:
    if column.sql in FLOATS:
        return f"DECIMAL(38,{FIXED_POINT_SCALE})"
    return f"DECIMAL(38,{column.scale})"


def _sum_state(name: str, column: str, schema: EventSchema) -> State:
    type_sql = _sum_type(schema[column])
    return _merged(name, "sum", type_sql, f"sum(CAST({quote(column)} AS {type_sql}))", "sum")


def _count_state(name: str, partial: str) -> State:
    return _merged(name, "count", "BIGINT", partial, "sum")


def _must_be_numeric(measure: object, column: str, schema: EventSchema) -> list[str]:
    if column in schema and not schema[column].is_numeric:
        return [f"{type(measure).__name__}({column!r}) needs a number, but {column} is {schema[column].sql}"]
    return []


@dataclass(frozen=True, config=_CONFIG)
class Count(Measure):
    """Number of events, or of events whose ``column`` is not null."""

    column: str | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        return () if self.column is None else (self.column,)

    def states(self, name: str, schema: EventSchema) -> tuple[State, ...]:
        return (_count_state(name, "count(*)" if self.column is None else f"count({quote(self.column)})"),)

    def finish(self, name: str, schema: EventSchema, dialect: Dialect) -> str:
        return f"coalesce({name}__count, 0)"


@dataclass(frozen=True, config=_CONFIG)
class CountIf(Measure):
    """Number of events for which a boolean column is true."""

    column: str

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.column,)

    def problems(self, schema: EventSchema) -> list[str]:
        if self.column in schema and schema[self.column].sql != "BOOLEAN":
            return [f"CountIf({self.column!r}) needs a BOOLEAN, but it is {schema[self.column].sql}"]
        return []

    def states(self, name: str, schema: EventSchema) -> tuple[State, ...]:
        return (_count_state(name, f"count_if({quote(self.column)})"),)

    def finish(self, name: str, schema: EventSchema, dialect: Dialect) -> str:
        return f"coalesce({name}__count, 0)"


@dataclass(frozen=True, config=_CONFIG)
class Sum(Measure):
    """Sum of a column, null where all values are; exact for integers and decimals.

    A DOUBLE is summed in fixed point: each value is rounded to nine decimals first, so that the sum does not depend on
    the order of additions. Values of 10**18 and more are quarantined before they get here.
    """

    column: str

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.column,)

    def problems(self, schema: EventSchema) -> list[str]:
        return _must_be_numeric(self, self.column, schema)

    def states(self, name: str, schema: EventSchema) -> tuple[State, ...]:
        return (_sum_state(name, self.column, schema),)

    def finish(self, name: str, schema: EventSchema, dialect: Dialect) -> str:
        return f"CAST({name}__sum AS DOUBLE)" if schema[self.column].sql in FLOATS else f"{name}__sum"


@dataclass(frozen=True, config=_CONFIG)
class Mean(Measure):
    """Arithmetic mean of the values that are not null: the exact sum over the exact count, divided once, in DOUBLE."""

    column: str

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.column,)

    def problems(self, schema: EventSchema) -> list[str]:
        return _must_be_numeric(self, self.column, schema)

    def states(self, name: str, schema: EventSchema) -> tuple[State, ...]:
        return (_sum_state(name, self.column, schema), _count_state(name, f"count({quote(self.column)})"))

    def finish(self, name: str, schema: EventSchema, dialect: Dialect) -> str:
        return f"CAST({name}__sum AS DOUBLE) / CAST(nullif({name}__count, 0) AS DOUBLE)"


@dataclass(frozen=True, config=_CONFIG)
class _Extreme(Measure):
    column: str

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.column,)

    def states(self, name: str, schema: EventSchema) -> tuple[State, ...]:
        kind = type(self).__name__.lower()
        return (_merged(name, kind, schema[self.column].sql, f"{kind}({quote(self.column)})", kind),)

    def finish(self, name: str, schema: EventSchema, dialect: Dialect) -> str:
        return f"{name}__{type(self).__name__.lower()}"


@dataclass(frozen=True, config=_CONFIG)
class Min(_Extreme):
    """Smallest value that is not null."""


@dataclass(frozen=True, config=_CONFIG)
class Max(_Extreme):
    """Largest value that is not null."""


@dataclass(frozen=True, config=_CONFIG)
class ApproxDistinct(Measure):
    """Approximate number of distinct values (HyperLogLog, Apache DataSketches, lgK = 12)."""

    column: str
    exact = False

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.column,)

    def states(self, name: str, schema: EventSchema) -> tuple[State, ...]:
        value = quote(self.column)
        if schema[self.column].sql not in {*INTEGERS, "STRING", "BINARY"}:
            value = f"CAST({value} AS STRING)"
        column = f"{name}__hll"
        merge = {
            Dialect.SPARK: f"hll_union_agg({column})",
            Dialect.DUCKDB: f"hll_union(list({column}))",
        }
        return (State(column, ColumnType("BINARY"), f"hll_sketch_agg({value}, {HLL_LOG2_BUCKETS})", merge),)

    def finish(self, name: str, schema: EventSchema, dialect: Dialect) -> str:
        return f"hll_sketch_estimate({name}__hll)"


@dataclass(frozen=True, config=_CONFIG)
class Quantile(Measure):
    """Approximate quantile of the values that are not null, by rank ``0 <= q <= 1`` (DataSketches' KLL, k = 200)."""

    column: str
    q: float
    exact = False

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.column,)

    def problems(self, schema: EventSchema) -> list[str]:
        rank = [] if 0 <= self.q <= 1 else [f"Quantile({self.column!r}, {self.q}): the rank must be within 0 and 1"]
        return rank + _must_be_numeric(self, self.column, schema)

    def states(self, name: str, schema: EventSchema) -> tuple[State, ...]:
        column = f"{name}__kll"
        merge = {
            Dialect.SPARK: f"kll_merge_agg_double({column})",
            Dialect.DUCKDB: f"kll_merge(list({column}))",
        }
        partial = f"kll_sketch_agg_double(CAST({quote(self.column)} AS DOUBLE), {KLL_K})"
        return (State(column, ColumnType("BINARY"), partial, merge),)

    def finish(self, name: str, schema: EventSchema, dialect: Dialect) -> str:
        if dialect is Dialect.DUCKDB:
            return f"kll_quantile({name}__kll, {self.q})"
        state = f"{name}__kll"
        return (
            f"CASE WHEN kll_sketch_get_n_double({state}) > 0 "
            f"THEN kll_sketch_get_quantile_double({state}, {self.q}D) END"
        )
