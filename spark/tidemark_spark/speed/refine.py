"""The refine stream: bronze to silver, quarantine, the speed tables and the refine log.

Each table is committed by itself, with its position; a replay, or a restart from a lost checkpoint, gives each table
the rows that lie beyond its own position. Deduplication keeps the first copy of a key in log order, for the pipeline's
horizon of ingest time; ingest time never goes back along the log, so that its watermark drops no row.
"""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from tidemark.core.settings import Settings
from tidemark.definition import Pipeline, Rollup
from tidemark.lake.commits import IdempotentWriter
from tidemark.lake.log import first_within
from tidemark.lake.snapshots import NOTHING, open_table
from tidemark.lake.tables import QUARANTINE_SCHEMA, REFINE_LOG_SCHEMA, silver_schema, speed_schema, tables_of
from tidemark.quality import Suite
from tidemark_spark.speed.bronze_source.source import BRONZE_LOG_FORMAT, BronzeLogSource
from tidemark_spark.speed.progress import Steps, say
from tidemark_spark.transforms.parse import event_key, parse, record_key
from tidemark_spark.transforms.rollups import partial_aggregates
from tidemark_spark.transforms.rule_actions import broken_counts, refuse_failed, warnings_by_batch


def refined_rows(bronze: DataFrame, pipeline: Pipeline, suite: Suite) -> DataFrame:
    """Parsed and deduplicated rows of a bronze stream, its markers, and its dates.

    Markers are rows whose ``_records`` is not null. Dates are rows with ``_dated``: one an ingest_batch and event date,
    copies and quarantined events included.
    """
    marker = F.col("_records").isNotNull()
    key = (
        F.when(F.col("_dated"), F.encode(F.concat_ws("/", "ingest_batch", "event_date"), "UTF-8"))
        .when(marker, F.encode(F.col("ingest_batch").cast("string"), "UTF-8"))
        .when(F.size("reasons") > 0, record_key())
        .otherwise(event_key(pipeline))
    )
    horizon = f"{int(pipeline.deduplication_horizon.total_seconds())} seconds"
    # The record itself is asked for in quarantine only: nothing else carries it through the shuffle and the driver.
    parsed = parse(bronze, pipeline, suite).withColumn("data", F.when(F.size("reasons") > 0, F.col("data")))
    return (
        _with_dates(parsed)
        .withColumn("_key", key)
        .withWatermark("ingest_time", horizon)
        .dropDuplicatesWithinWatermark(["_key"])
        .drop("_key")
    )


def _with_dates(parsed: DataFrame) -> DataFrame:
    """The rows, and behind each that has an event date one that says its date and nothing else.

    They go through the deduplication, which drops copies: what is behind it could not tell their dates.
    """
    twice = F.when(F.col("event_date").isNotNull(), F.array(F.lit(False), F.lit(True))).otherwise(F.array(F.lit(False)))
    rows = parsed.withColumn("_dated", F.explode(twice))
    kept = {"ingest_batch", "ingest_time", "event_date", "_dated"}
    return rows.select(
        *(F.col(n) if n in kept else F.when(~F.col("_dated"), F.col(f"`{n}`")).alias(n) for n in rows.columns)
    )


def starting_position(pipeline: Pipeline, settings: Settings) -> int:
    """The ingest_batch after which a query without a checkpoint must start to lose and double nothing.

    That is the lowest position of its tables, less the deduplication horizon: what lies between only rebuilds the state
    of the deduplication, and each table leaves out what it holds.
    """
    tables = tables_of(pipeline, settings)
    lowest = min(IdempotentWriter(table, settings).position() for table in tables.refined)
    if lowest == NOTHING:
        return NOTHING
    return first_within(open_table(tables.bronze, settings), lowest, pipeline.deduplication_horizon) - 1


def bronze_stream(
    spark: SparkSession, pipeline: Pipeline, settings: Settings, after: int | None = None, reached: int = NOTHING
) -> DataFrame:
    """The bronze log as a stream; a query without a checkpoint starts after ``after``: ``starting_position``.

    A query with one gives ``reached``, the position of silver: it has committed nothing beyond.
    """
    spark.dataSource.register(BronzeLogSource)
    return (
        spark.readStream.format(BRONZE_LOG_FORMAT)
        .option("uri", tables_of(pipeline, settings).bronze.uri)
        .option("storageOptions", json.dumps(settings.storage_options))
        .option("after", starting_position(pipeline, settings) if after is None else after)
        .option("reached", reached)
        .option("maxRecords", settings.max_records_per_batch)
        .option("maxBytes", settings.max_bytes_per_batch)
        .option("columns", json.dumps(pipeline.event_schema.names))
        .option("holds", pipeline.records)
        .load()
    )


