"""Sessions and daily windows as DuckDB serves them, from partial rows made by hand, against plain Python."""

from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_pipeline import make_pipeline, make_rollup

from tidemark.definition import Count, Dialect, Pipeline, SessionWindow, Window
from tidemark.lake.tables import batch_schema, speed_schema
from tidemark.serving import serving_sql
from tidemark.serving.times import days_later
from tidemark.serving.view import connect

GAP = timedelta(minutes=1)
MIDNIGHT = datetime(2026, 1, 2, tzinfo=UTC)
MEASURES = {"n": Count()}


def pipeline_of(window: Window | SessionWindow, by: list[str], **options: Any) -> Pipeline:
    return make_pipeline(rollups=[make_rollup(window=window, by=by, measures=MEASURES)], **options)


def serve(pipeline: Pipeline, speed: list[dict[str, Any]]) -> list[dict[str, Any]]:
    rollup = pipeline.rollups[0]
    with connect() as connection:
        connection.register("batch", batch_schema(pipeline, rollup).empty_table())
        connection.register("speed", pa.Table.from_pylist(speed, speed_schema(pipeline, rollup)))
        text = serving_sql(pipeline, rollup, Dialect.DUCKDB)
        return list(connection.sql(f"{text} ORDER BY ALL").to_arrow_table().to_pylist())


def spans(times: list[datetime]) -> list[list[datetime]]:
    """The times in runs, in each of which they follow one another within the gap."""
    runs: list[list[datetime]] = []
    for at in sorted(times):
        if runs and at - runs[-1][-1] <= GAP:
            runs[-1].append(at)
        else:
            runs.append([at])
    return runs


@settings(max_examples=60, deadline=None)
@given(
    events=st.lists(st.tuples(st.sampled_from(["a", None]), st.integers(-12, 12), st.integers(0, 3)), max_size=20),
    keyed=st.booleans(),
)
def test_parts_of_sessions_in_any_micro_batches_are_served_as_the_sessions_of_one_pass(
    events: list[tuple[str | None, int, int]], keyed: bool
) -> None:
    pipeline = pipeline_of(SessionWindow("1 minute"), ["shop"] if keyed else [])
    parts: dict[Any, list[datetime]] = defaultdict(list)
    keys: dict[str | None, list[datetime]] = defaultdict(list)
    for shop, half_minutes, batch in events:
        at = MIDNIGHT + timedelta(seconds=30 * half_minutes)
        parts[shop if keyed else "all", at.date(), batch].append(at)
        keys[shop if keyed else "all"].append(at)
    rows = [
        {
            "shop": shop,
            "pane_start": run[0],
            "n__count": len(run),
            "max_event_time": run[-1],
            "max_arrival_time": run[-1],
            "ingest_batch": batch,
            "segment": 0,
            "event_date": day,
        }
        for (shop, day, batch), times in parts.items()
        for run in spans(times)
    ]
    expected = [(key, run[0], run[-1] + GAP, len(run)) for key, times in keys.items() for run in spans(times)]
    answer = serve(pipeline, rows)
    got = [(row.get("shop", "all"), row["window_start"], row["window_end"], row["n"]) for row in answer]
    assert sorted(got, key=repr) == sorted(expected, key=repr)
    newest = max((at for times in keys.values() for at in times), default=MIDNIGHT)
    assert all(row["final"] == (row["window_end"] <= newest - pipeline.allowed_lateness) for row in answer)


ZONES = ["Europe/Berlin", "America/Havana", "America/Sao_Paulo", "Africa/Cairo", "Asia/Kathmandu", "Pacific/Apia"]


def first_instant(day: date, zone: ZoneInfo) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)


@pytest.mark.parametrize("name", ZONES)
def test_a_day_ends_when_the_next_date_begins_in_its_zone(name: str) -> None:
    zone = ZoneInfo(name)
    days = [date(2009, 1, 1) + timedelta(days=n) for n in range(16 * 365)]
    # A date that was left out, as 2011-12-30 in Apia, has no midnight to start from.
    days = [day for day in days if first_instant(day, zone).astimezone(zone).date() == day]
    midnights = [first_instant(day, zone) for day in days]
    for ahead in (1, -2):
        with connect() as connection:
            connection.register("given", pa.table({"m": pa.array(midnights, pa.timestamp("us", "UTC"))}))
            text = days_later("m", str(ahead), name, Dialect.DUCKDB)
            got = [row[0] for row in connection.sql(f"SELECT {text} FROM given").fetchall()]
        assert got == [first_instant(day + timedelta(days=ahead), zone) for day in days]


def test_a_daily_window_has_23_or_25_hours_when_the_clocks_change() -> None:
    pipeline = pipeline_of(Window("1 day"), [], timezone="Europe/Berlin")
    zone = ZoneInfo("Europe/Berlin")
    starts = [first_instant(date(2026, month, day), zone) for month, day in ((3, 28), (3, 29), (10, 25), (10, 26))]
    rows = [
        {"pane_start": at, "n__count": 1, "max_event_time": at, "segment": 0, "event_date": at.astimezone(zone).date()}
        for at in starts
    ]
    hours = [(row["window_end"] - row["window_start"]) / timedelta(hours=1) for row in serve(pipeline, rows)]
    assert hours == [24, 23, 25, 24]


@pytest.mark.parametrize("dialect", list(Dialect))
def test_a_tumbling_window_in_utc_keeps_its_simple_plan(dialect: Dialect) -> None:
    for window in (Window("1 day"), Window("1 hour")):
        text = serving_sql(*_with_rollup(pipeline_of(window, ["shop"])), dialect)
        assert not any(word in text for word in ("OVER", "_slide", "timezone(", "utc_timestamp"))


@pytest.mark.parametrize("dialect", list(Dialect))
def test_names_that_are_words_of_sql_are_quoted(dialect: Dialect) -> None:
    rollup = make_rollup(by=["order"], measures={"group": Count("end")})
    schema = "id STRING, `order` STRING, `end` STRING, at TIMESTAMP"
    text = serving_sql(make_pipeline(schema=schema, rollups=[rollup]), rollup, dialect)
    assert not any(f" {word}," in text for word in ("order", "group"))


def test_keys_and_measures_may_have_names_that_are_words_of_sql() -> None:
    schema = "id STRING, `order` STRING, `end` STRING, at TIMESTAMP"
    rollup = make_rollup(by=["order"], measures={"group": Count("end")}, window=Window("1 hour"))
    pipeline = make_pipeline(schema=schema, rollups=[rollup])
    part = {"order": "a", "pane_start": MIDNIGHT, "group__count": 2, "max_event_time": MIDNIGHT, "segment": 0}
    [row] = serve(pipeline, [{**part, "event_date": MIDNIGHT.date()}])
    assert (row["order"], row["group"]) == ("a", 2)


def _with_rollup(pipeline: Pipeline) -> tuple[Pipeline, Any]:
    return pipeline, pipeline.rollups[0]
