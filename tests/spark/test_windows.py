"""Panes and sessions made by Spark, merged again and served: always what one pass over the events gives."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from tidemark.definition import ApproxDistinct, Count, KinesisStream, Max, Mean, Pipeline, Quantile, Rollup, Sum, Window
from tidemark.definition.measures import Dialect
from tidemark.serving import serving_sql
from tidemark.serving.view import connect
from tidemark.tables import batch_schema, silver_schema, speed_schema
from tidemark_spark.rollups import merge_partials, partial_aggregates

MEASURES = {
    "n": Count(),
    "total": Sum("amount"),
    "mean": Mean("weight"),
    "most": Max("amount"),
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
            "event_date": at.date(),
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
    batches = sorted(row[0] for row in events.select("ingest_batch").distinct().collect())
    made = [
        partial_aggregates(events.where(F.col("ingest_batch") == n), pipeline, rollup, ["segment"]) for n in batches
    ]
    return pa.concat_tables([rows.select(*schema.names).toArrow().cast(schema) for rows in made])


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


@pytest.mark.parametrize("window", [Window("5 minutes"), Window("10 minutes", every="5 minutes")], ids=str)
def test_merging_speed_rows_again_changes_no_answer(spark: SparkSession, window: Window) -> None:
    pipeline = pipeline_of(Rollup("by_shop", by=["shop"], window=window, measures=MEASURES))
    rollup = pipeline.rollups[0]
    times = [MIDNIGHT + timedelta(seconds=20 * (n * 61 % 84 - 42)) for n in range(84)]
    speed = speed_rows(silver(spark, pipeline, times), pipeline)
    schema = speed_schema(pipeline, rollup)
    again = merge_partials(spark.createDataFrame(speed), pipeline, rollup, ["segment"])
    folded = again.select(*schema.names).toArrow().cast(schema)
    grain = folded.group_by(["shop", "pane_start", "event_date", "segment"]).aggregate([([], "count_all")])
    assert grain.num_rows == folded.num_rows < speed.num_rows, "one row a key, pane, event date and segment"
    assert serve(spark, pipeline, nothing(pipeline), folded) == serve(spark, pipeline, nothing(pipeline), speed)
