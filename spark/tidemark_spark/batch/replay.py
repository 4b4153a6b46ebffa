"""Replay of quarantine: records that the definition and suite of now let pass are moved into silver, exactly once.

A quarantined record may be a copy of an event that silver holds, may have another event date now, and belongs into the
rollups of that date too. A reprocess of the event dates does all of that exactly, so a replay finds the dates that the
records which pass now belong to, and reprocesses these; streams go on beside it.
"""

from collections.abc import Callable
from datetime import date
from functools import partial
from typing import NamedTuple

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from tidemark.core.days import in_a_row
from tidemark.core.locks import claim_dates, when_free
from tidemark.core.settings import Settings
from tidemark.definition import Pipeline
from tidemark.lake.generations import History, current_generation
from tidemark.lake.snapshots import open_table
from tidemark.lake.tables import tables_of
from tidemark.quality import Suite
from tidemark_spark.batch.reclassify import EVENT, numbered
from tidemark_spark.batch.reprocess import reprocess
from tidemark_spark.transforms.parse import parse


class Replayed(NamedTuple):
    """What a replay did: quarantined records looked at, that pass now, that silver gained, and that were copies."""

    looked_at: int
    passing: dict[date, int]
    released: int
    in_silver: int
    copies: int


def replay(
    spark: SparkSession,
    pipeline: Pipeline,
    suite: Suite,
    settings: Settings,
    *,
    wait_seconds: float = 300,
    dry_run: bool = False,
    say: Callable[[str], None] = print,
) -> Replayed:
    """Judge the quarantined records again and reprocess the event dates of those that pass; nothing is moved twice.

    Records that were judged by the running definition are left alone: the verdict would be the same. Each range is held
    against other reprocesses while it is done. ``dry_run``: only say what would be moved.

    Raises:
        CoverageError, QualityGateError, TableError: as ``reprocess`` does. Ranges that were done before stay done, and
            the next replay goes on with the others.
    """
    tables = tables_of(pipeline, settings)
    current_generation(pipeline, suite, settings)  # to refuse at once
    held = _judged_before(spark, pipeline, settings)
    passing = parse(held.drop("reasons"), pipeline, suite).where(F.size("reasons") == 0)
    passing = numbered(passing, "event_date").persist()
    try:
        dates = {row["event_date"]: row["count"] for row in passing.groupBy("event_date").count().collect()}
        found = Replayed(held.count(), dict(sorted(dates.items())), 0, 0, 0)
        say(f"{sum(dates.values()):,} of {found.looked_at:,} quarantined records pass now, of {len(dates)} event dates")
        if dry_run or not dates:
            return found
        released = 0
        for start, end in in_a_row(dates):
            with when_free(partial(claim_dates, pipeline.name, start, end, settings), say):
                run = reprocess(spark, pipeline, suite, settings, start, end, wait_seconds=wait_seconds, say=say)
            released += run.reclassified.recovered
        silver = numbered(spark.read.format("delta").load(tables.silver.uri))
        in_silver = passing.join(silver, EVENT, "left_semi").count()
        return found._replace(released=released, in_silver=in_silver, copies=sum(dates.values()) - in_silver)
    finally:
        passing.unpersist()


def _judged_before(spark: SparkSession, pipeline: Pipeline, settings: Settings) -> DataFrame:
    """The quarantined records that an older definition judged, of a snapshot that stays while the run changes it."""
    table = tables_of(pipeline, settings).quarantine
    snapshot = open_table(table, settings)
    rows = spark.read.format("delta").option("versionAsOf", snapshot.version()).load(table.uri)
    return rows.where(F.col("ingest_batch") <= History.of(pipeline, settings).judging.after)
