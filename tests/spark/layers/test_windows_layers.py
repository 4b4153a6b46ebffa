"""Sessions and daily windows in a time zone, through refine, reprocess, the SQL session and reconcile."""

from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import orjson
import pytest
from layers import kinesis_records, make_tables, read
from pyspark.sql import SparkSession

from tidemark.core.settings import Settings
from tidemark.definition import Count, KinesisStream, Last, Pipeline, Rollup, SessionWindow, StdDev, Sum, TopK, Window
from tidemark.lake.generations import begin_generation
from tidemark.lake.tables import tables_of
from tidemark.quality import load_suite
from tidemark.serving import pin, query
from tidemark.serving.session import sql_session
from tidemark_spark.batch.reconcile import reconcile
from tidemark_spark.batch.reprocess import reprocess
from tidemark_spark.speed.ingest import BronzeSink

BERLIN = ZoneInfo("Europe/Berlin")
GAP = timedelta(minutes=20)
VISITS = Pipeline(
    name="visits",
    source=KinesisStream("visits"),
    schema="id STRING, shop STRING, amount DECIMAL(12,2), at TIMESTAMP",
    event_time="at",
    key=["id"],
    rollups=[
        Rollup(
            "sessions",
            by=["shop"],
            window=SessionWindow(GAP),
            measures={"n": Count(), "spread": StdDev("amount"), "last": Last("id"), "often": TopK("amount", 1)},
        ),
        Rollup("daily", by=[], window=Window("1 day"), measures={"n": Count(), "total": Sum("amount")}),
    ],
    suite="suite.json",
    timezone="Europe/Berlin",
)
SPRING = date(2026, 3, 29)
Event = dict[str, Any]


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    (tmp_path / "suite.json").write_bytes(orjson.dumps({"name": "visits", "expectations": [], "meta": {}}))
    return settings.model_copy(update={"project_dir": tmp_path})


def some_events() -> list[Event]:
    """Every 19 or 21 minutes in each of two shops, over the local midnights before and after the clocks change."""
    start = datetime(2026, 3, 28, 20, tzinfo=UTC)
    times = [start + n * timedelta(minutes=20) + timedelta(minutes=n % 3 // 2) for n in range(120)]
    return [
        {"id": f"v{n}", "shop": "ab"[n % 7 // 6], "amount": f"{n % 5}.50", "at": at.isoformat()}
        for n, at in enumerate(times)
    ]


def sessions_of(events: list[Event]) -> list[tuple[str, datetime, datetime, int, str]]:
    found: list[tuple[str, datetime, datetime, int, str]] = []
    by_shop: dict[str, list[tuple[datetime, str]]] = defaultdict(list)
    for event in events:
        by_shop[event["shop"]].append((datetime.fromisoformat(event["at"]), event["id"]))
    for shop, visits in sorted(by_shop.items()):
        run: list[tuple[datetime, str]] = []
        for visit in [*sorted(visits), (datetime.max.replace(tzinfo=UTC), "")]:
            if run and visit[0] - run[-1][0] > GAP:
                found.append((shop, run[0][0], run[-1][0] + GAP, len(run), run[-1][1]))
                run = []
            run.append(visit)
    return found


def days_of(events: list[Event]) -> dict[date, int]:
    counted: dict[date, int] = defaultdict(int)
    for event in events:
        counted[datetime.fromisoformat(event["at"]).astimezone(BERLIN).date()] += 1
    return counted


def test_sessions_and_local_days_are_exact_before_and_after_a_reprocess(
    spark: SparkSession, settings: Settings, refine: Callable[..., None]
) -> None:
    make_tables(VISITS, settings)
    suite = load_suite(VISITS, settings)
    begin_generation(VISITS, suite, settings)
    events = some_events()
    # Each session is spread over both micro-batches.
    for number in range(2):
        records = kinesis_records(events[number::2], number * 60, arrival=datetime(2026, 3, 31, tzinfo=UTC))
        BronzeSink(VISITS, settings, lambda: "query").write(records, number)
    refine(VISITS)

    def check() -> None:
        sessions, days = (query(pin(VISITS, rollup, settings)).to_pylist() for rollup in VISITS.rollups)
        names = ("shop", "window_start", "window_end", "n", "last")
        assert [tuple(row[name] for name in names) for row in sessions] == sessions_of(events)
        assert len(sessions) > 2
        assert {row["window_start"].astimezone(BERLIN).date(): row["n"] for row in days} == days_of(events)
        hours = {row["window_start"].astimezone(BERLIN).date(): row["window_end"] - row["window_start"] for row in days}
        assert hours[SPRING] == timedelta(hours=23)
        with sql_session([VISITS], settings) as connection:
            total = connection.sql("SELECT sum(n), count(spread) FROM visits.sessions").fetchall()
        assert total == [(120, sum(row["spread"] is not None for row in sessions))]

    check()
    dates = read(tables_of(VISITS, settings).silver, settings)["event_date"].to_pylist()
    assert set(dates) == set(days_of(events))
    done = reprocess(spark, VISITS, suite, settings, SPRING, SPRING + timedelta(days=1), wait_seconds=5)
    assert done.silver_rows == days_of(events)[SPRING]
    check()
    compared = reconcile(spark, VISITS, suite, settings, SPRING - timedelta(days=1), SPRING + timedelta(days=2))
    assert (compared.served, compared.speed, compared.events) == (0, 0, 120)
