"""What a reprocess and a serving answer cost, each against a baseline of the same run.

Prints one JSON object. Baselines: a hand-written Spark job that makes the same tables without any guarantee; the same
question asked of silver in DuckDB, with its own approximate functions; and the same question asked of one table that
was merged beforehand. The history grows around one slice, whose reprocess must not notice.
"""

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import typer
from deltalake import DeltaTable, write_deltalake
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from tidemark.core.settings import Settings
from tidemark.core.spark_start.jars import ensure_jars
from tidemark.definition import (
    ApproxDistinct,
    Count,
    KinesisStream,
    Max,
    Mean,
    Min,
    Pipeline,
    Quantile,
    Rollup,
    Sum,
    Window,
)
from tidemark.lake.evolution import create_tables
from tidemark.lake.generations import begin_generation
from tidemark.lake.snapshots import open_table
from tidemark.lake.tables import BRONZE_SCHEMA, KINESIS_COLUMNS, tables_of
from tidemark.quality.suite import Suite, parse_suite
from tidemark.serving import pin, query
from tidemark.serving.cache import forget
from tidemark.serving.view import connect
from tidemark_spark.batch.reprocess import reprocess
from tidemark_spark.driver.session import local_session
from tidemark_spark.speed.fold import fold
from tidemark_spark.speed.ingest import BronzeSink
from tidemark_spark.speed.refine import RefineSink, bronze_stream, refined_rows

FIRST = date(2026, 1, 1)
KINDS = ("click", "view", "purchase", "return")
EXACT = Rollup(
    "exact",
    ["kind"],
    Window("1 hour"),
    {"n": Count(), "total": Sum("value"), "least": Min("value"), "most": Max("value"), "mean": Mean("value")},
)
SKETCHED = Rollup(
    "sketched", ["kind"], Window("1 hour"), {"users": ApproxDistinct("user_id"), "p95": Quantile("value", 0.95)}
)
BENCH = Pipeline(
    name="bench",
    source=KinesisStream("bench"),
    schema="id STRING, kind STRING, user_id BIGINT, value DECIMAL(12,2), at TIMESTAMP",
    event_time="at",
    key=["id"],
    rollups=[EXACT, SKETCHED],
    suite="suite.json",
)


class Lake:
    """A lake that grows by days of events, each day in micro-batches, through the real sinks."""

    def __init__(self, spark: SparkSession, settings: Settings, suite: Suite, per_day: int, batches: int) -> None:
        self.spark, self.settings, self.suite = spark, settings, suite
        self.per_day, self.batches_a_day = per_day, batches
        self.days = self.batch = 0
        self.now = datetime.combine(FIRST, datetime.min.time(), UTC)
        create_tables(tables_of(BENCH, settings), settings)
        begin_generation(BENCH, suite, settings)
        self.sink = BronzeSink(BENCH, settings, lambda: "bench", clock=lambda: self.now)

    def grow(self, days: int) -> float:
        """Add days until there are so many; seconds of the refine stream."""
        while self.days < days:
            for part in range(self.batches_a_day):
                self.now = datetime.combine(FIRST + timedelta(days=self.days), datetime.min.time(), UTC)
                self.now += timedelta(days=(part + 1) / self.batches_a_day)
                self.sink.write(self._records(part), self.batch)
                self.batch += 1
            self.days += 1
        began = time.perf_counter()
        query = (
            refined_rows(bronze_stream(self.spark, BENCH, self.settings), BENCH, self.suite)
            .writeStream.foreachBatch(RefineSink(BENCH, self.settings))
            .option("checkpointLocation", f"{self.settings.state_uri}/refine")
            .trigger(availableNow=True)
            .start()
        )
        query.awaitTermination()
        return time.perf_counter() - began

    def _records(self, part: int) -> pa.Table:
        """One micro-batch: JSON events of a stretch of the day, one in a hundred twice."""
        rows = self.per_day // self.batches_a_day
        rng = np.random.default_rng(self.batch)
        first = (self.days * self.batches_a_day + part) * rows
        numbers = np.arange(first, first + rows)
        numbers[rng.random(rows) < 0.01] = first
        seconds = np.sort(rng.random(rows)) * 86_400 / self.batches_a_day + part * 86_400 / self.batches_a_day
        start = np.datetime64(FIRST + timedelta(days=self.days), "us")
        times = pa.array(start + (seconds * 1e6).astype("timedelta64[us]"))
        users, cents = rng.integers(0, 50_000, rows), rng.integers(0, 10**6, rows)
        parts = [
            '{"id":"e', pa.array(numbers), '","kind":"', pa.array(rng.choice(KINDS, rows)),
            '","user_id":', pa.array(users), ',"value":', pa.array(cents / 100),
            ',"at":"', pc.strftime(times, "%Y-%m-%dT%H:%M:%S"), 'Z"}',
        ]  # fmt: skip
        texts = [part if isinstance(part, str) else pc.cast(part, pa.string()) for part in parts]
        fields = [BRONZE_SCHEMA.field(name) for name in KINESIS_COLUMNS]
        places = pc.cast(pa.array(np.arange(first, first + rows)), pa.string())
        values: dict[str, Any] = {
            "data": pc.cast(pc.binary_join_element_wise(*texts, ""), pa.binary()),
            "partition_key": places,
            "stream": pa.array(["bench"] * rows),
            "shard_id": pa.array(["shardId-000000000000"] * rows),
            "sequence_number": pc.utf8_lpad(places, 20, "0"),
            "sub_sequence_number": pa.array(np.zeros(rows, "int64")),
            "approximate_arrival_timestamp": pa.array([self.now] * rows, pa.timestamp("us", tz="UTC")),
        }
        return pa.table([values[field.name] for field in fields], schema=pa.schema(fields))


