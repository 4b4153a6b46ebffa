"""Batch reprocessing: silver slices and batch partial aggregates recomputed from bronze through a sealed segment."""

import time
from collections.abc import Callable
from datetime import date, timedelta
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable
from pyspark import StorageLevel
from pyspark.sql import DataFrame, Observation, SparkSession, Window
from pyspark.sql import functions as F
from tenacity import RetryError, retry, retry_if_result, stop_after_delay, wait_fixed

from tidemark.definition import Pipeline, Rollup
from tidemark.delta import Sealed, open_table, position, replace_dates, seal
from tidemark.errors import CoverageError
from tidemark.quality import Suite
from tidemark.settings import Settings
from tidemark.tables import BATCH_APP, REFINE_APP, Tables, batch_schema, tables_of
from tidemark_spark.parse import event_key, parse, valid_events
from tidemark_spark.rollups import partial_aggregates


class Reprocessed(NamedTuple):
    """What a reprocess did."""

    start: date
    end: date
    covered_segment: int
    bronze_rows: int
    silver_rows: int
    batch_rows: dict[str, int]
    seconds: float


def deduplicate(valid: DataFrame, pipeline: Pipeline) -> DataFrame:
    """The first copy of each key in log order, as the stream keeps it, but over all of the rows."""
    order = Window.partitionBy("_key").orderBy(
        "ingest_batch", "shard_id", F.length("sequence_number"), "sequence_number", "sub_sequence_number"
    )
    return (
        valid.withColumn("_key", event_key(pipeline))
        .withColumn("_copy", F.row_number().over(order))
        .where("_copy = 1")
        .drop("_key", "_copy")
    )


def seal_and_wait(tables: Tables, settings: Settings, wait_seconds: float) -> Sealed:
    """Seal the open segment and wait until refine has passed it.

    Raises:
        CoverageError: refine did not get there within the limit; nothing was changed.
    """
    sealed = seal(tables, settings)
    through = sealed.through

    def behind() -> list[str]:
        return [t.name for t in tables.refined if position(open_table(t, settings), REFINE_APP) < through]

    wait = retry(retry=retry_if_result(bool), stop=stop_after_delay(wait_seconds), wait=wait_fixed(0.2))
    try:
        wait(behind)()
    except RetryError as error:
        lagging = ", ".join(error.last_attempt.result())
        raise CoverageError(
            f"refine has not passed ingest_batch {through} within {wait_seconds:g} s (behind: {lagging}): "
            "is the refine stream running? See `tidemark status`, or allow more time"
        ) from error
    return sealed


def reprocess(
    spark: SparkSession,
    pipeline: Pipeline,
    suite: Suite,
    settings: Settings,
    start: date,
    end: date,
    *,
    wait_seconds: float = 300,
    say: Callable[[str], None] = print,
) -> Reprocessed:
    """Recompute the event dates in ``[start, end)`` and publish them, one commit a table.

    Raises:
        CoverageError: refine did not pass the sealed segment in time.
    """
    began = time.monotonic()
    tables = tables_of(pipeline, settings)
    segment, through = seal_and_wait(tables, settings, wait_seconds)
    say(f"{pipeline.name}: event dates [{start}, {end}) through segment {segment} (ingest_batch {through})")
    bronze = spark.read.format("delta").load(tables.bronze.uri).where(F.col("segment") <= segment)
    read = Observation()
    wanted = _candidate_batches(tables, settings, start, end)
    candidates = bronze.where(wanted or "false")
    if wanted:  # Spark optimises what reads nothing away, the observation with it
        candidates = candidates.observe(read, F.count("*").alias("rows"))
    inside = (F.col("event_date") >= F.lit(start)) & (F.col("event_date") < F.lit(end))
    valid = valid_events(parse(candidates, pipeline, suite), pipeline).where(inside)
    slice_ = deduplicate(valid, pipeline).withColumn("segment", F.lit(segment).cast("bigint"))
    slice_ = slice_.persist(StorageLevel.MEMORY_AND_DISK)
    try:
        silver_rows = slice_.count()
        _replace_silver(slice_, tables.silver.uri, start, end, segment)
        say(f"silver: {silver_rows:,} rows")
        batch_rows = {}
        for rollup in pipeline.rollups:
            rows = _batch_rows(slice_, pipeline, rollup, start, end, segment, through)
            replace_dates(tables.batch[rollup.name], rows, start, end, {BATCH_APP: through}, settings)
            batch_rows[rollup.name] = rows.num_rows
            say(f"batch_{rollup.name}: {rows.num_rows:,} partial aggregates")
        bronze_rows = read.get["rows"] if wanted else 0
        return Reprocessed(start, end, segment, bronze_rows, silver_rows, batch_rows, time.monotonic() - began)
    finally:
        slice_.unpersist()


def _candidate_batches(tables: Tables, settings: Settings, start: date, end: date) -> str:
    """Which ingest_batches can hold events of the dates: those of silver's rows there, and those with quarantine.

    A condition on bronze; empty where none can.
    """
    silver = _files(open_table(tables.silver, settings))
    dates = silver["partition.event_date"]
    of_dates = pc.and_(pc.greater_equal(dates, pa.scalar(start)), pc.less(dates, pa.scalar(end)))
    sources = [silver.filter(of_dates), _files(open_table(tables.quarantine, settings))]
    ranges = []
    for files in sources:
        low, high = pc.min(files["min.ingest_batch"]).as_py(), pc.max(files["max.ingest_batch"]).as_py()
        if low is not None:
            ranges.append(f"ingest_batch BETWEEN {int(low)} AND {int(high)}")
    return " OR ".join(ranges)


def _files(snapshot: DeltaTable) -> pa.Table:
    files = pa.table(snapshot.get_add_actions(flatten=True))
    for name in ("min.ingest_batch", "max.ingest_batch", "partition.event_date"):
        if name not in files.column_names:
            kind = pa.date32() if name.endswith("date") else pa.int64()
            files = files.append_column(name, pa.nulls(files.num_rows, kind))
    return files


def _replace_silver(rows: DataFrame, uri: str, start: date, end: date, segment: int) -> None:
    # The predicate names both partition columns: appends to the open segment never meet it.
    replaced = f"event_date >= '{start}' AND event_date < '{end}' AND segment <= {segment}"
    rows.repartition(2, "event_date").write.format("delta").mode("overwrite").option("replaceWhere", replaced).save(uri)


def _batch_rows(
    events: DataFrame, pipeline: Pipeline, rollup: Rollup, start: date, end: date, segment: int, through: int
) -> pa.Table:
    """Partial aggregates of the slice, and one marker row a date that states its coverage."""
    schema = batch_schema(pipeline, rollup)
    partials = partial_aggregates(events, pipeline, rollup, []).withColumn(
        "covered_segment", F.lit(segment).cast("bigint")
    )
    dates = [start + timedelta(days=n) for n in range((end - start).days)]
    markers = pa.Table.from_pylist(
        [{"event_date": day, "covered_segment": segment, "ingest_batch": through} for day in dates], schema=schema
    )
    return pa.concat_tables([partials.select(*schema.names).toArrow().cast(schema), markers])
