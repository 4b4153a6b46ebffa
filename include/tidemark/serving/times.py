"""Arithmetic on timestamps in the SQL of two engines, whatever the time zone of the session that runs it."""

from datetime import timedelta

from tidemark.definition.measures import Dialect

_DAY = 86_400_000_000


def later(timestamp: str, by: timedelta, dialect: Dialect, *, times: str = "") -> str:
    """The timestamp ``by`` later, or that many times as much; exact to the microsecond.

    Spark adds whole days of an interval on the session's calendar, so it is given microseconds.
    """
    factor = f" * {times}" if times else ""
    if dialect is Dialect.SPARK:
        return f"timestamp_micros(unix_micros({timestamp}) + {by // timedelta(microseconds=1)}{factor})"
    return f"{timestamp} + INTERVAL '{by // timedelta(seconds=1)}' SECOND{factor}"


def days_later(midnight: str, days: str, zone: str, dialect: Dialect) -> str:
    """The midnight in ``zone`` that many days after a midnight there: the first instant of its date.

    Where clocks jump over midnight, it is when they do; where they are set back over it, the first of two.
    """
    if dialect is Dialect.SPARK:
        local = f"unix_micros(from_utc_timestamp({midnight}, '{zone}')) + {_DAY // 2}"
        return f"to_utc_timestamp(timestamp_micros({local} - pmod({local}, {_DAY}) + ({days}) * {_DAY}), '{zone}')"
    wall = f"date_trunc('day', timezone('{zone}', {midnight}) + INTERVAL 12 HOUR) + INTERVAL 1 DAY * ({days})"
    # DuckDB takes the second of two, at the offset from after the change. The first is at the offset of the day before.
    second = f"timezone('{zone}', {wall})"
    before = f"{second} - INTERVAL 1 DAY"
    offset = f"timezone('{zone}', {before}) - timezone('UTC', {before})"
    first = f"timezone('UTC', {wall} - ({offset}))"
    return f"CASE WHEN timezone('{zone}', {first}) = {wall} THEN {first} ELSE {second} END"
