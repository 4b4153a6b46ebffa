"""Starting the two streams of a pipeline in one driver."""

import contextlib
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

import pyarrow.dataset as ds
from pyspark.errors import StreamingQueryException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.streaming.query import StreamingQuery
from pyspark.sql.streaming.readwriter import DataStreamWriter

from pyspark_kinesis import DefaultSource
from tidemark.core.errors import JobError, QualityGateError
from tidemark.core.settings import Settings
from tidemark.definition import Pipeline
from tidemark.lake.generations import begin_generation, changes, deduplication_id
from tidemark.lake.snapshots import NOTHING, open_table, position
from tidemark.lake.tables import tables_of
from tidemark.lake.transaction_ids import INGEST_APP, REFINE_APP
from tidemark.quality import Suite
from tidemark_spark.driver.causes import cause_of
from tidemark_spark.speed.ingest import BronzeSink
from tidemark_spark.speed.refine import RefineSink, bronze_stream, refined_rows, starting_position
from tidemark_spark.speed.rollup_history import roll_up_history
from tidemark_spark.transforms.rule_actions import check_rules

log = logging.getLogger("tidemark.stream")


class _Batches:
    """A function for foreachBatch, and what it raised. Spark passes on only a text of that, which may quote events."""

    raised: BaseException | None = None

    def __init__(self, write: Callable[[DataFrame, int], None]) -> None:
        self._write = write

    def __call__(self, batch: DataFrame, number: int) -> None:
        try:
            self._write(batch, number)
        except BaseException as error:
            self.raised = error
            raise


_batches: WeakKeyDictionary[StreamingQuery, _Batches] = WeakKeyDictionary()
"""Of each query that was started here, the function of its batches."""


def checkpoint_location(pipeline: Pipeline, stream: str, settings: Settings) -> str:
    """Where a stream keeps Spark's checkpoint; ``stream`` is ``ingest`` or ``refine``."""
    return f"{settings.state_uri.rstrip('/')}/{pipeline.name}/{stream}"


def has_committed(spark: SparkSession, location: str) -> bool:
    """Whether a checkpoint location holds a committed batch, on whatever file system it is."""
    jvm: Any = spark._jvm
    jsc: Any = spark._jsc
    commits = jvm.org.apache.hadoop.fs.Path(f"{location}/commits")
    files = commits.getFileSystem(jsc.hadoopConfiguration())
    return bool(files.exists(commits)) and any(f.getPath().getName().isdigit() for f in files.listStatus(commits))


def resume_position(pipeline: Pipeline, settings: Settings) -> str:
    """Where an ingest without a checkpoint starts: after each shard's last record in bronze, or as defined."""
    snapshot = open_table(tables_of(pipeline, settings).bronze, settings)
    if position(snapshot, INGEST_APP) == NOTHING:
        return pipeline.source.starting_position
    columns = ["shard_id", "sequence_number"]
    newest: dict[str, str] = {}
    for batch in snapshot.to_pyarrow_dataset().to_batches(columns=columns, filter=ds.field("shard_id").is_valid()):
        for shard, number in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            newest[shard] = max(newest.get(shard, "0"), number, key=int)
    return json.dumps(newest)


def start_ingest(spark: SparkSession, pipeline: Pipeline, settings: Settings, *, available_now: bool) -> StreamingQuery:
    """Kinesis to bronze, each record once."""
    location = checkpoint_location(pipeline, "ingest", settings)
    name = f"{pipeline.name}.ingest"
    # Only a query without a committed batch asks where to start; to find out reads all of bronze's sequence numbers.
    begun = has_committed(spark, location)
    starting = pipeline.source.starting_position if begun else resume_position(pipeline, settings)
    if not begun and starting != pipeline.source.starting_position:
        resumed(name, location, "goes on after each shard's last record in bronze", starting)
    # The one that Spark finds by itself would run on executors under the path of the driver's Python.
    spark.dataSource.register(DefaultSource)
    reader = (
        spark.readStream.format("kinesis")
        .option("streamName", pipeline.source.name)
        .option("region", settings.aws_region)
        # The ledger lives inside the checkpoint location, so that the two are lost together or not at all.
        # The source takes no relative path, as a process elsewhere would find another folder there.
        .option("ledgerLocation", f"{location if urlsplit(location).scheme else Path(location).absolute()}/ledger")
        .option("startingPosition", starting)
        .option("maxRecordsPerTrigger", settings.max_records_per_batch)
        .option("maxBytesPerTrigger", settings.max_bytes_per_batch)
    )
    if settings.kinesis_endpoint_url:
        reader = reader.option("endpointUrl", settings.kinesis_endpoint_url)

    def query_id() -> str:
        return next(query.id for query in spark.streams.active if query.name == name)

    writer = reader.load().writeStream.queryName(name).option("checkpointLocation", location)
    sink = BronzeSink(pipeline, settings, query_id)
    return start_query(_trigger(writer, settings, available_now=available_now), sink)


