"""Compaction: OPTIMIZE of what the streams no longer write to."""

from typing import NamedTuple

from delta.exceptions import DeltaConcurrentModificationException
from delta.tables import DeltaOptimizeBuilder
from delta.tables import DeltaTable as SparkDeltaTable
from pyspark.sql import Row, SparkSession
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from tidemark.definition import Pipeline
from tidemark.delta import NOTHING, open_table, position
from tidemark.settings import Settings
from tidemark.tables import SEALED_APP, tables_of


class Compacted(NamedTuple):
    """What OPTIMIZE did to one table."""

    table: str
    files_before: int
    files_after: int
    files_removed: int
    files_added: int


def compact(spark: SparkSession, pipeline: Pipeline, settings: Settings, *, min_files: int = 8) -> list[Compacted]:
    """Compact each table that has at least ``min_files`` files; rows stay as they are.

    Tables by segment are compacted in sealed segments only. Bronze is append-only and has one writer, and appends never
    conflict with OPTIMIZE.
    """
    tables = tables_of(pipeline, settings)
    sealed = position(open_table(tables.bronze, settings), SEALED_APP)
    done = []
    for table in tables:
        before = len(open_table(table, settings).file_uris())
        by_segment = "segment" in table.partition_by
        if before < min_files or (by_segment and sealed == NOTHING):
            continue
        builder = SparkDeltaTable.forPath(spark, table.uri).optimize()
        metrics = _run(builder.where(f"segment <= {sealed}") if by_segment else builder)
        after = len(open_table(table, settings).file_uris())
        done.append(Compacted(table.name, before, after, metrics["numFilesRemoved"], metrics["numFilesAdded"]))
    return done


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
