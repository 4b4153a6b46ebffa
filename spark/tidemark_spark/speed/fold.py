"""Folding: in sealed segments, speed rows that the batch covers are removed, and the others merged.

A micro-batch adds a row a key and pane to a speed table, in a partition a segment: after a day that is tens of
thousands of rows and hundreds of files, and the serving view would read them all. Folding leaves one file a date, with
one row a key and pane, and changes no answer:

- rows that the batch table covers count no more. They are removed once a grace period has passed since the coverage was
  published, as a query that began before may still need them;
- the others are merged by the measures' own merge, and take the highest of their segments. A coverage in the middle of
  merged segments could not be told from one past them. So folding keeps to segments that ended a grace period ago, and
  says in the batch table's log how far it goes before it does: a reprocess that is slower than that publishes nothing.
"""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

from deltalake import DeltaTable
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from tidemark.core.settings import Settings
from tidemark.definition import Pipeline, Rollup
from tidemark.lake.log import ended_segment
from tidemark.lake.publish import claim_folding, coverage, replace_files
from tidemark.lake.snapshots import NOTHING, active_files, is_dated, open_table, position
from tidemark.lake.tables import tables_of
from tidemark.lake.transaction_ids import REFINE_APP, removed_app
from tidemark_spark.transforms.rollups import merge_partials
from tidemark_spark.transforms.staging import stage

GRACE = timedelta(hours=1)
"""Longer than the longest query and the longest reprocess. VACUUM must keep to no less."""


class Folded(NamedTuple):
    """What folding did to one speed table."""

    table: str
    dates: int
    rows_before: int
    rows_covered: int
    rows_after: int
    files_before: int
    files_after: int


class _Plan(NamedTuple):
    """Of one date: the segment through which the batch covers it, and the files to drop and to merge."""

    covered: int
    dropped: list[dict[str, Any]]
    merged: list[dict[str, Any]]

    @property
    def through(self) -> int:
        """The segment that merged rows get: the highest of theirs."""
        return max((int(file["partition.segment"]) for file in self.merged), default=NOTHING)


def fold(
    spark: SparkSession,
    pipeline: Pipeline,
    settings: Settings,
    *,
    grace: timedelta = GRACE,
    min_files: int = 2,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> list[Folded]:
    """Fold the speed tables of a pipeline; of a date, fewer than ``min_files`` files that it may merge are left alone.

    Never in the way of a stream or a reprocess: what another run has rewritten meanwhile is left to the next time.
    """
    done = []
    before = now() - grace
    bronze = open_table(tables_of(pipeline, settings).bronze, settings)
    for rollup in pipeline.rollups:
        folded = _fold(spark, pipeline, rollup, settings, bronze, before, min_files)
        if folded is not None:
            done.append(folded)
    return done


def _fold(
    spark: SparkSession,
    pipeline: Pipeline,
    rollup: Rollup,
    settings: Settings,
    bronze: DeltaTable,
    before: datetime,
    min_files: int,
) -> Folded | None:
    tables = tables_of(pipeline, settings)
    table, batch_table = tables.speed[rollup.name], tables.batch[rollup.name]
    batch = open_table(batch_table, settings)
    speed = open_table(table, settings)
    through = ended_segment(bronze, position(speed, REFINE_APP), before)
    plans = {
        day: plan
        for day, plan in _plans(batch, speed, through, before).items()
        if plan.dropped or len(plan.merged) >= min_files
    }
    if not plans:
        return None
    covered = {day: plan.covered for day, plan in plans.items()}
    if not claim_folding(batch_table, covered, {d: p.through for d, p in plans.items() if p.merged}, settings):
        return None
    staged = stage(_merged(spark, table.uri, speed, pipeline, rollup, plans), table, settings)
    files = [file for plan in plans.values() for file in (*plan.dropped, *plan.merged)]
    paths = {file["path"] for file in files}
    removed = {removed_app(day): plan.covered for day, plan in plans.items() if plan.dropped}
    if not replace_files(table, staged.files, lambda file: file["path"] in paths, paths, settings, versions=removed):
        staged.discard(settings)
        return None
    dropped = sum(file["num_records"] for plan in plans.values() for file in plan.dropped)
    rows = sum(file["num_records"] for file in files)
    return Folded(table.name, len(plans), rows, dropped, staged.rows, len(files), len(staged.files))


def _plans(batch: DeltaTable, speed: DeltaTable, through: int, before: datetime) -> dict[date, _Plan]:
    published: dict[date, int] = {}
    for file in filter(is_dated, active_files(batch).select(["partition.event_date", "modification_time"]).to_pylist()):
        day = file["partition.event_date"]
        published[day] = max(published.get(day, 0), file["modification_time"])
    plans: dict[date, _Plan] = {}
    for file in filter(is_dated, active_files(speed).to_pylist()):
        day, segment = file["partition.event_date"], file["partition.segment"]
        plan = plans.setdefault(day, _Plan(coverage(batch, day), [], []))
        if segment <= plan.covered:
            if published[day] < before.timestamp() * 1000:
                plan.dropped.append(file)
        elif segment <= through:
            plan.merged.append(file)
    return plans


def _merged(
    spark: SparkSession, uri: str, speed: DeltaTable, pipeline: Pipeline, rollup: Rollup, plans: dict[date, _Plan]
) -> DataFrame:
    bounds = [(day, plan.covered, plan.through) for day, plan in plans.items() if plan.merged]
    chosen = spark.createDataFrame(bounds, "event_date DATE, _covered BIGINT, _through BIGINT")
    rows = spark.read.format("delta").option("versionAsOf", speed.version()).load(uri)
    # Literal bounds, so that other dates' files are not even opened.
    days = [day for day, _, _ in bounds]
    inside = F.col("event_date").between(min(days), max(days)) if days else F.lit(False)
    rows = rows.where(inside).join(F.broadcast(chosen), "event_date")
    rows = rows.where((F.col("segment") > F.col("_covered")) & (F.col("segment") <= F.col("_through")))
    return merge_partials(rows.withColumn("segment", F.col("_through")), pipeline, rollup, ["segment"])