class RefineSink:
    """A ``foreachBatch`` function over ``refined_rows``."""

    def __init__(self, pipeline: Pipeline, settings: Settings) -> None:
        self._pipeline = pipeline
        tables = tables_of(pipeline, settings)
        self._silver = IdempotentWriter(tables.silver, settings)
        self._quarantine = IdempotentWriter(tables.quarantine, settings)
        self._log = IdempotentWriter(tables.refine_log, settings)
        self._speed = {
            rollup.name: IdempotentWriter(tables.speed[rollup.name], settings) for rollup in pipeline.rollups
        }
        self._pool = ThreadPoolExecutor(max_workers=3, thread_name_prefix="refine")

    def __call__(self, batch: DataFrame, batch_id: int) -> None:
        # Cached, because rows and each rollup are read from it, and the stateful plan below must run once.
        batch = batch.persist()
        try:
            self._write(batch)
        finally:
            batch.unpersist()

    def _write(self, batch: DataFrame) -> None:
        steps = Steps()
        with steps.step("collect"):
            rows = batch.toArrow()
        through = pc.max(rows["ingest_batch"]).as_py()
        if through is None:
            return
        dates, rows = rows.filter(rows["_dated"]), rows.filter(pc.invert(rows["_dated"]))
        # Before anything is written. What silver holds already was judged when it came.
        refuse_failed(rows.filter(pc.greater(rows["ingest_batch"], self._silver.position())), self._pipeline)
        marker = pc.is_valid(rows["_records"])
        broken = pc.greater(pc.list_value_length(rows["reasons"]), 0)
        silver = rows.filter(pc.and_(pc.invert(marker), pc.invert(broken)))
        quarantined = rows.filter(pc.and_(pc.invert(marker), broken))
        account = _account(rows.filter(marker), silver, quarantined, dates)
        commits = [
            self._pool.submit(self._append, self._quarantine, quarantined.select(QUARANTINE_SCHEMA.names), through),
            self._pool.submit(self._append, self._log, account, through),
            *(self._pool.submit(self._roll_up, batch, rollup, through) for rollup in self._pipeline.rollups),
        ]
        with steps.step("roll_up_and_commit"):
            for commit in commits:
                commit.result()
        # Silver last: its position says that the others are done.
        with steps.step("commit_silver"):
            self._append(self._silver, silver.select(silver_schema(self._pipeline).names), through)
        counts: dict[str, Any] = {"silver": silver.num_rows, "quarantined": quarantined.num_rows}
        counts["dates"] = len(pc.unique(silver["event_date"]))
        if warned := broken_counts(silver, "_warned"):
            counts["warned"] = warned
        say("refined", through=through, **counts, ms=steps.ms)

    def _append(self, writer: IdempotentWriter, rows: pa.Table, through: int) -> None:
        held = writer.position()
        if held < through:
            writer.append(rows.filter(pc.greater(rows["ingest_batch"], held)), through)

    def _roll_up(self, batch: DataFrame, rollup: Rollup, through: int) -> None:
        writer = self._speed[rollup.name]
        held = writer.position()
        if held >= through:
            return
        events = batch.where(~F.col("_dated"))
        events = events.where(F.col("_records").isNull() & (F.size("reasons") == 0) & (F.col("ingest_batch") > held))
        # One partition needs no shuffle, and a micro-batch is small.
        partials = partial_aggregates(events.coalesce(1), self._pipeline, rollup, ["segment"])
        writer.append(partials.select(*speed_schema(self._pipeline, rollup).names).toArrow(), through)


def _account(markers: pa.Table, silver: pa.Table, quarantined: pa.Table, dates: pa.Table) -> pa.Table:
    """One row an ingest_batch: its records and events, what became of them, and the dates of all its events."""
    rows = []
    dated: dict[int, list[date]] = {}
    for number, day in zip(dates["ingest_batch"].to_pylist(), dates["event_date"].to_pylist(), strict=True):
        dated.setdefault(number, []).append(day)
    kept = {name: _count(table) for name, table in (("silver", silver), ("quarantined", quarantined))}
    warned = warnings_by_batch(silver)
    now = datetime.now(UTC)
    told = {
        "_records": "records",
        "_events": "events",
        **{name: name for name in ("ingest_batch", "segment", "ingest_time")},
    }
    for marker in markers.select(list(told)).rename_columns(list(told.values())).to_pylist():
        number = marker["ingest_batch"]
        counts = {name: counted.get(number, 0) for name, counted in kept.items()}
        rows.append({**marker, **counts, "duplicates": marker["events"] - sum(counts.values()), "refine_time": now,
                     "warnings": warned.get(number), "event_dates": sorted(dated.get(number, []))})  # fmt: skip
    return pa.Table.from_pylist(rows, schema=REFINE_LOG_SCHEMA)


def _count(rows: pa.Table) -> dict[int, int]:
    counted = rows.group_by("ingest_batch").aggregate([([], "count_all")])
    return dict(zip(counted["ingest_batch"].to_pylist(), counted["count_all"].to_pylist(), strict=True))
