"""A suite proposed from what silver holds: a first draft to be read and changed, in Great Expectations' own format."""

import math
import uuid
from collections.abc import Iterator
from datetime import date
from typing import Any

import orjson

from tidemark.core.errors import TidemarkError
from tidemark.core.settings import Settings
from tidemark.definition import Pipeline
from tidemark.definition.schema import FLOATS, INTEGERS, Column
from tidemark.lake.snapshots import open_table
from tidemark.lake.tables import tables_of
from tidemark.serving.scan import create_view
from tidemark.serving.view import connect

MOST_VALUES = 20
"""A text column with at most so many values, each of at least ``ROWS_A_VALUE`` rows on average, gets a value set."""
ROWS_A_VALUE = 10
_NAMESPACE = uuid.UUID("6f0f3f0e-6e6b-5a57-9d9d-5f3c1f0f6b2a")


def propose_suite(
    pipeline: Pipeline, settings: Settings, *, start: date = date.min, end: date = date.max, margin: float = 0.1
) -> dict[str, Any]:
    """A suite that the rows of silver with an event date in ``[start, end)`` fulfil.

    Nulls, ranges, value sets and lengths are row-level, with the action ``warn``: a limit that was guessed from data
    should be read before it quarantines any. Means, volume and freshness have the severity ``warning``. ``margin``
    widens each range by that share of it on either side.

    Raises:
        TableError: the pipeline has no tables yet.
        TidemarkError: silver holds no rows of these dates.
    """
    silver = open_table(tables_of(pipeline, settings).silver, settings)
    expectations: list[dict[str, Any]] = []
    with connect() as connection:
        create_view(connection, "silver", silver)
        dated = "event_date >= $start AND event_date < $end"
        figures = ", ".join(text for column in pipeline.event_schema for text in _figures(column))
        chosen = {"start": start, "end": end}
        rows = connection.sql(f"SELECT count(*) AS rows, {figures} FROM silver WHERE {dated}", params=chosen)
        [found] = rows.to_arrow_table().to_pylist()
        if not found["rows"]:
            raise TidemarkError(f"silver of {pipeline.name!r} holds no rows of these dates: nothing to propose from")
        for column in pipeline.event_schema:
            values: list[str] = []
            if column.type.sql == "STRING" and found[f"distinct_{column.name}"] <= MOST_VALUES:
                texts = f'SELECT DISTINCT "{column.name}" AS text FROM silver WHERE {dated} ORDER BY text'
                listed = connection.sql(texts, params=chosen)
                values = [value for (value,) in listed.fetchall() if value is not None]
            expectations += _of_column(column, found, values, margin)
    expectations += _of_table(pipeline)
    return {"name": pipeline.name, "expectations": expectations, "meta": {}}


def _figures(column: Column) -> Iterator[str]:
    name, value = column.name, f'"{column.name}"'
    yield f"count({value}) AS filled_{name}"
    if column.type.sql == "STRING":
        yield f"count(DISTINCT {value}) AS distinct_{name}"
        value = f"length({value})"
    if column.type.sql == "STRING" or column.type.is_numeric:
        finite = f" FILTER (isfinite({value}))" if column.type.sql in FLOATS else ""
        yield f"min({value}){finite} AS min_{name}, max({value}){finite} AS max_{name}"
        yield f"avg({value}){finite} AS mean_{name}, stddev_pop(CAST({value} AS DOUBLE)){finite} AS deviation_{name}"


def _of_column(column: Column, found: dict[str, Any], values: list[str], margin: float) -> Iterator[dict[str, Any]]:
    name, rows, filled = column.name, found["rows"], found[f"filled_{column.name}"]
    if not filled:
        return
    if filled == rows:
        yield _expectation("expect_column_values_to_not_be_null", {"column": name}, action="warn")
    else:
        least = math.floor(100 * filled / rows * (1 - margin)) / 100
        yield _expectation("expect_column_values_to_not_be_null", {"column": name, "mostly": least}, "warning")
    low, high = found.get(f"min_{name}"), found.get(f"max_{name}")
    if low is None or high is None:
        return
    if column.type.sql == "STRING":
        if values and rows >= ROWS_A_VALUE * len(values):
            members = {"column": name, "value_set": values}
            yield _expectation("expect_column_values_to_be_in_set", members, action="warn")
        else:
            lengths = {"column": name, **_widened(low, high, margin, whole=True)}
            yield _expectation("expect_column_value_lengths_to_be_between", lengths, action="warn")
        return
    bounds = {"column": name, **_widened(low, high, margin, whole=column.type.sql in INTEGERS)}
    yield _expectation("expect_column_values_to_be_between", bounds, action="warn")
    mean, spread = float(found[f"mean_{name}"]), float(found[f"deviation_{name}"] or 0)
    limits = {"min_value": _rounded(mean - spread, math.floor), "max_value": _rounded(mean + spread, math.ceil)}
    yield _expectation("expect_column_mean_to_be_between", {"column": name, **limits}, "warning")


def _of_table(pipeline: Pipeline) -> Iterator[dict[str, Any]]:
    key = list(pipeline.key)
    if len(key) == 1:
        yield _expectation("expect_column_values_to_be_unique", {"column": key[0]})
    else:
        yield _expectation("expect_compound_columns_to_be_unique", {"column_list": key})
    yield _expectation("expect_table_row_count_to_be_between", {"min_value": 1})
    volume = {"min_value": "round(0.5 * expected_rows)", "max_value": "round(2 * expected_rows)"}
    limits = {bound: {"$PARAMETER": text} for bound, text in volume.items()}
    yield _expectation("expect_table_row_count_to_be_between", limits, "warning")
    fresh = {"column": pipeline.event_time, "min_value": {"$PARAMETER": "slice_end - timedelta(hours=12)"}}
    yield _expectation("expect_column_max_to_be_between", fresh, "warning")


def _widened(low: Any, high: Any, margin: float, *, whole: bool) -> dict[str, float]:
    """The range, wider by its margin, in few digits; what was never negative stays so."""
    low, high = float(low), float(high)
    by = margin * (high - low)
    least = max(low - by, 0.0) if low >= 0 else low - by
    if whole:
        return {"min_value": math.floor(least), "max_value": math.ceil(high + by)}
    return {"min_value": _rounded(least, math.floor), "max_value": _rounded(high + by, math.ceil)}


def _rounded(value: float, direction: Any) -> float:
    """The value to three significant digits, moved in one direction only, so that a limit stays on its side."""
    if value == 0:
        return 0.0
    digits = 2 - math.floor(math.log10(abs(value)))
    shown = direction(value * 10.0**digits) / 10.0**digits if abs(digits) < 300 else value
    return float(shown)


def _expectation(
    kind: str, kwargs: dict[str, Any], severity: str = "critical", action: str | None = None
) -> dict[str, Any]:
    return {
        "id": str(uuid.uuid5(_NAMESPACE, f"{kind} {orjson.dumps(kwargs, option=orjson.OPT_SORT_KEYS).decode()}")),
        "type": kind,
        "kwargs": kwargs,
        "meta": {"action": action} if action else {},
        "severity": severity,
    }