def hand_written(spark: SparkSession, settings: Settings, start: date, end: date, target: Path) -> float:
    """Seconds of the same tables made by a plain job: no order, no seal, no coverage, no check."""
    began = time.perf_counter()
    first, last = (datetime.combine(day, datetime.min.time(), UTC) for day in (start, end))
    bronze = spark.read.format("delta").load(tables_of(BENCH, settings).bronze.uri)
    read = bronze.where((F.col("ingest_time") >= first) & (F.col("ingest_time") <= last + timedelta(hours=1)))
    schema = "id STRING, kind STRING, user_id BIGINT, value DECIMAL(12,2), at TIMESTAMP"
    lineage = [c for c in bronze.columns if c not in ("data", "partition_key", "ingest_time", "ingest_date")]
    events = (
        read.select(F.from_json(F.col("data").cast("string"), schema).alias("e"), *lineage)
        .select("e.*", *lineage)
        .where((F.col("at") >= first) & (F.col("at") < last))
        .dropDuplicates(["id"])
        .withColumn("event_date", F.to_date("at"))
    )
    within = f"event_date >= '{start}' AND event_date < '{end}'"

    def write(rows: Any, name: str) -> None:
        rows = rows.repartition(2, "event_date")
        writer = rows.write.format("delta").mode("overwrite").partitionBy("event_date")
        writer.option("replaceWhere", within).save(str(target / name)) if (target / name).exists() else writer.save(
            str(target / name)
        )

    write(events, "silver")
    silver = spark.read.format("delta").load(str(target / "silver")).where(within)
    hourly = silver.groupBy("kind", F.window("at", "1 hour").start.alias("pane_start"), "event_date")
    write(
        hourly.agg(
            F.count("*").alias("n"), F.sum("value").alias("total"), F.min("value").alias("least"),
            F.max("value").alias("most"),
        ),
        "exact",
    )  # fmt: skip
    write(
        hourly.agg(
            F.expr("hll_sketch_agg(user_id, 12)").alias("users"),
            F.expr("kll_sketch_agg_double(CAST(value AS DOUBLE), 200)").alias("p95"),
        ),
        "sketched",
    )
    return time.perf_counter() - began


def median_ms(run: Callable[[], Any], rounds: int) -> float:
    """Median milliseconds, after one run to warm up."""
    run()
    taken = []
    for _ in range(rounds):
        began = time.perf_counter()
        run()
        taken.append((time.perf_counter() - began) * 1000)
    return round(statistics.median(taken), 1)


