"""A slice: the records of a range of event dates through a sealed segment, and what a reprocess makes of them."""

from collections.abc import Callable
from datetime import UTC, date, datetime
from functools import cached_property

import pyarrow.compute as pc
from pyspark.sql import Column, DataFrame, Observation, SparkSession, Window
from pyspark.sql import functions as F

from tidemark.core.documents import ORDINAL
from tidemark.core.errors import CoverageError, QualityGateError
from tidemark.core.settings import Settings
from tidemark.definition import Pipeline, Rollup
from tidemark.lake.generations import Generation, History
from tidemark.lake.log import Interval, Sealed
from tidemark.lake.scan_ranges import NO_BATCH, condition, date_index, scan_ranges
from tidemark.lake.snapshots import active_files, open_table, position
from tidemark.lake.tables import tables_of
from tidemark.lake.transaction_ids import generation_app
from tidemark.monitoring.check_results import record
from tidemark.quality import Suite
from tidemark.quality.docs import DataDocs
from tidemark.quality.parameters import slice_parameters
from tidemark_spark.batch.dated_anew import date_anew
from tidemark_spark.batch.reclassify import (
    QUARANTINED,
    RECORD,
    quarantine_newly_broken,
    refuse_arrivals,
    refuse_moves,
    release_recovered,
    with_body,
)
from tidemark_spark.batch.validate import critical_failures, validate
from tidemark_spark.transforms.parse import dated, key_columns, parse, valid_events
from tidemark_spark.transforms.rollups import partial_aggregates, with_finished
from tidemark_spark.transforms.rule_actions import ObservedActions
from tidemark_spark.transforms.staging import Staged, stage


def deduplicate(valid: DataFrame, pipeline: Pipeline) -> DataFrame:
    """The first copy of each key in log order, as the stream keeps it, but over all of the rows."""
    order = Window.partitionBy(*key_columns(pipeline)).orderBy(
        "ingest_batch", "shard_id", F.length("sequence_number"), "sequence_number", "sub_sequence_number", ORDINAL
    )
    return valid.withColumn("_copy", F.row_number().over(order)).where("_copy = 1").drop("_copy")


