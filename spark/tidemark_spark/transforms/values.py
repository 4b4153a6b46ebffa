"""From the text of a JSON value to a column's type, the same on every day and in every session.

Spark's own casts read a time without a date as today's, one without a zone in the session's, and years that no other
reader can hold; and they take minutes for a decimal with a huge exponent. So texts are cast only if they have a form
that is stated here, and what none of Python, Arrow, delta-rs, Spark and DuckDB alike can hold is not a value.
"""

from pyspark.sql import Column
from pyspark.sql import functions as F

from tidemark.definition.schema import ColumnType

FIRST_MICROSECOND, LAST_MICROSECOND = -62_135_596_800_000_000, 253_402_300_799_999_999
"""Of the years 1 to 9999, in microseconds since the epoch."""

_DAY = 86_400_000_000
_DATE = "[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}"
_MINUTES = "[T ][0-9]{1,2}:[0-9]{1,2}"
_CLOCK = f"{_MINUTES}:[0-9]{{1,2}}(?:[.][0-9]{{1,30}})?"
_ZONE = " ?(?:Z|UTC|GMT|[+-][0-9]{1,2}(?::?[0-9]{2}(?::[0-9]{2})?)?)"
_BEYOND = "^ {0,9}(?:-[0-9]{4,9}|[+]?[0-9]{5,9}|0000)-[0-9]{1,2}-[0-9]{1,2}"
_LONGEST_DECIMAL = 1_000
# BigDecimal makes as many digits of an exponent as it says.
_HUGE_EXPONENT = "[eE][+-]?0*[1-9][0-9]{3}"


def typed(text: Column, column: ColumnType) -> Column:
    """The value of a text; null where it has none. Dates and times may still be beyond what is ``holdable``.

    A DATE or TIMESTAMP begins with ``yyyy-mm-dd``; a clock time and a zone may follow: ``Z``, ``UTC``, ``GMT`` or an
    offset. Without a zone a time is in UTC. Of a DATE, the date is taken as it is written. A DECIMAL with more digits
    after the point than its type is rounded half up, one with more before is not a value.
    """
    if column.sql == "TIMESTAMP":
        # Spark reads no zone behind hours and minutes alone.
        seconds = F.regexp_replace(text, f"({_DATE}{_MINUTES})", "$1:00")
        whole = (
            F.when(_is(text, _DATE + _CLOCK + _ZONE), text)
            .when(_is(text, _DATE + _CLOCK), F.concat(F.rtrim(text), F.lit("Z")))
            .when(_is(text, _DATE), F.concat(F.rtrim(text), F.lit("T00:00:00Z")))
            .when(_is(text, _DATE + _MINUTES + _ZONE), seconds)
            .when(_is(text, _DATE + _MINUTES), F.concat(F.rtrim(seconds), F.lit("Z")))
        )
        return whole.try_cast("timestamp_ltz")
    if column.sql == "DATE":
        return F.when(_is(text, f"{_DATE}(?:(?:{_CLOCK}|{_MINUTES})(?:{_ZONE})?)?"), text).try_cast("date")
    if column.is_decimal:
        readable = (F.length(text) <= _LONGEST_DECIMAL) & ~text.rlike(_HUGE_EXPONENT)
        return F.when(readable, text).try_cast(column.sql)
    return text.try_cast(column.sql)


def is_bounded(column: ColumnType) -> bool:
    """Whether a type has values that some reader cannot hold."""
    return column.sql in ("TIMESTAMP", "DATE")


def holdable(value: Column, column: ColumnType) -> Column:
    """The value of a bounded type if every reader can hold it: in UTC, from the year 1 to 9999; else null."""
    if column.sql == "TIMESTAMP":
        return F.when(F.unix_micros(value).between(FIRST_MICROSECOND, LAST_MICROSECOND), value)
    return F.when(F.unix_date(value).between(FIRST_MICROSECOND // _DAY, LAST_MICROSECOND // _DAY), value)


def is_beyond_years(text: Column) -> Column:
    """Whether a text is a date or a time, and its year is not one from 1 to 9999."""
    return text.rlike(_BEYOND)


def event_date(at: str, timezone: str) -> Column:
    """The calendar date of a TIMESTAMP column in a zone, whatever the session's; null if no reader could hold it."""
    local = f"`{at}`" if timezone == "UTC" else f"from_utc_timestamp(`{at}`, '{timezone}')"
    micros = f"unix_micros({local})"
    inside = f"{micros} BETWEEN {FIRST_MICROSECOND} AND {LAST_MICROSECOND}"
    days = f"CAST(({micros} - pmod({micros}, {_DAY})) DIV {_DAY} AS INT)"
    return F.expr(f"CASE WHEN {inside} THEN date_from_unix_date({days}) END")


def _is(text: Column, form: str) -> Column:
    # Not "$", which a line feed may follow.
    return text.rlike(f"^ {{0,9}}{form} {{0,9}}\\z")