def serving(lake: Lake, rollup: Rollup, merged: Path, rounds: int) -> dict[str, Any]:
    """One rollup's whole answer, and that of the newest day, against silver and against one merged table."""
    settings = lake.settings
    newest = datetime.combine(FIRST + timedelta(days=lake.days - 1), datetime.min.time(), UTC)
    everything = query(pin(BENCH, rollup, settings))
    write_deltalake(str(merged / rollup.name), everything, mode="overwrite")
    columns = {
        "exact": "count(*), sum(value), min(value), max(value), avg(value)",
        "sketched": "approx_count_distinct(user_id), approx_quantile(CAST(value AS DOUBLE), 0.95)",
    }[rollup.name]

    # As our reader does, a baseline connects once: that costs more than many an answer.
    connection = connect()

    def silver() -> Any:
        with connection.cursor() as duck:
            duck.register("silver", DeltaTable(tables_of(BENCH, settings).silver.uri).to_pyarrow_dataset())
            hourly = f'SELECT kind, time_bucket(INTERVAL 1 HOUR, "at") AS w, {columns} FROM silver GROUP BY kind, w'
            return duck.sql(f"{hourly} ORDER BY kind, w").to_arrow_table()

    def premerged() -> Any:
        with connection.cursor() as duck:
            duck.register("merged", DeltaTable(str(merged / rollup.name)).to_pyarrow_dataset())
            return duck.sql("SELECT * FROM merged ORDER BY kind, window_start").to_arrow_table()

    assert silver().num_rows == everything.num_rows

    def first() -> Any:
        forget()
        return query(pin(BENCH, rollup, settings))

    taken = {
        "first_ms": median_ms(first, rounds),
        "serving_ms": median_ms(lambda: query(pin(BENCH, rollup, settings)), rounds),
        "newest_day_ms": median_ms(lambda: query(pin(BENCH, rollup, settings), since=newest), rounds),
        "silver_ms": median_ms(silver, max(2, rounds // 5)),
        "merged_table_ms": median_ms(premerged, rounds),
    }
    return {
        "windows": everything.num_rows,
        **taken,
        "times_faster_than_silver": round(taken["silver_ms"] / taken["serving_ms"], 1),
        "times_slower_than_merged": round(taken["serving_ms"] / taken["merged_table_ms"], 2),
        "speed_files": len(open_table(tables_of(BENCH, settings).speed[rollup.name], settings).file_uris()),
    }


def main(
    days: Annotated[int, typer.Option(help="Days of history at the end; a hundredth and a tenth before.")] = 100,
    per_day: Annotated[int, typer.Option(help="Events a day.")] = 100_000,
    batches: Annotated[int, typer.Option(help="Micro-batches a day.")] = 5,
    rounds: Annotated[int, typer.Option(help="Rounds of each question.")] = 15,
) -> None:
    """Measure, and print one JSON object; progress goes to stderr."""
    result: dict[str, Any] = {"events": days * per_day, "days": days}
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        content = {"name": "bench", "meta": {}, "expectations": [
            {"id": "414f27c7-bedc-5fae-8718-9531803cce39", "type": "expect_column_values_to_be_between",
             "kwargs": {"column": "value", "min_value": 0}, "severity": "critical"}]}  # fmt: skip
        (home / "suite.json").write_bytes(orjson.dumps(content))
        settings = Settings(lake_uri=str(home / "lake"), state_uri=str(home / "state"), max_records_per_batch=200_000)
        ensure_jars(settings, lambda _: None)
        spark = local_session("bench", settings)
        suite = parse_suite(home / "suite.json", BENCH)
        lake = Lake(spark, settings, suite, per_day, batches)

        def again(start: date, end: date, *, audit: bool) -> float:
            done = reprocess(spark, BENCH, suite, settings, start, end, audit=audit, say=lambda _: None)
            return done.seconds

        one_day = FIRST + timedelta(days=1)
        slices = {}
        for size in sorted({max(1, days // 100), max(1, days // 10), days}):
            refined = lake.grow(size)
            say(f"{size} days, refined in {refined:.0f} s")
            again(FIRST, one_day, audit=False)
            slices[size] = statistics.median(again(FIRST, one_day, audit=False) for _ in range(3))
            say(f"one day of {size} reprocessed in {slices[size]:.2f} s")
            if size < days:
                result[f"serving_at_{size}_days"] = serve(lake, home, rounds)
        smallest = slices[min(slices)]
        result["one_day_by_days_of_history"] = {n: round(s / smallest, 2) for n, s in slices.items()}
        result["one_day_seconds"] = {n: round(s, 2) for n, s in slices.items()}
        end = FIRST + timedelta(days=max(1, days // 10))
        hand_written(spark, settings, FIRST, end, home / "hand")
        by_hand = [hand_written(spark, settings, FIRST, end, home / "hand")]
        ours = [again(FIRST, end, audit=False)]
        by_hand.append(hand_written(spark, settings, FIRST, end, home / "hand"))
        ours.append(again(FIRST, end, audit=False))
        audited = again(FIRST, end, audit=True)
        rows = per_day * max(1, days // 10)
        result["reprocess"] = {
            "rows": rows,
            "hand_written_rows_per_second": round(rows / min(by_hand)),
            "rows_per_second": round(rows / min(ours)),
            "ratio": round(min(by_hand) / min(ours), 2),
            "ratio_with_audit": round(min(by_hand) / audited, 2),
        }
        say(json.dumps(result["reprocess"]))
        result["serving_from_speed_rows"] = serve(lake, home, rounds)
        began = time.perf_counter()
        folded = fold(spark, BENCH, settings, now=lambda: datetime.now(UTC) + timedelta(days=1))
        result["fold"] = {"seconds": round(time.perf_counter() - began, 1), "tables": [f._asdict() for f in folded]}
        result["serving_after_folding"] = serve(lake, home, rounds)
        reprocess(spark, BENCH, suite, settings, FIRST, FIRST + timedelta(days=days - 1), audit=False)
        result["serving"] = serve(lake, home, rounds)
        spark.stop()
    print(json.dumps(result, indent=2, default=str))


def serve(lake: Lake, home: Path, rounds: int) -> dict[str, Any]:
    """Both rollups."""
    return {rollup.name: serving(lake, rollup, home / "merged", rounds) for rollup in BENCH.rollups}


def say(text: str) -> None:
    typer.echo(text, err=True)


if __name__ == "__main__":
    typer.run(main)