def start_refine(
    spark: SparkSession, pipeline: Pipeline, suite: Suite, settings: Settings, *, available_now: bool
) -> StreamingQuery:
    """Bronze to silver, quarantine, speed tables and refine log.

    Raises:
        ExpectationError: Spark cannot evaluate a rule of the suite; nothing was started.
    """
    check_rules(spark, pipeline, suite)
    for line in suite.summary():
        log.info("%s", line)
    for change in changes(pipeline, suite, settings):
        log.info("%s is %s: %s", change.object, change.change, change.what)
    begin_generation(pipeline, suite, settings)
    roll_up_history(spark, pipeline, settings)
    location = f"{checkpoint_location(pipeline, 'refine', settings)}/{deduplication_id(pipeline)}"
    after = starting_position(pipeline, settings)
    begun = has_committed(spark, location)
    reached = position(open_table(tables_of(pipeline, settings).silver, settings), REFINE_APP) if begun else NOTHING
    if after != NOTHING and not begun:
        what = (
            "reads bronze again from one deduplication horizon before its tables' position; what they hold is left out"
        )
        resumed(f"{pipeline.name}.refine", location, what, f"ingest_batch {after + 1}")
    writer = (
        refined_rows(bronze_stream(spark, pipeline, settings, after, reached), pipeline, suite)
        .writeStream.queryName(f"{pipeline.name}.refine")
        .option("checkpointLocation", location)
    )
    return start_query(_trigger(writer, settings, available_now=available_now), RefineSink(pipeline, settings))


def resumed(query: str, location: str, what: str, start: str) -> None:
    """Tell that a query lost its checkpoint, and what it does about it."""
    log.warning("%s has no checkpoint at %s, but its tables hold rows: it %s (from %s)", query, location, what, start)


def run_to_end(spark: SparkSession, queries: list[StreamingQuery]) -> None:
    """Wait until all queries have ended.

    Raises:
        JobError: one failed; the others are stopped then, and the message says why.
        QualityGateError: so, by an expectation whose action is fail: a restart as it is would meet the same rows.
    """
    while True:
        if failed := [reason for query in queries if (reason := why_ended(query))]:
            refused = any(isinstance(_raised_by(query), QualityGateError) for query in queries)
            for query in queries:
                query.stop()
            raise (QualityGateError if refused else JobError)("; ".join(failed))
        if not any(query.isActive for query in queries):
            return
        with contextlib.suppress(StreamingQueryException):
            spark.streams.awaitAnyTermination()
        spark.streams.resetTerminated()


def why_ended(query: StreamingQuery) -> str | None:
    """In one line, why a query failed, with the remedy where one is known; None if it did not."""
    error = _raised_by(query)
    return None if error is None else f"{query.name} ended: {cause_of(error)}"


def _raised_by(query: StreamingQuery) -> BaseException | None:
    """What ended a query: what the function of its batches raised, else what Spark says; None if it did not fail."""
    ended = query.exception()
    if ended is None:
        return None
    batches = _batches.get(query)
    return (batches and batches.raised) or ended


def start_query(writer: DataStreamWriter, write: Callable[[DataFrame, int], None]) -> StreamingQuery:
    """Start a query whose micro-batches a function writes; ``run_to_end`` then tells by its errors why it ended."""
    batches = _Batches(write)
    query = writer.foreachBatch(batches).start()
    _batches[query] = batches
    return query


def _trigger(writer: DataStreamWriter, settings: Settings, *, available_now: bool) -> DataStreamWriter:
    if available_now:
        return writer.trigger(availableNow=True)
    return writer.trigger(processingTime=f"{int(settings.trigger_seconds * 1000)} milliseconds")


def ensure_local_folder(uri: str) -> None:
    """Make a folder for state where the URI is a plain path."""
    if "://" not in uri:
        Path(uri).mkdir(parents=True, exist_ok=True)
