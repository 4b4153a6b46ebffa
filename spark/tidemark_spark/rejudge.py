"""What a changed definition does to records that were judged before: into quarantine, out of it, or to another date.

Only a reprocess of dates that an older generation of the definition wrote comes here. Additions to quarantine are made
before silver is published and removals after it, so that a record that changes sides is in both for a moment and never
in neither, also if the run dies between, and the run after it finds the same to do.
"""

from datetime import date
from typing import Any, NamedTuple

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from tidemark.delta import files_of, open_table, position
from tidemark.errors import CoverageError, TableError
from tidemark.publish import replace_files
from tidemark.settings import Settings
from tidemark.tables import QUARANTINE_SCHEMA, REJUDGE_APP, Table
from tidemark_spark.parse import dated
from tidemark_spark.staging import stage

RECORD = ["stream", "shard_id", "sequence_number", "sub_sequence_number"]
"""What identifies a Kinesis record."""
_ATTEMPTS = 5


class Rejudged(NamedTuple):
    """How many records a reprocess put into quarantine, and how many it took out."""

    quarantined: int = 0
    recovered: int = 0


def refuse_moves(parsed: DataFrame, was: DataFrame, start: date, end: date) -> None:
    """Check that no event of the range has another date now, where this reprocess would lose it.

    Raises:
        CoverageError: some have; the message names their dates and the remedy.
    """
    moved = (
        parsed.where((F.size("reasons") == 0) & ~dated(start, end))
        .join(was.select(RECORD), RECORD, "left_semi")
        .groupBy("event_date")
        .count()
        .orderBy("event_date")
        .collect()
    )
    if moved:
        dates = ", ".join(f"{row['event_date']} ({row['count']:,})" for row in moved[:5])
        raise CoverageError(
            f"the changed definition moves {sum(row['count'] for row in moved):,} events of [{start}, {end}) to other "
            f"dates: {dates}{', ...' if len(moved) > 5 else ''}; reprocess a range that holds both, or all (--all)"
        )


def quarantine_newly_broken(parsed: DataFrame, was: DataFrame, quarantine: Table, settings: Settings) -> int:
    """Put the records of ``was`` (silver's rows) that do not parse any more into quarantine; how many."""
    spark = parsed.sparkSession
    broken = parsed.where(F.size("reasons") > 0).join(was.select(RECORD), RECORD, "left_semi")
    for _ in range(_ATTEMPTS):
        counter = (REJUDGE_APP, position(open_table(quarantine, settings), REJUDGE_APP))
        held = spark.read.format("delta").load(quarantine.uri).select(RECORD)
        staged = stage(broken.join(held, RECORD, "left_anti").select(*QUARANTINE_SCHEMA.names), quarantine, settings)
        if not staged.files:
            return 0
        if replace_files(quarantine, staged.files, lambda _: False, (), settings, counter):
            return staged.rows
        staged.discard(settings)
    raise _contended(quarantine)


def release_recovered(spark: SparkSession, recovered: DataFrame, quarantine: Table, settings: Settings) -> int:
    """Take records that are in silver now out of quarantine; how many. ``recovered``: ids, and their partitions."""
    partitions = {
        (row["ingest_date"], row["segment"]): row["count"]
        for row in recovered.groupBy("ingest_date", "segment").count().collect()
    }
    if not partitions:
        return 0

    def inside(file: Any) -> bool:
        return (file["partition.ingest_date"], file["partition.segment"]) in partitions

    for _ in range(_ATTEMPTS):
        snapshot = open_table(quarantine, settings)
        counter = (REJUDGE_APP, position(snapshot, REJUDGE_APP))
        files = [file["path"] for file in files_of(snapshot).to_pylist() if inside(file)]
        held = spark.read.format("delta").option("versionAsOf", snapshot.version()).load(quarantine.uri)
        chosen = spark.createDataFrame(list(partitions), "ingest_date DATE, segment BIGINT")
        of_partitions = held.join(F.broadcast(chosen), ["ingest_date", "segment"], "left_semi")
        staged = stage(of_partitions.join(recovered.select(RECORD), RECORD, "left_anti"), quarantine, settings)
        if replace_files(quarantine, staged.files, inside, files, settings, counter):
            return sum(partitions.values())
        staged.discard(settings)
    raise _contended(quarantine)


def _contended(table: Table) -> TableError:
    return TableError(f"{table.name} was rewritten by another run {_ATTEMPTS} times in a row: run this one again alone")
