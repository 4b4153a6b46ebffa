"""What a changed definition does to records that were judged before: into quarantine, out of it, or to another date.

Only a reprocess of dates that an older generation of the definition wrote comes here. Additions to quarantine are made
before silver is published and removals after it, so that a record that changes sides is in both for a moment and never
in neither, also if the run dies between, and the run after it finds the same to do.
"""

from datetime import date
from functools import reduce
from operator import and_
from typing import Any, NamedTuple

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from tidemark.delta import files_of, open_table, position
from tidemark.documents import ORDINAL
from tidemark.errors import CoverageError, TableError
from tidemark.publish import replace_files
from tidemark.settings import Settings
from tidemark.tables import QUARANTINE_SCHEMA, REJUDGE_APP, Table
from tidemark_spark.parse import dated
from tidemark_spark.staging import stage

RECORD = ["stream", "shard_id", "sequence_number", "sub_sequence_number"]
"""What identifies a Kinesis record."""
_NUMBER = "_number"
EVENT = [*RECORD, _NUMBER]
"""What identifies an event of a record, in rows that are ``numbered``."""
_ATTEMPTS = 5


class Rejudged(NamedTuple):
    """How many records a reprocess put into quarantine, and how many it took out."""

    quarantined: int = 0
    recovered: int = 0


def numbered(rows: DataFrame, *others: str) -> DataFrame:
    """``EVENT`` of rows of bronze's events, silver or quarantine, and other columns; -1: the record as a whole."""
    return rows.select(*RECORD, F.coalesce(ORDINAL, F.lit(-1)).alias(_NUMBER), *others)


def of_events(parsed: DataFrame, others: DataFrame) -> DataFrame:
    """The parsed rows whose event ``others`` (``numbered``) name.

    A definition that has changed what a record holds has made several events of one, or one of several: a record as a
    whole, on either side, stands for all of its events.
    """
    others = others.distinct()
    same = [parsed[name] == others[name] for name in RECORD]
    whole = parsed[ORDINAL].isNull() | (others[_NUMBER] == -1)
    return parsed.join(others, reduce(and_, [*same, whole | (parsed[ORDINAL] == others[_NUMBER])]), "left_semi")


def refuse_moves(parsed: DataFrame, was: DataFrame, start: date, end: date) -> None:
    """Check that no event of the range has another date now, where this reprocess would lose it.

    Raises:
        CoverageError: some have; the message names their dates and the remedy.
    """
    moved = of_events(parsed.where((F.size("reasons") == 0) & ~dated(start, end)), numbered(was))
    _refuse(moved, f"events of [{start}, {end}) to other dates")


def refuse_arrivals(parsed: DataFrame, others: DataFrame, start: date, end: date) -> None:
    """Check that no event which silver holds under another date has one of the range now: it would count twice.

    ``others``: silver's rows outside of the range.

    Raises:
        CoverageError: some have; the message names their dates and the remedy.
    """
    moved = of_events(parsed.where((F.size("reasons") == 0) & dated(start, end)), numbered(others))
    _refuse(moved, f"events of other dates into [{start}, {end})")


def _refuse(moved: DataFrame, what: str) -> None:
    dates = moved.groupBy("event_date").count().orderBy("event_date").collect()
    if dates:
        shown = ", ".join(f"{row['event_date']} ({row['count']:,})" for row in dates[:5])
        raise CoverageError(
            f"the changed definition moves {sum(row['count'] for row in dates):,} {what}: "
            f"{shown}{', ...' if len(dates) > 5 else ''}; reprocess a range that holds both, or all (--all)"
        )


def quarantine_newly_broken(
    parsed: DataFrame, was: DataFrame, quarantine: Table, settings: Settings, generation: int
) -> int:
    """Put the events of ``was`` (silver's rows) that do not parse any more into quarantine; how many.

    With them, the broken events of quarantined records that are split now, where the record as a whole was none.
    """
    spark = parsed.sparkSession
    broken = parsed.where(F.size("reasons") > 0)
    for _ in range(_ATTEMPTS):
        counter = (REJUDGE_APP, position(open_table(quarantine, settings), REJUDGE_APP))
        held = numbered(spark.read.format("delta").load(quarantine.uri))
        whole = held.where(F.col(_NUMBER) == -1)
        moved = of_events(broken, numbered(was).union(whole)).withColumn(_NUMBER, F.coalesce(ORDINAL, F.lit(-1)))
        staged = stage(moved.join(held, EVENT, "left_anti").select(*QUARANTINE_SCHEMA.names), quarantine, settings)
        if not staged.files:
            return 0
        if replace_files(quarantine, staged.files, lambda _: False, (), settings, counter, generation=generation):
            return staged.rows
        staged.discard(settings)
    raise _contended(quarantine)


def release_recovered(
    spark: SparkSession, recovered: DataFrame, quarantine: Table, settings: Settings, generation: int
) -> int:
    """Take rows that are in silver now out of quarantine; how many. ``recovered``: ``EVENT``, and their partitions."""
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
        known = of_partitions.withColumn(_NUMBER, F.coalesce(ORDINAL, F.lit(-1)))
        staged = stage(known.join(recovered.select(EVENT), EVENT, "left_anti"), quarantine, settings)
        if replace_files(quarantine, staged.files, inside, files, settings, counter, generation=generation):
            return sum(partitions.values())
        staged.discard(settings)
    raise _contended(quarantine)


def _contended(table: Table) -> TableError:
    return TableError(f"{table.name} was rewritten by another run {_ATTEMPTS} times in a row: run this one again alone")
