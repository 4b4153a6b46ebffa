"""Smallest and largest, first and last: of many values, one."""

from pydantic.dataclasses import dataclass

from tidemark.definition.measures.base import CONFIG, Dialect, OfColumn, State, quote, value_of
from tidemark.definition.schema import EventSchema


class _Extreme(OfColumn):
    def states(self, name: str, schema: EventSchema) -> tuple[State, ...]:
        kind = type(self).__name__.lower()
        return (State.of(name, kind, schema[self.column].sql, f"{kind}({value_of(self.column, schema)})", kind),)

    def finish(self, name: str, schema: EventSchema, dialect: Dialect) -> str:
        return f"{name}__{type(self).__name__.lower()}"


@dataclass(frozen=True, config=CONFIG)
class Min(_Extreme):
    """Smallest value that is not null, in the column's type; null where all values are."""


@dataclass(frozen=True, config=CONFIG)
class Max(_Extreme):
    """Largest value that is not null, in the column's type; null where all values are."""


class _ByEventTime(OfColumn):
    """Keeps the value beside the event time that it is of, and compares both, so that equal times leave no choice."""

    _side = ""

    def states(self, name: str, schema: EventSchema) -> tuple[State, ...]:
        at, value = f"{name}__at", f"{name}__value"
        new, time = value_of(self.column, schema), quote(schema.event_time)
        given = f"FILTER (WHERE {quote(self.column)} IS NOT NULL)"
        kept = f"FILTER (WHERE {value} IS NOT NULL)"
        merge = {
            Dialect.SPARK: f"{self._side}_by({value}, struct({at}, {value})) {kept}",
            Dialect.DUCKDB: f"arg_{self._side}({value}, row({at}, {value})) {kept}",
        }
        return (
            State.of(name, "at", "TIMESTAMP", f"{self._side}({time}) {given}", self._side),
            State(value, schema[self.column], f"{self._side}_by({new}, struct({time}, {new})) {given}", merge),
        )

    def finish(self, name: str, schema: EventSchema, dialect: Dialect) -> str:
        return f"{name}__value"


@dataclass(frozen=True, config=CONFIG)
class First(_ByEventTime):
    """The earliest value by event time that is not null; of several at that time, the smallest."""

    _side = "min"


@dataclass(frozen=True, config=CONFIG)
class Last(_ByEventTime):
    """The latest value by event time that is not null; of several at that time, the largest."""

    _side = "max"