class Slice:
    """The records of a range of event dates through a segment, and what is made of them."""

    def __init__(
        self,
        spark: SparkSession,
        pipeline: Pipeline,
        suite: Suite,
        settings: Settings,
        start: date,
        end: date,
        sealed: Sealed,
        generation: Generation,
    ) -> None:
        self._spark = spark
        self._pipeline = pipeline
        self._suite = suite
        self._settings = settings
        self._start = start
        self._end = end
        self._segment, self._through = sealed
        self._generation = generation
        self._history = History.of(pipeline, settings)
        judging = self._history.judging
        self._tables = tables_of(pipeline, settings)
        self._silver = open_table(self._tables.silver, settings)
        self.everything = (start, end) == (date.min, date.max)
        self.name = "all" if self.everything else f"[{start}, {end})"
        self.bronze_rows = 0
        self.warned: dict[str, int] = {}
        refine_log = open_table(self._tables.refine_log, settings)
        self._dated_otherwise = self._history.dated_otherwise(pipeline, refine_log)
        self._numbered_otherwise = self._history.numbered_otherwise(refine_log)
        self._split_otherwise = self._history.split_otherwise(refine_log)
        self._index = date_index(pipeline, settings)
        self._held = self._dates_of_tables()
        self._intervals = [Interval(0, self._through)]
        if not self.everything:
            self._intervals = scan_ranges(self._index, pipeline, start, end, self._through)
        self._condition = "true" if self.everything else condition(self._intervals)
        self.judged_before = judging.number > 0 and (
            self.everything
            or not self._index.is_complete(self._through)
            or any(
                position(self._silver, generation_app(day)) < judging.number for day in self.indexed_days() | self._held
            )
        )
        bronze = spark.read.format("delta").load(self._tables.bronze.uri)
        self._records = bronze.where((F.col("segment") <= self._segment) & F.expr(self._condition))

    @cached_property
    def _parsed(self) -> DataFrame:
        return parse(self._records, self._pipeline, self._suite)

    def stage_silver(self) -> Staged:
        """The range's events as rows of silver, without duplicates.

        Raises:
            CoverageError: a changed definition moves events into the range or out of it, or numbers the events of its
                records otherwise, or bronze holds fewer records than the log says.
            QualityGateError: rows of the range break an expectation whose action is fail.
        """
        if self.judged_before and not self.everything:
            if self._numbered_otherwise:
                self._refuse_other_numbers()
            refuse_moves(self._parsed, self._was(), self._start, self._end)
            if self._dated_otherwise:
                refuse_arrivals(self._parsed, self._others(), self._start, self._end)
        read = Observation()
        records = self._records
        if self._condition != NO_BATCH:  # Spark optimises what reads nothing away, the observation with it
            records = records.observe(read, F.count("*").alias("rows"))
        actions = ObservedActions(parse(records, self._pipeline, self._suite), self._suite, self._inside())
        valid = valid_events(actions.rows, self._pipeline)
        rows = deduplicate(valid, self._pipeline).where(self._inside()).withColumn("segment", self._stamp())
        staged = stage(rows, self._tables.silver, self._settings)
        if self._condition != NO_BATCH:
            self.bronze_rows = read.get["rows"]
            self._refuse_fewer(staged)
            self.warned = self._refuse_failed(actions, staged)
        return staged

    def _refuse_other_numbers(self) -> None:
        """Numbers say what was judged before. Where they mean other events now, one would be there twice, or go."""
        otherwise = F.expr(condition(self._numbered_otherwise))
        of_range = (self._parsed.where((F.size("reasons") == 0) & self._inside()), self._was(), self._recovered())
        if any(not rows.where(otherwise).isEmpty() for rows in of_range):
            raise CoverageError(
                f"{self.name} has events of records that were split in another way (records=, in the definition), and "
                "the numbers of the events within them mean others now: reprocess all (--all). Nothing was published"
            )

    def _refuse_fewer(self, staged: Staged) -> None:
        """The refine log counted the records of each ingest_batch by itself, when they came."""
        counted = self._index.records(self._intervals)
        if self.bronze_rows < counted:
            staged.discard(self._settings)
            raise CoverageError(
                f"{self._tables.bronze.name} holds {self.bronze_rows:,} of the {counted:,} records that the log "
                f"counted for {self.name}: nothing was published, as events that are served would be lost. What took "
                f"rows out of bronze? Restore it to a version that has them ({self._tables.bronze.uri})"
            )

    def _refuse_failed(self, actions: ObservedActions, staged: Staged) -> dict[str, int]:
        try:
            actions.refuse_failed(f"reprocess of {self.name}", self._pipeline)
        except QualityGateError:
            staged.discard(self._settings)
            raise
        return actions.counts("warn")

    def audit(self, staged: Staged, say: Callable[[str], None]) -> None:
        """Check the suite on what was staged.

        Raises:
            QualityGateError: it breaks a critical expectation.
        """
        if not staged.files and self._was().isEmpty():
            say("no event in the range, before or after: there is nothing to check")
            return
        parameters = slice_parameters(
            self._pipeline, active_files(self._silver), self._start, self._end, datetime.now(UTC)
        )
        rows, docs = self._rows(staged), DataDocs.of(self._settings)
        checked = validate(rows, self._suite, self._pipeline.key, parameters, docs)
        record(self._tables, self._settings, checked, self._start, self._end, "staged slice")
        say(f"suite {self._suite.name}: {sum(c.success is True for c in checked)} of {len(checked)} expectations hold")
        for one in checked:
            if one.success is False and not one.blocks_publication:
                say(f"{one.severity}: {one.summary()}")
        if critical := critical_failures(checked):
            raise QualityGateError(f"nothing was published of {self.name}, as the staged slice breaks: {critical}")

    def days(self, staged: Staged) -> list[date]:
        """The event dates to publish: those of the range that have events, or for which a table holds rows."""
        return sorted(self._held | {date.fromisoformat(file.partition["event_date"]) for file in staged.files})

    def indexed_days(self) -> set[date]:
        """The event dates of the range of which the log holds events, quarantined ones too, as far as is known."""
        return set(self._index.dates(self._start, self._end, self._through))

    def _dates_of_tables(self) -> set[date]:
        found: set[date] = set()
        for table in (self._tables.silver, *self._tables.speed.values(), *self._tables.batch.values()):
            files = active_files(open_table(table, self._settings))
            found |= set(pc.unique(files["partition.event_date"]).to_pylist()) - {None}
        return found if self.everything else {day for day in found if self._start <= day < self._end}

    def stage_batch(self, staged: Staged, rollup: Rollup, days: list[date], through: int) -> Staged:
        """Partial aggregates of the slice, with finished values, and a marker row a date that states its coverage."""
        partials = partial_aggregates(self._rows(staged), self._pipeline, rollup, [])
        markers = self._spark.createDataFrame([(day, through) for day in days], "event_date DATE, ingest_batch BIGINT")
        partials = with_finished(partials, self._pipeline, rollup)
        rows = partials.unionByName(markers, allowMissingColumns=True).withColumn("covered_segment", self._stamp())
        return stage(rows, self._tables.batch[rollup.name], self._settings)

    def quarantine_newly_broken(self) -> int:
        """Put the broken events of the records read into quarantine, where neither it nor another date has them."""
        quarantine, by = self._tables.quarantine, self._generation.number
        parsed = self._parsed
        if not self.everything:
            # Of other dates, and with other numbers: until a reprocess of everything they stay as they were judged.
            parsed = parsed.where(~F.expr(condition(self._numbered_otherwise)))
        return quarantine_newly_broken(parsed, self._was(), self._others(), quarantine, self._settings, by)

    def release_recovered(self) -> int:
        """Take out of quarantine what is an event of the range now, and what no record is split into any more.

        The latter in a reprocess of everything only: one of some dates does not read all of the records.
        """
        released = self._recovered().where("_all").select(*QUARANTINED, "ingest_date", "segment")
        if self.everything and self._split_otherwise:
            released = released.unionByName(self._superseded()).distinct()
        return release_recovered(
            self._spark, released, self._tables.quarantine, self._settings, self._generation.number
        )

    def date_anew(self) -> str:
        """Bring the index of the log up to date where another definition gave the dates; what was done, in words."""
        if not self._dated_otherwise:
            return ""
        refine_log, by = self._tables.refine_log, self._generation.number
        if date_anew(self._parsed, self._dated_otherwise, refine_log, by, self._settings):
            self._index = date_index(self._pipeline, self._settings)
            return (
                "the index of the log states this definition's dates now: a reprocess of some dates reads only theirs"
            )
        return (
            "the index of the log was rewritten meanwhile, by compaction or another run: until the next reprocess of "
            "everything, one of some dates reads what another definition dated in full"
        )

    def _recovered(self) -> DataFrame:
        """``QUARANTINED``, ingest_batch and partition of quarantined rows that are events of the range now.

        ``_all``: all of the row's events are, of a record that was quarantined as a whole and is split now.
        """
        held = (
            self._spark.read.format("delta")
            .load(self._tables.quarantine.uri)
            .where((F.col("segment") <= self._segment) & (F.col("ingest_batch") <= self._history.judging.after))
        )
        again = parse(with_body(held).drop("reasons"), self._pipeline, self._suite).where(F.size("reasons") == 0)
        return (
            again.groupBy(*QUARANTINED, "ingest_batch", "ingest_date", "segment")
            .agg(F.bool_or(self._inside()).alias("_any"), F.bool_and(self._inside()).alias("_all"))
            .where("_any")
        )

    def _superseded(self) -> DataFrame:
        """Quarantined rows of records that bronze has, and that this definition splits into other events."""
        of_log = F.expr(condition(self._split_otherwise)) & (F.col("segment") <= self._segment)
        held = with_body(self._spark.read.format("delta").load(self._tables.quarantine.uri).where(of_log))
        broken = with_body(self._parsed.where(of_log & (F.size("reasons") > 0))).select(*QUARANTINED)
        of_bronze = held.join(self._records.where(of_log).select(*RECORD), RECORD, "left_semi")
        return of_bronze.join(broken, QUARANTINED, "left_anti").select(*QUARANTINED, "ingest_date", "segment")

    def _rows(self, staged: Staged) -> DataFrame:
        return staged.read(self._spark, self._spark.read.format("delta").load(self._tables.silver.uri))

    def _was(self) -> DataFrame:
        """Silver's rows of the range before this run."""
        silver = self._spark.read.format("delta").option("versionAsOf", self._silver.version())
        return silver.load(self._tables.silver.uri).where(self._inside() & (F.col("segment") <= self._segment))

    def _others(self) -> DataFrame:
        """Silver's rows of other dates before this run."""
        silver = self._spark.read.format("delta").option("versionAsOf", self._silver.version())
        of_range = (F.col("segment") <= self._segment) & F.expr(self._condition)
        return silver.load(self._tables.silver.uri).where(~self._inside() & of_range)

    def _inside(self) -> Column:
        return F.lit(True) if self.everything else dated(self._start, self._end)

    def _stamp(self) -> Column:
        return F.lit(self._segment).cast("bigint")
