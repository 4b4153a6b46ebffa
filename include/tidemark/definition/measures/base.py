"""What every measure is made of: states that merge, in the SQL of two engines."""

from abc import ABC, abstractmethod
from enum import StrEnum
from typing import NamedTuple

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from tidemark.definition.schema import FLOATS, ColumnType, EventSchema

CONFIG = ConfigDict(extra="forbid")


class Dialect(StrEnum):
    """Engines for which serving SQL is written."""

    SPARK = "spark"
    """Spark SQL, with Spark's own functions for sketches."""
    DUCKDB = "duckdb"
    """DuckDB, with the sketch functions that ``tidemark.serving`` registers with a connection."""


class State(NamedTuple):
    """One mergeable column: its name, Spark type, aggregate over events (Spark SQL), and merge aggregate by dialect.

    Null is the zero of every state: a merge leaves it out, so that rows from before a measure was added count as rows
    without events. A state that the partial aggregate makes of no event is a zero as well.
    """

    column: str
    """Name of the column in the batch and speed tables: ``<measure>__<kind>``."""
    type: ColumnType
    """Type of the column in the tables."""
    partial: str
    """Aggregate over events, in Spark SQL: what the streams and the batch job compute."""
    merge: dict[Dialect, str]
    """By engine, the aggregate over states that merges them: associative and commutative."""

    @classmethod
    def of(cls, name: str, kind: str, type_sql: str, partial: str, merge: str) -> "State":
        """A state that both engines merge by the aggregate function ``merge``, such as ``sum``, ``min`` or ``bool_or``.

        Its column is called ``<name>__<kind>``; ``partial`` is a Spark SQL aggregate over events.

        Examples:
            >>> from tidemark.definition import Dialect, State
            >>> largest = State.of("delay", "max", "BIGINT", "max(delay)", "max")
            >>> largest.column
            'delay__max'
            >>> largest.merge[Dialect.DUCKDB]
            'CAST(max(delay__max) AS BIGINT)'
        """
        column = f"{name}__{kind}"
        # DuckDB widens sum(BIGINT) to HUGEINT; the cast gives both engines one type. Its TIMESTAMP has no zone.
        types = {Dialect.SPARK: type_sql, Dialect.DUCKDB: "TIMESTAMPTZ" if type_sql == "TIMESTAMP" else type_sql}
        merges = {dialect: f"CAST({merge}({column}) AS {types[dialect]})" for dialect in Dialect}
        return cls(column, ColumnType(type_sql), partial, merges)


class Stored(NamedTuple):
    """The column in which batch tables keep a finished value, because finishing it again costs more than reading it.

    Its name says every parameter that the value depends on beside the states: another parameter is another column.
    """

    column: str
    """Name of the column in the batch table."""
    type: ColumnType
    """Type of the column in the batch table."""


def quote(name: str) -> str:
    """A column name in backticks for Spark SQL; names are validated identifiers, so nothing needs escaping."""
    return f"`{name}`"


def value_of(column: str, schema: EventSchema) -> str:
    """A column's value in Spark SQL, with one zero.

    -0.0 and 0.0 are equal, so that which of them a minimum of both gives would depend on their order.
    """
    type_sql = schema[column].sql
    return f"if({quote(column)} = 0, CAST(0 AS {type_sql}), {quote(column)})" if type_sql in FLOATS else quote(column)


def as_double(decimal: str, dialect: Dialect) -> str:
    """The DOUBLE nearest to a DECIMAL or an integer of any size.

    DuckDB's own cast of a DECIMAL(38,0) or HUGEINT is off in the last bit at times (in about 1 of 100 of random ones);
    its reading of text is not, and neither is Spark's cast.
    """
    return f"CAST({decimal} AS DOUBLE)" if dialect is Dialect.SPARK else f"CAST(CAST({decimal} AS VARCHAR) AS DOUBLE)"


class Measure(ABC):
    """A measure over the events of a pane; subclasses are frozen dataclasses.

    A measure of your own is a subclass beside the pipeline that uses it. Nothing else changes.

    Examples:
        The range of a column, from two states that both engines can merge:

        >>> from dataclasses import dataclass
        >>> from tidemark.definition import Dialect, Measure, State, quote
        >>> from tidemark.definition.schema import parse_ddl
        >>> @dataclass(frozen=True)
        ... class Spread(Measure):
        ...     column: str
        ...
        ...     @property
        ...     def columns(self):
        ...         return (self.column,)
        ...
        ...     def states(self, name, schema):
        ...         kept = schema[self.column].sql
        ...         return (
        ...             State.of(name, "min", kept, f"min({quote(self.column)})", "min"),
        ...             State.of(name, "max", kept, f"max({quote(self.column)})", "max"),
        ...         )
        ...
        ...     def finish(self, name, schema, dialect):
        ...         return f"{name}__max - {name}__min"
        >>> schema = parse_ddl("flight STRING, delay BIGINT")
        >>> [state.column for state in Spread("delay").states("spread", schema)]
        ['spread__min', 'spread__max']
        >>> Spread("delay").finish("spread", schema, Dialect.DUCKDB)
        'spread__max - spread__min'
    """

    exact = True
    """Whether speed and batch agree bit for bit; otherwise within the sketch's stated error."""

    @property
    @abstractmethod
    def columns(self) -> tuple[str, ...]:
        """The event columns that it reads."""

    def problems(self, schema: EventSchema) -> list[str]:
        """What is wrong with it for events of this schema, and the remedy; empty when nothing is."""
        return []

    @abstractmethod
    def states(self, name: str, schema: EventSchema) -> tuple[State, ...]:
        """The states that a measure called ``name`` keeps."""

    @abstractmethod
    def finish(self, name: str, schema: EventSchema, dialect: Dialect) -> str:
        """A scalar SQL expression over the merged states, which are named as in ``states``."""

    def stored(self, name: str) -> Stored | None:
        """Where batch tables keep its finished value beside its states; None: it is finished whenever it is read."""
        return None


@dataclass(frozen=True, config=CONFIG)
class OfColumn(Measure):
    """A measure of one column."""

    column: str
    """The event column that it reads."""

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.column,)

    def label(self) -> str:
        """How it is written, for messages."""
        return f"{type(self).__name__}({self.column!r})"

    def not_a_number(self, schema: EventSchema) -> list[str]:
        """A problem if the column is known and is not a number."""
        if self.column in schema and not schema[self.column].is_numeric:
            return [f"{self.label()} needs a number, but {self.column} is {schema[self.column].sql}"]
        return []
