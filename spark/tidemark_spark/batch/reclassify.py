"""What a changed definition does to records that were judged before: into quarantine, out of it, or to another date.

Only a reprocess of dates that an older generation of the definition wrote comes here. Additions to quarantine are made
before silver is published and removals after it, so that a record that changes sides is in both for a moment and never
in neither, also if the run dies between, and the run after it finds the same to do.
"""

from datetime import date
from functools import reduce
from operator import and_
from typing import Any, NamedTuple

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from tidemark.core.documents import ORDINAL
from tidemark.core.errors import CoverageError, TableError
from tidemark.core.settings import Settings
from tidemark.lake.publish import replace_files
from tidemark.lake.snapshots import active_files, open_table, position
from tidemark.lake.tables import Table
from tidemark.lake.transaction_ids import RECLASSIFY_APP
from tidemark_spark.transforms.parse import dated
from tidemark_spark.transforms.staging import stage

RECORD = ["stream", "shard_id", "sequence_number", "sub_sequence_number"]
"""What identifies a Kinesis record."""
_NUMBER = "_number"
EVENT = [*RECORD, _NUMBER]
"""What identifies an event of a record, in rows that are ``numbered``."""
_BODY = "_body"
QUARANTINED = [*EVENT, _BODY]
"""What identifies a row of quarantine: where records are split in another way, their events have others' numbers."""
_ATTEMPTS = 5


class Reclassified(NamedTuple):
    """How many records a reprocess put into quarantine, and how many it took out."""

    quarantined: int = 0
    recovered: int = 0


def numbered(rows: DataFrame, *others: str) -> DataFrame:
    """``EVENT`` of rows of bronze's events, silver or quarantine, and other columns; -1: the record as a whole."""
    return rows.select(*RECORD, _number(), *others)


def _number() -> Column:
    return F.coalesce(ORDINAL, F.lit(-1)).alias(_NUMBER)


def with_body(rows: DataFrame) -> DataFrame:
    """Rows of events with ``QUARANTINED``'s last two columns: their number, and a digest of their own bytes."""
    return rows.withColumns({_NUMBER: _number(), _BODY: F.sha2("data", 256)})


def of_events(parsed: DataFrame, others: DataFrame) -> DataFrame:
    """The parsed rows whose event ``others`` (``numbered``) name.

    A definition that has changed what a record holds has made several events of one, or one of several: a record as a
    whole, on either side, stands for all of its events.
    """
    others = others.distinct()
    return parsed.join(others, _same_event(parsed, others), "left_semi")


def _same_event(parsed: DataFrame, others: DataFrame) -> Column:
    same = [parsed[name] == others[name] for name in RECORD]
    whole = parsed[ORDINAL].isNull() | (others[_NUMBER] == -1)
    return reduce(and_, [*same, whole | (parsed[ORDINAL] == others[_NUMBER])])


def _is_among(numbers: str) -> Column:
    """Whether an event's number, or that of its record as a whole, is among some; ``of_events`` by a column."""
    known = F.coalesce(F.col(numbers), F.expr("CAST(array() AS ARRAY<BIGINT>)"))
    whole = F.col(ORDINAL).isNull() | F.array_contains(known, F.lit(-1).cast("bigint"))
    return (F.size(known) > 0) & (whole | F.coalesce(F.array_contains(known, F.col(ORDINAL)), F.lit(False)))


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
    parsed: DataFrame, was: DataFrame, elsewhere: DataFrame, quarantine: Table, settings: Settings, generation: int
) -> int:
    """Put the broken events that quarantine lacks into it; how many.

    They were in silver (``was``: its rows of the range), or were copies and in neither table, or are of a quarantined
    record that is split now. Not those that silver keeps, ``elsewhere``, under dates that are not reprocessed: they
    stay as they were judged. A record that breaks as a whole and loses an event of the range goes to quarantine, also
    if silver keeps another event of it until that one's date is reprocessed.
    """
    spark = parsed.sparkSession
    # One join tells both, so that the records are read and parsed once.
    silver = (
        numbered(elsewhere)
        .withColumn("_kept", F.lit(True))
        .unionByName(numbered(was).withColumn("_kept", F.lit(False)))
    )
    sides = {True: "_kept_numbers", False: "_left_numbers"}
    numbers = silver.groupBy(*RECORD).agg(
        *(F.collect_set(F.when(F.col("_kept") == side, F.col(_NUMBER))).alias(name) for side, name in sides.items())
    )
    broken = parsed.where(F.size("reasons") > 0).join(numbers, RECORD, "left")
    broken = broken.where(_is_among(sides[False]) | ~_is_among(sides[True]))
    broken = broken.dropDuplicates([*RECORD, ORDINAL])
    for _ in range(_ATTEMPTS):
        counter = (RECLASSIFY_APP, position(open_table(quarantine, settings), RECLASSIFY_APP))
        held = with_body(spark.read.format("delta").load(quarantine.uri)).select(*QUARANTINED)
        staged = stage(with_body(broken).join(held, QUARANTINED, "left_anti"), quarantine, settings)
        if not staged.files:
            return 0
        if replace_files(quarantine, staged.files, lambda _: False, (), settings, counter, generation=generation):
            return staged.rows
        staged.discard(settings)
    raise _contended(quarantine)


def release_recovered(
    spark: SparkSession, recovered: DataFrame, quarantine: Table, settings: Settings, generation: int
) -> int:
    """Take rows that are in silver now, or that their records are not split into any more, out of quarantine; how many.

    ``recovered``: their ``QUARANTINED``, and their partitions.
    """
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
        counter = (RECLASSIFY_APP, position(snapshot, RECLASSIFY_APP))
        files = [file["path"] for file in active_files(snapshot).to_pylist() if inside(file)]
        held = spark.read.format("delta").option("versionAsOf", snapshot.version()).load(quarantine.uri)
        chosen = spark.createDataFrame(list(partitions), "ingest_date DATE, segment BIGINT")
        of_partitions = held.join(F.broadcast(chosen), ["ingest_date", "segment"], "left_semi")
        known = with_body(of_partitions)
        staged = stage(known.join(recovered.select(*QUARANTINED), QUARANTINED, "left_anti"), quarantine, settings)
        if replace_files(quarantine, staged.files, inside, files, settings, counter, generation=generation):
            return sum(partitions.values())
        staged.discard(settings)
    raise _contended(quarantine)


def _contended(table: Table) -> TableError:
    return TableError(f"{table.name} was rewritten by another run {_ATTEMPTS} times in a row: run this one again alone")
