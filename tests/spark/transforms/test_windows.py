"""Panes and sessions made by Spark, merged again and served: always what one pass over the events gives."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from tidemark.definition import (
    ApproxDistinct,
    Count,
    Dialect,
    KinesisStream,
    Last,
    Max,
    Mean,
    Pipeline,
    Quantile,
    Rollup,
    SessionWindow,
    StdDev,
    Sum,
    TopK,
    Window,
)
from tidemark.lake.tables import batch_schema, silver_schema, speed_schema
from tidemark.serving import serving_sql
from tidemark.serving.view import connect
from tidemark_spark.transforms.rollups import merge_partials, partial_aggregates, with_finished
from tidemark_spark.transforms.values import event_date

MEASURES = {
    "n": Count(),
    "total": Sum("amount"),
    "mean": Mean("weight"),
    "spread": StdDev("amount"),
    "most": Max("amount"),
    "newest": Last("id"),
    "often": TopK("amount", 2),
    "shoppers": ApproxDistinct("id"),
    "p50": Quantile("weight", 0.5),
}
MIDNIGHT = datetime(2026, 1, 2, tzinfo=UTC)


def pipeline_of(rollup: Rollup, **options: Any) -> Pipeline:
    return Pipeline(
        name="shops",
        source=KinesisStream("shops"),
        schema="id STRING, shop STRING, amount DECIMAL(12,2), weight DOUBLE, at TIMESTAMP",
        event_time="at",
        key=["id"],
        rollups=[rollup],
        suite="expectations/shops.json",
        **options,
    )


def silver(spark: SparkSession, pipeline: Pipeline, times: list[datetime]) -> DataFrame:
    """Events at these times, in micro-batches of seven and segments of three micro-batches."""
    rows = [
        {
            "id": str(n),
            "shop": None if n % 5 == 4 else "ab"[n % 2],
            "amount": None if n % 3 == 0 else Decimal(n * 37) / 100,
            "weight": n / 10,
            "at": at,
            "event_date": at.astimezone(ZoneInfo(pipeline.timezone)).date(),
            "ingest_batch": n // 7,
            "segment": n // 21,
            "approximate_arrival_timestamp": at + timedelta(seconds=1),
        }
        for n, at in enumerate(times)
    ]
    return spark.createDataFrame(pa.Table.from_pylist(rows, schema=silver_schema(pipeline)))


def speed_rows(events: DataFrame, pipeline: Pipeline) -> pa.Table:
    """What the refine stream appends: the partial aggregates of each micro-batch by itself."""
    rollup = pipeline.rollups[0]
    schema = speed_schema(pipeline, rollup)
    # One job for all of them: grouped by micro-batch, as each would be by itself.
    by_batch = events.withColumn("micro_batch", F.col("ingest_batch")).coalesce(1)
    rows = partial_aggregates(by_batch, pipeline, rollup, ["segment", "micro_batch"])
    return rows.select(*schema.names).toArrow().cast(schema)


def serve(spark: SparkSession, pipeline: Pipeline, batch: pa.Table, speed: pa.Table) -> list[dict[str, Any]]:
    """The view's rows; the same from both engines."""
    rollup = pipeline.rollups[0]
    order = ", ".join(f"{name} NULLS FIRST" for name in [*rollup.by, "window_start"])
    for name, table in (("batch", batch), ("speed", speed)):
        spark.createDataFrame(table).createOrReplaceTempView(name)
    by_spark = spark.sql(f"SELECT * FROM ({serving_sql(pipeline, rollup, Dialect.SPARK)}) ORDER BY {order}")
    with connect() as connection:
        connection.register("batch", batch)
        connection.register("speed", speed)
        text = f"SELECT * FROM ({serving_sql(pipeline, rollup, Dialect.DUCKDB)}) ORDER BY {order}"
        by_duckdb = connection.sql(text).to_arrow_table().to_pylist()
    assert by_spark.toArrow().to_pylist() == by_duckdb, "one view, two engines"
    return list(by_duckdb)


def nothing(pipeline: Pipeline) -> pa.Table:
    return batch_schema(pipeline, pipeline.rollups[0]).empty_table()


