"""Counts of events."""

from pydantic.dataclasses import dataclass

from tidemark.definition.measures.base import CONFIG, Dialect, Measure, OfColumn, State, quote
from tidemark.definition.schema import EventSchema


def count_state(name: str, partial: str) -> State:
    """The number of some events; counts of parts add up."""
    return State.of(name, "count", "BIGINT", partial, "sum")


@dataclass(frozen=True, config=CONFIG)
class Count(Measure):
    """Number of events, or of events whose ``column`` is not null. 0 where there is none, never null."""

    column: str | None = None
    """The column that must not be null for an event to count; None: every event counts."""

    @property
    def columns(self) -> tuple[str, ...]:
        return () if self.column is None else (self.column,)

    def states(self, name: str, schema: EventSchema) -> tuple[State, ...]:
        return (count_state(name, "count(*)" if self.column is None else f"count({quote(self.column)})"),)

    def finish(self, name: str, schema: EventSchema, dialect: Dialect) -> str:
        return f"coalesce({name}__count, 0)"


@dataclass(frozen=True, config=CONFIG)
class CountIf(OfColumn):
    """Number of events for which a BOOLEAN column is true: neither false nor null. 0 where there is none."""

    def problems(self, schema: EventSchema) -> list[str]:
        if self.column in schema and schema[self.column].sql != "BOOLEAN":
            return [f"{self.label()} needs a BOOLEAN, but it is {schema[self.column].sql}"]
        return []

    def states(self, name: str, schema: EventSchema) -> tuple[State, ...]:
        return (count_state(name, f"count_if({quote(self.column)})"),)

    def finish(self, name: str, schema: EventSchema, dialect: Dialect) -> str:
        return f"coalesce({name}__count, 0)"
