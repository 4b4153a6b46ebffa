"""Compaction: OPTIMIZE of what the streams no longer write to, where the tables' own logs say that it pays.

By delta-rs, so that its commits are put-if-absent wherever the others are, S3 included (ADR 9).
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any, NamedTuple

from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError, DeltaError
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from tidemark.core.settings import Settings
from tidemark.definition import Pipeline
from tidemark.lake.commits import retry_conflicts, set_transactions
from tidemark.lake.log import ended_segment
from tidemark.lake.maintenance import MIN_SMALL_FILES
from tidemark.lake.snapshots import active_files, is_dated, open_table, position
from tidemark.lake.tables import Table, tables_of
from tidemark.lake.transaction_ids import REFINE_APP, clustered_app

_MIB = 2**20
_SMALL = 0.75
"""A file is small below this share of the size that is aimed at."""
_COMMIT_SECONDS = 1
"""Files that were merged are committed so often: a commit that loses, loses no more than that work."""
_SORT_BYTES = max(256, 64 * (os.cpu_count() or 1)) * _MIB
"""Memory of a sort before it spills; delta-rs shares it between as many tasks as there are cores."""

_again = retry(
    retry=retry_if_exception_type(CommitFailedError),
    stop=stop_after_attempt(5),
    wait=wait_random_exponential(multiplier=0.2, max=5.0),
    reraise=True,
)
"""delta-rs takes OPTIMIZE to have read the whole table: a commit that removes any file of it, such as a reprocess of
another date, makes it begin again, with what is left to do."""

Partition = tuple[object, ...]
"""Values of a table's partition columns."""


class Smalls(NamedTuple):
    """The small files of a table that OPTIMIZE could merge: of partitions that hold at least two."""

    files: int
    size_bytes: int
    partitions: list[Partition]
    """Where they are."""
    merged: int
    """Files that would be gone afterwards, at most: only neighbours in the log are merged."""


class Large(NamedTuple):
    """A partition of several files, more than the size that is aimed at, which are in no order yet."""

    day: date
    segment: int


@dataclass
class Compacted:
    """What OPTIMIZE did to one table, or why it was left alone: it has few small files, and nothing to cluster."""

    table: str
    files_before: int
    small_files: int
    small_bytes: int
    files_removed: int = 0
    files_added: int = 0
    clustered: int = 0
    """Partitions that were laid out along the curve of the definition's ``cluster_by``."""
    files_after: int = 0
    left: str = ""
    """Why some of it was left to the next time."""
    failed: bool = False
    """Whether that is no other commit's doing."""


def compact(
    pipeline: Pipeline,
    settings: Settings,
    *,
    min_files: int = MIN_SMALL_FILES,
    say: Callable[[str], None] = lambda _: None,
) -> list[Compacted]:
    """Merge the small files of each table that it rids of at least ``min_files``, and cluster large partitions once.

    Rows stay as they are. Only partitions with several small files are read, and only segments of tables by segment
    that are sealed and that refine has passed. Appends never conflict with OPTIMIZE; what other commits keep it from,
    five times over, is left to the next time, as is what fails. One row a table, also for those that were left alone.
    """
    tables = tables_of(pipeline, settings)
    bronze, silver = open_table(tables.bronze, settings), open_table(tables.silver, settings)
    ended = ended_segment(bronze, position(silver, REFINE_APP))
    target = pipeline.target_file_mb * _MIB
    done = []
    for table in tables:
        snapshot = open_table(table, settings)
        found = small_files(snapshot, table, ended, target)
        row = Compacted(table.name, len(snapshot.file_uris()), found.files, found.size_bytes)
        large = large_partitions(snapshot, table, ended, target)
        if not large and found.merged < min_files:
            row.files_after = row.files_before
            done.append(row)
            continue
        try:
            for metrics in _optimize(table, large, settings, ended, target, min_files):
                row.files_removed += metrics["numFilesRemoved"]
                row.files_added += metrics["numFilesAdded"]
                row.clustered += metrics["plannerStrategy"] == "zOrder"
                say(f"{table.name}: {row.files_removed:,} files became {row.files_added:,}")
        except CommitFailedError as error:
            row.left = f"other commits came first five times: {error}"
        except DeltaError as error:
            row.left, row.failed = str(error), True
        row.files_after = len(open_table(table, settings).file_uris())
        done.append(row)
    return done