def folded(spark: SparkSession, pipeline: Pipeline, speed: pa.Table) -> pa.Table:
    """The speed rows merged again, one row a key, pane, event date and segment."""
    schema = speed_schema(pipeline, pipeline.rollups[0])
    again = merge_partials(spark.createDataFrame(speed), pipeline, pipeline.rollups[0], ["segment"])
    rows = again.select(*schema.names).toArrow().cast(schema)
    grain = rows.group_by(["shop", "pane_start", "event_date", "segment"]).aggregate([([], "count_all")])
    assert grain.num_rows == rows.num_rows < speed.num_rows
    return rows


def covered(spark: SparkSession, pipeline: Pipeline, events: DataFrame, day: date, segment: int) -> pa.Table:
    """What a reprocess of one date through a segment publishes."""
    rollup = pipeline.rollups[0]
    schema = batch_schema(pipeline, rollup)
    slice_ = events.where((F.col("event_date") == day) & (F.col("segment") <= segment))
    rows = with_finished(partial_aggregates(slice_, pipeline, rollup, []), pipeline, rollup)
    rows = rows.withColumn("covered_segment", F.lit(segment).cast("bigint"))
    marker = pa.Table.from_pylist([{"event_date": day, "covered_segment": segment}], schema=schema)
    return pa.concat_tables([rows.select(*schema.names).toArrow().cast(schema), marker])


WINDOWS = {
    "tumbling": Window("5 minutes"),
    "sliding": Window("10 minutes", every="5 minutes"),
    "session": SessionWindow("4 minutes"),
}


@pytest.mark.parametrize("kind", WINDOWS)
def test_merging_speed_rows_again_and_covering_a_date_change_no_answer(spark: SparkSession, kind: str) -> None:
    pipeline = pipeline_of(Rollup("by_shop", by=["shop"], window=WINDOWS[kind], measures=MEASURES))
    times = [MIDNIGHT + timedelta(seconds=20 * (n * 61 % 84 - 42)) for n in range(84)]
    events = silver(spark, pipeline, times)
    speed = speed_rows(events, pipeline)
    answer = serve(spark, pipeline, nothing(pipeline), speed)
    assert sum(row["n"] for row in answer) == 84 * (2 if kind == "sliding" else 1)
    again = folded(spark, pipeline, speed)
    assert serve(spark, pipeline, nothing(pipeline), again) == answer
    batch = covered(spark, pipeline, events, MIDNIGHT.date(), 1)
    assert serve(spark, pipeline, batch, again) == answer


Session = tuple[str | None, datetime, datetime, int]


def sessions_in_one_pass(events: list[dict[str, Any]], gap: timedelta) -> list[Session]:
    """Key, first event, last event and gap, and number of events of each session, in plain Python."""
    found: list[Session] = []
    for shop in (None, "a", "b"):
        run: list[datetime] = []
        for at in sorted(event["at"] for event in events if event["shop"] == shop):
            if run and at - run[-1] > gap:
                found.append((shop, run[0], run[-1] + gap, len(run)))
                run = []
            run.append(at)
        if run:
            found.append((shop, run[0], run[-1] + gap, len(run)))
    return found


@pytest.mark.parametrize("seed", range(2))
def test_sessions_are_exact_across_layers_micro_batches_and_midnight(spark: SparkSession, seed: int) -> None:
    gap, rng = timedelta(seconds=30), Random(seed)
    rollup = Rollup("sessions", by=["shop"], window=SessionWindow("30 seconds"), measures={"n": Count()})
    pipeline = pipeline_of(rollup)
    # Late by whole micro-batches, on both sides of midnight, and many of them exactly the gap apart.
    times = [MIDNIGHT + timedelta(seconds=10 * rng.randrange(-40, 40)) for _ in range(63)]
    events = silver(spark, pipeline, times)
    speed = speed_rows(events, pipeline)
    expected = sessions_in_one_pass(events.select("shop", "at").toArrow().to_pylist(), gap)
    by_spark = events.groupBy("shop", F.session_window("at", "30 seconds").alias("w")).count()
    spans = by_spark.selectExpr("shop", "w.start", "w.end", "count").orderBy(F.asc_nulls_first("shop"), "start")
    assert [tuple(row.values()) for row in spans.toArrow().to_pylist()] == expected, "the strictness of session_window"
    yesterday = MIDNIGHT.date() - timedelta(days=1)
    layers = [
        (nothing(pipeline), speed),
        (covered(spark, pipeline, events, yesterday, 1), speed),
        (covered(spark, pipeline, events, MIDNIGHT.date(), 0), folded(spark, pipeline, speed)),
        (covered(spark, pipeline, events, yesterday, 2), speed.slice(0, 0)),
    ]
    for batch, rows in layers[:3]:
        answer = serve(spark, pipeline, batch, rows)
        assert [(row["shop"], row["window_start"], row["window_end"], row["n"]) for row in answer] == expected
    only = serve(spark, pipeline, *layers[3])
    assert sum(row["n"] for row in only) == sum(at < MIDNIGHT for at in times), "sessions of a covered date by itself"


