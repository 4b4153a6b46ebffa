"""Sums and means: exact, because they add integers or decimals only."""

from pydantic.dataclasses import dataclass

from tidemark.definition.measures.base import CONFIG, Dialect, OfColumn, State, as_double, quote
from tidemark.definition.measures.counts import count_state
from tidemark.definition.schema import FLOATS, ColumnType, EventSchema

FIXED_POINT_SCALE = 9
"""Digits kept of a DOUBLE when it is summed: fixed-point addition does not depend on order, floating-point does."""

SUMMABLE_DIGITS = 28
"""Digits that a column may have to be summed in 38: ten billion of the largest values fit."""


def _sum_type(column: ColumnType) -> str:
    return f"DECIMAL(38,{FIXED_POINT_SCALE if column.sql in FLOATS else column.scale})"


class _Summed(OfColumn):
    def problems(self, schema: EventSchema) -> list[str]:
        return self.not_a_number(schema) + too_wide(self, schema)

    def _sum_state(self, name: str, schema: EventSchema) -> State:
        type_sql = _sum_type(schema[self.column])
        return State.of(name, "sum", type_sql, f"sum(CAST({quote(self.column)} AS {type_sql}))", "sum")


def too_wide(measure: OfColumn, schema: EventSchema) -> list[str]:
    """A problem if the column is known and so wide that a sum of it could pass 38 digits, where engines fail."""
    if measure.column not in schema:
        return []
    column = schema[measure.column]
    if column.digits[0] <= SUMMABLE_DIGITS:
        return []
    narrower = f"DECIMAL({SUMMABLE_DIGITS},{min(column.scale, SUMMABLE_DIGITS)})"
    overflow = f"{measure.label()} could overflow: {measure.column} is {column.sql}, and a sum has 38 digits"
    return [f"{overflow}; declare the column as {narrower} or narrower, so that ten billion of the largest values fit"]


@dataclass(frozen=True, config=CONFIG)
class Sum(_Summed):
    """Sum of a column, null where all values are; exact for integers and decimals (of 28 digits at most).

    A DOUBLE is summed in fixed point: each value is rounded to nine decimals first, so that the sum does not depend on
    the order of additions. Values of 10**18 and more are quarantined before they get here. Up to ten billion values a
    window; past 38 digits both engines fail rather than answer wrong.
    """

    def states(self, name: str, schema: EventSchema) -> tuple[State, ...]:
        return (self._sum_state(name, schema),)

    def finish(self, name: str, schema: EventSchema, dialect: Dialect) -> str:
        return as_double(f"{name}__sum", dialect) if schema[self.column].sql in FLOATS else f"{name}__sum"


@dataclass(frozen=True, config=CONFIG)
class Mean(_Summed):
    """Arithmetic mean of the values that are not null: the exact sum over the exact count, divided once, in DOUBLE."""

    def states(self, name: str, schema: EventSchema) -> tuple[State, ...]:
        return (self._sum_state(name, schema), count_state(name, f"count({quote(self.column)})"))

    def finish(self, name: str, schema: EventSchema, dialect: Dialect) -> str:
        return f"{as_double(f'{name}__sum', dialect)} / CAST(nullif({name}__count, 0) AS DOUBLE)"