def small_files(snapshot: DeltaTable, table: Table, ended: int, target_bytes: int) -> Smalls:
    """The small files that OPTIMIZE could merge; of a table by segment, those of segments through ``ended``."""
    many = {}
    for where, sizes in _sizes(snapshot, table, ended).items():
        small = [size for size in sizes if size < _SMALL * target_bytes]
        large = _large(table, where, sizes, target_bytes)
        if len(small) > 1 and not (large and _is_clustered(snapshot, large)):
            many[where] = small
    files, size = sum(map(len, many.values())), sum(map(sum, many.values()))
    after = sum(-(-sum(sizes) // target_bytes) for sizes in many.values())
    return Smalls(files, size, list(many), files - after)


def large_partitions(snapshot: DeltaTable, table: Table, ended: int, target_bytes: int) -> list[Large]:
    """The partitions that it pays to cluster: too large for one file, and not clustered since they were complete.

    Rows come to a segment that refine has passed by a reprocess only, so each of its partitions is clustered once. In
    order of segments; none of a table without ``cluster_by``.
    """
    if not table.cluster_by:
        return []
    found = []
    for where, sizes in _sizes(snapshot, table, ended).items():
        large = _large(table, where, sizes, target_bytes)
        if large and len(sizes) > 1 and not _is_clustered(snapshot, large):
            found.append(large)
    return sorted(found, key=lambda partition: partition.segment)


def _large(table: Table, where: Partition, sizes: list[int], target_bytes: int) -> Large | None:
    """The partition, if it is too large for one file, and of a table with ``cluster_by``."""
    if not table.cluster_by or sum(sizes) <= target_bytes:
        return None
    day, segment = where
    return Large(day, segment) if isinstance(day, date) and isinstance(segment, int) else None


def _is_clustered(snapshot: DeltaTable, partition: Large) -> bool:
    return partition.segment <= position(snapshot, clustered_app(partition.day))


def _sizes(snapshot: DeltaTable, table: Table, ended: int) -> dict[Partition, list[int]]:
    """By partition, the bytes of each of its files; of a table by segment, of segments through ``ended``."""
    by_segment, by_date = ("segment" in table.partition_by), ("event_date" in table.partition_by)
    partitions: dict[Partition, list[int]] = {}
    for file in active_files(snapshot).to_pylist():
        if by_date and not is_dated(file):
            continue  # beyond the years that a filter can name
        if not by_segment or file["partition.segment"] <= ended:
            where = tuple(file[f"partition.{name}"] for name in table.partition_by)
            partitions.setdefault(where, []).append(file["size_bytes"])
    return partitions


def _optimize(
    table: Table, large: list[Large], settings: Settings, ended: int, target_bytes: int, min_files: int
) -> Iterator[dict[str, Any]]:
    """Cluster, then merge what is small by then; yields what each OPTIMIZE did."""
    for partition in large:
        yield _cluster(table, partition, settings, target_bytes)
        # A commit of its own, as delta-rs' OPTIMIZE carries no transactions: who dies in between clusters once more.
        _mark_clustered(table, partition, settings)
    found = small_files(open_table(table, settings), table, ended, target_bytes)
    if found.merged >= min_files:
        yield _merge(table, found, settings, target_bytes)


@_again
def _cluster(table: Table, partition: Large, settings: Settings, target_bytes: int) -> dict[str, Any]:
    snapshot = open_table(table, settings)
    held = {field.name for field in snapshot.schema().fields}
    return snapshot.optimize.z_order(
        [name for name in table.cluster_by if name in held],  # the table gains columns when the streams next start
        partition_filters=[("event_date", "=", str(partition.day)), ("segment", "=", str(partition.segment))],
        target_size=target_bytes,
        max_concurrent_tasks=1,
        max_spill_size=_SORT_BYTES,
    )


@retry_conflicts
def _mark_clustered(table: Table, partition: Large, settings: Settings) -> None:
    set_transactions(open_table(table, settings), {clustered_app(partition.day): partition.segment})


@_again
def _merge(table: Table, found: Smalls, settings: Settings, target_bytes: int) -> dict[str, Any]:
    filters = [
        (name, "in", sorted({str(where[at]) for where in found.partitions}))
        for at, name in enumerate(table.partition_by)
    ]
    return open_table(table, settings).optimize.compact(
        partition_filters=filters or None,
        target_size=target_bytes,
        max_concurrent_tasks=1,
        max_spill_size=_SORT_BYTES,
        min_commit_interval=_COMMIT_SECONDS,
    )