BERLIN = ZoneInfo("Europe/Berlin")
HAVANA = ZoneInfo("America/Havana")
CHANGES = {
    "spring in Berlin": (BERLIN, datetime(2026, 3, 29, tzinfo=UTC), {23}),
    "autumn in Berlin": (BERLIN, datetime(2026, 10, 25, tzinfo=UTC), {25}),
    "midnight skipped in Havana": (HAVANA, datetime(2025, 3, 9, tzinfo=UTC), {23}),
    "midnight twice in Havana": (HAVANA, datetime(2025, 11, 2, tzinfo=UTC), {25}),
    "half past in Kathmandu": (ZoneInfo("Asia/Kathmandu"), datetime(2026, 3, 29, tzinfo=UTC), set()),
}


def midnight_of(day: date, zone: ZoneInfo) -> datetime:
    """The first instant of a date, in plain Python: where there are two midnights, ``fold`` takes the first."""
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)


@pytest.mark.parametrize(("change", "days"), [*((change, 1) for change in CHANGES), ("autumn in Berlin", 3)])
def test_daily_windows_follow_the_clocks_of_the_pipelines_zone(spark: SparkSession, change: str, days: int) -> None:
    zone, around, odd_hours = CHANGES[change]
    window = Window("1 day") if days == 1 else Window("3 days", every="1 day")
    rollup = Rollup("daily", by=[], window=window, measures={"n": Count()})
    pipeline = pipeline_of(rollup, timezone=zone.key)
    times = [around + timedelta(minutes=30 * n) for n in range(-96, 96)]
    events = silver(spark, pipeline, times)
    computed = (
        events.withColumn("_again", event_date(pipeline.event_time, pipeline.timezone))
        .where("event_date <> _again")
        .count()
    )
    assert computed == 0, "event_date is the date in the zone"
    expected: dict[tuple[datetime, datetime], int] = {}
    for at in times:
        for slide in range(days):
            start = at.astimezone(zone).date() - timedelta(days=slide)
            bounds = midnight_of(start, zone), midnight_of(start + timedelta(days=days), zone)
            expected[bounds] = expected.get(bounds, 0) + 1
    answer = serve(spark, pipeline, nothing(pipeline), speed_rows(events, pipeline))
    assert {(row["window_start"], row["window_end"]): row["n"] for row in answer} == expected
    lengths = {(row["window_end"] - row["window_start"]) / timedelta(hours=1) for row in answer}
    if days == 1:
        assert lengths == {24, *odd_hours}


def test_windows_of_hours_ignore_the_clocks(spark: SparkSession) -> None:
    rollup = Rollup("hourly", by=[], window=Window("2 hours"), measures={"n": Count()})
    pipeline = pipeline_of(rollup, timezone="Europe/Berlin")
    times = [datetime(2026, 3, 28, 22, tzinfo=UTC) + timedelta(minutes=20 * n) for n in range(24)]
    answer = serve(spark, pipeline, nothing(pipeline), speed_rows(silver(spark, pipeline, times), pipeline))
    assert [(row["window_start"], row["n"]) for row in answer] == [(times[n], 6) for n in range(0, 24, 6)]
    assert all(row["window_end"] - row["window_start"] == timedelta(hours=2) for row in answer)
