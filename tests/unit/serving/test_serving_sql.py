"""The serving SQL, run by DuckDB on tables made by hand: whatever the layers hold, the answer is one pass over all."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_pipeline import VISITS, make_pipeline, make_rollup

from tidemark.definition import Window
from tidemark.definition.measures import Dialect
from tidemark.lake.tables import batch_schema, speed_schema
from tidemark.serving import serving_sql
from tidemark.serving.view import connect

PIPELINE = make_pipeline()
PANE = timedelta(minutes=5)
START = datetime(2026, 1, 1, 23, 30, tzinfo=UTC)
COLUMNS = ("visits", "paid", "revenue", "mean", "least", "most")


class Visit(NamedTuple):
    shop: str
    at: datetime
    amount: Decimal | None
    ingest_batch: int
    segment: int


def partial(visits: list[Visit], pane: datetime) -> dict[str, Any]:
    amounts = [visit.amount for visit in visits if visit.amount is not None]
    return {
        "shop": visits[0].shop,
        "pane_start": pane,
        "visits__count": len(visits),
        "paid__count": len(amounts),
        "revenue__sum": sum(amounts) if amounts else None,
        "mean__sum": sum(amounts) if amounts else None,
        "mean__count": len(amounts),
        "least__min": min(amounts, default=None),
        "most__max": max(amounts, default=None),
        "max_event_time": max(visit.at for visit in visits),
        "max_arrival_time": max(visit.at for visit in visits),
        "ingest_batch": max(visit.ingest_batch for visit in visits),
        "event_date": pane.date(),
    }


def pane_of(at: datetime) -> datetime:
    return at - timedelta(seconds=at.timestamp() % PANE.total_seconds())


def speed_rows(visits: Iterable[Visit]) -> pa.Table:
    groups: dict[Any, list[Visit]] = defaultdict(list)
    for visit in visits:
        groups[visit.shop, pane_of(visit.at), visit.ingest_batch].append(visit)
    rows = [{**partial(group, key[1]), "segment": group[0].segment} for key, group in groups.items()]
    return pa.Table.from_pylist(rows, speed_schema(PIPELINE, VISITS))


def batch_rows(visits: Iterable[Visit], covered: dict[date, int]) -> pa.Table:
    groups: dict[Any, list[Visit]] = defaultdict(list)
    for visit in visits:
        if visit.segment <= covered.get(visit.at.date(), -1):
            groups[visit.shop, pane_of(visit.at)].append(visit)
    rows = [{**partial(g, key[1]), "covered_segment": covered[key[1].date()]} for key, g in groups.items()]
    rows += [{"event_date": day, "covered_segment": segment} for day, segment in covered.items()]
    return pa.Table.from_pylist(rows, batch_schema(PIPELINE, VISITS))


def ask(connection: duckdb.DuckDBPyConnection, batch: pa.Table, speed: pa.Table, **options: Any) -> dict[Any, Any]:
    connection.register("batch", batch)
    connection.register("speed", speed)
    text = serving_sql(PIPELINE, VISITS, Dialect.DUCKDB, **options)
    rows = connection.sql(text).to_arrow_table().to_pylist()
    answer = {(row["shop"], row["window_start"]): tuple(row[name] for name in COLUMNS) for row in rows}
    assert len(answer) == len(rows), "one row a key and window"
    assert all(row["window_end"] - row["window_start"] == VISITS.window.length for row in rows)
    return answer


def in_one_pass(visits: Iterable[Visit]) -> dict[Any, Any]:
    windows: dict[Any, list[Visit]] = defaultdict(list)
    for visit in visits:
        for slide in range(VISITS.window.panes):
            windows[visit.shop, pane_of(visit.at) - slide * PANE].append(visit)
    answer = {}
    for key, inside in windows.items():
        amounts = [visit.amount for visit in inside if visit.amount is not None]
        mean = float(sum(amounts)) / len(amounts) if amounts else None
        total = sum(amounts) if amounts else None
        answer[key] = (len(inside), len(amounts), total, mean, min(amounts, default=None), max(amounts, default=None))
    return answer


@st.composite
def logs(draw: st.DrawFn) -> list[Visit]:
    """Micro-batches of visits around midnight, in segments that never go back."""
    visits, segment = [], 0
    for ingest_batch in range(draw(st.integers(0, 4))):
        segment += draw(st.integers(0, 1))
        for _ in range(draw(st.integers(0, 5))):
            at = START + timedelta(seconds=draw(st.integers(0, 3600)))
            cents = draw(st.none() | st.integers(-(10**6), 10**6))
            amount = None if cents is None else Decimal(cents) / 100
            visits.append(Visit(draw(st.sampled_from("ab")), at, amount, ingest_batch, segment))
    return visits


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with connect() as connection:
        yield connection


DAYS = [START.date(), START.date() + timedelta(days=1)]


@settings(max_examples=40, deadline=None)
@given(visits=logs(), covered=st.dictionaries(st.sampled_from(DAYS), st.integers(-1, 5), max_size=2))
def test_every_event_counts_once_whatever_each_date_is_covered_through(
    visits: list[Visit], covered: dict[date, int]
) -> None:
    with connect() as connection:
        assert ask(connection, batch_rows(visits, covered), speed_rows(visits)) == in_one_pass(visits)


def test_the_layers_of_an_answer_add_up(connection: duckdb.DuckDBPyConnection) -> None:
    visits = [Visit("a", START, Decimal(n), n, segment=n) for n in range(4)]
    tables = batch_rows(visits, {START.date(): 1}), speed_rows(visits)
    key = ("a", START)
    whole, batch, speed = (ask(connection, *tables, layer=layer)[key] for layer in (None, "batch", "speed"))
    assert (batch[0], speed[0], whole[0]) == (2, 2, 4)
    assert (batch[2], speed[2], whole[2]) == (Decimal(1), Decimal(5), Decimal(6))


def test_a_date_whose_rows_all_vanished_is_covered_by_its_marker_row(connection: duckdb.DuckDBPyConnection) -> None:
    visits = [Visit("a", START, Decimal(1), 0, segment=0)]
    assert ask(connection, batch_rows([], {START.date(): 0}), speed_rows(visits)) == {}


def test_an_empty_lake_gives_an_empty_answer(connection: duckdb.DuckDBPyConnection) -> None:
    assert ask(connection, batch_rows([], {}), speed_rows([])) == {}


def test_a_window_is_final_once_the_watermark_has_passed_its_end(connection: duckdb.DuckDBPyConnection) -> None:
    newest = START + VISITS.window.length + PIPELINE.allowed_lateness
    for seconds, expected in ((-1, False), (0, True)):
        visits = [Visit("a", START, None, 0, 0), Visit("a", newest + timedelta(seconds=seconds), None, 0, 0)]
        connection.register("batch", batch_rows([], {}))
        connection.register("speed", speed_rows(visits))
        text = serving_sql(PIPELINE, VISITS, Dialect.DUCKDB)
        final = f"SELECT final FROM ({text}) WHERE window_start = TIMESTAMPTZ '{START.isoformat()}'"
        assert connection.execute(final).fetchall() == [(expected,)]


@pytest.mark.parametrize("dialect", list(Dialect))
def test_a_tumbling_window_needs_no_slides(dialect: Dialect) -> None:
    rollup = make_rollup(window=Window("1 hour"))
    text = serving_sql(PIPELINE, rollup, dialect, batch="lake.batch", speed="lake.speed")
    assert "slide" not in text
    assert "FROM lake.batch" in text
    assert "FROM lake.speed AS _s" in text
