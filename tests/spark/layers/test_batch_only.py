"""Dates that the batch table answers for alone: finished values are read, and no answer differs for it."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pytest
from layers import kinesis_records, make_tables
from pyspark.sql import SparkSession

from tidemark.core.settings import Settings
from tidemark.definition import (
    ApproxDistinct,
    Count,
    CountIf,
    First,
    KinesisStream,
    Last,
    Max,
    Mean,
    Min,
    Pipeline,
    Quantile,
    Rollup,
    StdDev,
    Sum,
    TopK,
    Variance,
    Window,
)
from tidemark.lake.evolution import create_tables
from tidemark.lake.generations import begin_generation
from tidemark.lake.snapshots import open_table
from tidemark.lake.tables import tables_of
from tidemark.pipelines.producers.clickstream import events
from tidemark.quality import load_suite
from tidemark.serving import pin, query
from tidemark.serving.session import sql_session
from tidemark_spark.batch.reprocess import reprocess
from tidemark_spark.speed.ingest import BronzeSink

MEASURES = {
    "n": Count(),
    "bought": CountIf("paid"),
    "revenue": Sum("value"),
    "mean": Mean("value"),
    "least": Min("value"),
    "most": Max("value"),
    "spread": StdDev("value"),
    "variance": Variance("value", population=True),
    "first": First("event_id"),
    "last": Last("event_id"),
    "users": ApproxDistinct("user_id"),
    "p95": Quantile("value", 0.95),
    "often": TopK("event", 2),
}
SHOP = Pipeline(
    name="shop",
    source=KinesisStream("shop"),
    schema="event_id STRING, user_id BIGINT, event STRING, value DECIMAL(12,2), paid BOOLEAN, event_time TIMESTAMP",
    event_time="event_time",
    key=["event_id"],
    rollups=[
        Rollup("hourly", by=["event"], window=Window("1 hour"), measures=MEASURES),
        Rollup("sliding", by=["event"], window=Window("1 hour", every="30 minutes"), measures=MEASURES),
    ],
    suite="suite.json",
)
HOURLY, SLIDING = SHOP.rollups
DAYS = [date(2025, 12, 30), date(2025, 12, 31), date(2026, 1, 1), date(2026, 1, 2)]


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    (tmp_path / "suite.json").write_bytes(orjson.dumps({"name": "shop", "expectations": [], "meta": {}}))
    return settings.model_copy(update={"project_dir": tmp_path})


def merged(settings: Settings, rollup: Rollup) -> list[dict[str, Any]]:
    """What the batch layer gives when its states are merged and finished as they are read."""
    return list(query(pin(SHOP, rollup, settings), layer="batch").to_pylist())


def test_finished_values_are_read_where_the_batch_covers_a_date_and_merged_again_where_it_does_not(
    spark: SparkSession, settings: Settings, refine: Callable[..., None]
) -> None:
    make_tables(SHOP, settings)
    suite, source = load_suite(SHOP, settings), list(events(1500, seed=3, per_second=0.01, broken=0))
    begin_generation(SHOP, suite, settings)
    sink = BronzeSink(SHOP, settings, lambda: "query-1")
    sink.write(kinesis_records(source), 0)
    refine(SHOP)
    assert pin(SHOP, HOURLY, settings).batch_only == set()
    reprocess(spark, SHOP, suite, settings, DAYS[0], DAYS[-1] + timedelta(days=1))
    assert pin(SHOP, HOURLY, settings).batch_only == set(DAYS)
    assert pin(SHOP, SLIDING, settings).batch_only == set(), "a sliding window is several rows"
    whole = query(pin(SHOP, HOURLY, settings))
    assert whole.num_rows > 50
    assert whole.to_pylist() == merged(settings, HOURLY), "read, or merged and finished: the same, bit for bit"
    with sql_session([SHOP], settings) as connection:
        again = connection.sql("SELECT * FROM shop.hourly ORDER BY event, window_start").to_arrow_table()
    assert again.to_pylist() == whole.to_pylist()

    late = {**source[0], "event_id": "late", "value": "7"}
    sink.write(kinesis_records([late], len(source)), 1)
    refine(SHOP, "again")
    touched = pin(SHOP, HOURLY, settings)
    assert touched.batch_only == set(DAYS) - {date.fromisoformat(str(source[0]["event_time"])[:10])}
    assert counted(query(touched)) == counted(whole) + 1, "a late event is in the next answer"

    reprocess(spark, SHOP, suite, settings, DAYS[0], DAYS[-1] + timedelta(days=1))
    assert pin(SHOP, HOURLY, settings).batch_only == set(DAYS)
    assert query(pin(SHOP, HOURLY, settings)).to_pylist() == merged(settings, HOURLY), "what was kept is not served on"
    assert counted(query(pin(SHOP, HOURLY, settings))) == counted(whole) + 1

    # Another rank of the same states is another column, which no file has yet.
    measures = {**MEASURES, "p95": Quantile("value", 0.5)}
    median = replace(SHOP, rollups=[replace(HOURLY, measures=measures), SLIDING])
    create_tables(tables_of(median, settings), settings)
    changed = pin(median, median.rollups[0], settings)
    assert changed.batch_only == set()
    assert counted(query(changed)) == counted(whole) + 1
    assert open_table(tables_of(median, settings).batch["hourly"], settings).schema().to_arrow().names[-2:] == [
        "event_date",
        "p95__q0_5",
    ]


def counted(table: pa.Table) -> int:
    return sum(row["n"] for row in table.to_pylist())


@pytest.mark.parametrize(
    ("window", "timezone", "has_one"),
    [
        (Window("1 hour"), "UTC", True),
        (Window("7 hours"), "UTC", False),
        (Window("1 day"), "UTC", True),
        (Window("1 day"), "Asia/Kolkata", True),
        (Window("1 hour"), "Asia/Kolkata", False),
        (Window("2 days"), "UTC", False),
        (Window("1 hour", every="30 minutes"), "UTC", False),
    ],
)
def test_a_window_has_one_row_if_it_lies_in_one_date(window: Window, timezone: str, has_one: bool) -> None:
    assert replace(HOURLY, window=window).has_one_row_a_window(timezone) == has_one
