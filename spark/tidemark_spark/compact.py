"""Compaction: OPTIMIZE of what the streams no longer write to, where the tables' own logs say that it pays."""

from typing import NamedTuple

from delta.exceptions import DeltaConcurrentModificationException
from delta.tables import DeltaOptimizeBuilder
from delta.tables import DeltaTable as SparkDeltaTable
from pyspark.sql import Row, SparkSession
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from tidemark.compaction import MIN_SMALL_FILES, TARGET_FILE_BYTES, Smalls, small_files
from tidemark.definition import Pipeline
from tidemark.delta import open_table, position
from tidemark.settings import Settings
from tidemark.tables import SEALED_APP, Table, tables_of

_TARGET_SETTING = "spark.databricks.delta.optimize.maxFileSize"


class Compacted(NamedTuple):
    """What OPTIMIZE did to one table, or why it was left alone: it has few small files."""

    table: str
    files_before: int
    small_files: int
    small_bytes: int
    files_removed: int
    files_added: int
    files_after: int


def compact(
    spark: SparkSession,
    pipeline: Pipeline,
    settings: Settings,
    *,
    min_files: int = MIN_SMALL_FILES,
    target_bytes: int = TARGET_FILE_BYTES,
) -> list[Compacted]:
    """Rewrite the small files of each table that it rids of at least ``min_files``; rows stay as they are.

    Only the partitions' dates that have several small files are read. Tables by segment are compacted in sealed
    segments only. Bronze is append-only and has one writer, and appends never conflict with OPTIMIZE. One row a table,
    also for those that were left alone.
    """
    tables = tables_of(pipeline, settings)
    sealed = position(open_table(tables.bronze, settings), SEALED_APP)
    spark.conf.set(_TARGET_SETTING, str(target_bytes))
    done = []
    for table in tables:
        snapshot = open_table(table, settings)
        before = len(snapshot.file_uris())
        found = small_files(snapshot, table, sealed, target_bytes)
        if found.merged < min_files:
            done.append(Compacted(table.name, before, found.files, found.size_bytes, 0, 0, before))
            continue
        metrics = _run(_chosen(SparkDeltaTable.forPath(spark, table.uri).optimize(), table, found, sealed))
        after = len(open_table(table, settings).file_uris())
        removed, added = metrics["numFilesRemoved"], metrics["numFilesAdded"]
        done.append(Compacted(table.name, before, found.files, found.size_bytes, removed, added, after))
    return done


def _chosen(builder: DeltaOptimizeBuilder, table: Table, found: Smalls, sealed: int) -> DeltaOptimizeBuilder:
    conditions = []
    if found.dates:
        day = next(name for name in table.partition_by if name.endswith("_date"))
        conditions.append(f"{day} IN ({', '.join(f'DATE {str(date)!r}' for date in found.dates)})")
    if "segment" in table.partition_by:
        conditions.append(f"segment <= {sealed}")
    return builder.where(" AND ".join(conditions)) if conditions else builder


@retry(
    retry=retry_if_exception_type(DeltaConcurrentModificationException),
    stop=stop_after_attempt(5),
    wait=wait_random_exponential(multiplier=0.2, max=5.0),
    reraise=True,
)
def _run(builder: DeltaOptimizeBuilder) -> Row:
    # A reprocess or a folding may replace files that OPTIMIZE is about to: what is left is compacted from there.
    done = builder.executeCompaction().first()
    assert done is not None
    metrics: Row = done["metrics"]
    return metrics
