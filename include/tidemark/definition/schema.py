"""Column types, and the schema of a pipeline's events, read from a Spark DDL string such as ``id STRING, n BIGINT``."""

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

_SIMPLE: dict[str, pa.DataType] = {
    "STRING": pa.string(),
    "BIGINT": pa.int64(),
    "INT": pa.int32(),
    "SMALLINT": pa.int16(),
    "DOUBLE": pa.float64(),
    "FLOAT": pa.float32(),
    "BOOLEAN": pa.bool_(),
    "DATE": pa.date32(),
    "TIMESTAMP": pa.timestamp("us", tz="UTC"),
    "BINARY": pa.binary(),
}
_KNOWN = f"known are {', '.join(_SIMPLE)} and DECIMAL(p,s)"
_NO_TYPES_OF_SPARK = (exp.DataType.Type.TIME, exp.DataType.Type.DATETIME)
"""What sqlglot would write as a TIMESTAMP, though a time of day is none."""
_DIGITS_OF_INTEGERS = {"BIGINT": 19, "INT": 10, "SMALLINT": 5}
INTEGERS = frozenset(_DIGITS_OF_INTEGERS)
"""Spellings of the integer types."""
FLOATS = frozenset({"DOUBLE", "FLOAT"})
"""Spellings of the floating-point types."""


@dataclass(frozen=True)
class ColumnType:
    """A Spark SQL type in its canonical spelling (``BIGINT``, ``DECIMAL(12,2)``) with its Arrow counterpart."""

    sql: str
    """How Spark SQL writes the type, in capitals and without spaces."""

    @property
    def is_decimal(self) -> bool:
        """Whether this is a DECIMAL of any precision."""
        return self.sql.startswith("DECIMAL(")

    @property
    def is_numeric(self) -> bool:
        """Whether sums and means make sense on it."""
        return self.sql in INTEGERS or self.sql in FLOATS or self.is_decimal

    @property
    def digits(self) -> tuple[int, int]:
        """Decimal digits, and how many of them stand after the point; (0, 0) unless it is an integer or a DECIMAL."""
        if self.is_decimal:
            precision, scale = self.sql[len("DECIMAL(") : -1].split(",")
            return int(precision), int(scale)
        return _DIGITS_OF_INTEGERS.get(self.sql, 0), 0

    @property
    def scale(self) -> int:
        """Digits after the point of a DECIMAL; 0 for integers."""
        return self.digits[1]

    @property
    def arrow(self) -> pa.DataType:
        """The Arrow type under which Delta tables hold it; timestamps are microseconds in UTC."""
        return pa.decimal128(*self.digits) if self.is_decimal else _SIMPLE[self.sql]


@dataclass(frozen=True)
class Column:
    """One named column of an event."""

    name: str
    """Name of the field in an event, and of the column in silver."""
    type: ColumnType
    """Type of the column in silver."""


class EventSchema:
    """The columns of a pipeline's events, in the order of the DDL, and which of them says when an event happened.

    Iterates over its columns. ``name in schema`` says whether it has a column; ``schema[name]`` is its type, and raises
    KeyError where there is none.
    """

    def __init__(self, columns: tuple[Column, ...], event_time: str = "") -> None:
        self.columns = columns
        """The columns in order."""
        self.event_time = event_time
        """Name of the column that says when an event happened; empty if none was named."""
        self._by_name = {column.name: column for column in columns}

    def __iter__(self) -> Iterator[Column]:
        return iter(self.columns)

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    def __getitem__(self, name: str) -> ColumnType:
        return self._by_name[name].type

    @property
    def names(self) -> tuple[str, ...]:
        """Column names in order."""
        return tuple(self._by_name)


def parse_ddl(ddl: str, event_time: str = "") -> EventSchema:
    """Read a Spark DDL column list; ``event_time`` names the column of event time.

    Raises:
        ValueError: with a sentence that names the column and the types that are known.

    Examples:
        >>> from tidemark.definition.schema import parse_ddl
        >>> schema = parse_ddl("flight STRING, fare DECIMAL(10, 2), departure TIMESTAMP", event_time="departure")
        >>> schema.names
        ('flight', 'fare', 'departure')
        >>> schema["fare"].sql, schema["fare"].is_numeric
        ('DECIMAL(10,2)', True)
        >>> schema["departure"].arrow
        TimestampType(timestamp[us, tz=UTC])

        A type that is not known is named with those that are:

        >>> parse_ddl("flight STRING, stops ARRAY<STRING>")
        Traceback (most recent call last):
        ...
        ValueError: column 'stops' has type ARRAY<STRING>; known are STRING, BIGINT, INT, ...
    """
    try:
        create = sqlglot.parse_one(f"CREATE TABLE events ({ddl})", read="spark")
    except SqlglotError as error:
        raise ValueError(f"the schema is not a DDL column list like 'id STRING, n BIGINT': {ddl!r}") from error
    if others := [one for one in create.this.expressions if not isinstance(one, exp.ColumnDef)]:
        stated = ", ".join(one.sql(dialect="spark") for one in others)
        raise ValueError(
            f"the schema says {stated}, which it cannot hold to: name columns only; the key goes into key="
        )
    columns: list[Column] = []
    for definition in create.find_all(exp.ColumnDef):
        kind = definition.args.get("kind")
        if kind is None:
            raise ValueError(f"column {definition.name!r} has no type")
        if constraints := [
            one for one in definition.constraints if not isinstance(one.kind, exp.CommentColumnConstraint)
        ]:
            stated = ", ".join(constraint.sql(dialect="spark") for constraint in constraints)
            raise ValueError(
                f"column {definition.name!r} says {stated}, which the schema cannot hold to: write name and type only; "
                "what must not be null goes into required= or into the suite"
            )
        if kind.this in _NO_TYPES_OF_SPARK:
            raise ValueError(f"column {definition.name!r} has type {kind.this.value}; {_KNOWN}")
        columns.append(Column(definition.name, _column_type(definition.name, kind.sql(dialect="spark").upper())))
    if not columns:
        raise ValueError(f"the schema names no column: {ddl!r}")
    names = [column.name for column in columns]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise ValueError(f"columns named twice: {', '.join(doubled)}")
    return EventSchema(tuple(columns), event_time)


def _column_type(name: str, sql: str) -> ColumnType:
    sql = sql.replace(" ", "")
    if sql == "DECIMAL":
        sql = "DECIMAL(10,0)"
    if sql.startswith("DECIMAL(") and "," not in sql:
        sql = sql[:-1] + ",0)"
    if sql not in _SIMPLE and not sql.startswith("DECIMAL("):
        raise ValueError(f"column {name!r} has type {sql}; {_KNOWN}")
    column = ColumnType(sql)
    if (column.is_decimal and not 0 <= column.scale <= column.digits[0] <= 38) or sql.startswith("DECIMAL(0"):
        raise ValueError(f"column {name!r} has type {sql}; a DECIMAL(p,s) has 1 <= p <= 38 digits, 0 <= s <= p of them")
    return column
