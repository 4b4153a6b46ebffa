"""Compaction: OPTIMIZE of what the streams no longer write to, where the tables' own logs say that it pays.

By delta-rs, so that its commits are put-if-absent wherever the others are, S3 included (ADR 0010).
"""

from collections.abc import Callable, Iterable
from datetime import date
from typing import Any, NamedTuple

from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import CommitFailedError
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from tidemark.definition import Pipeline
from tidemark.delta import files_of, open_table, position, transactions
from tidemark.publish import clustered_app
from tidemark.settings import Settings
from tidemark.tables import SEALED_APP, Table, tables_of

MIN_SMALL_FILES = 8
"""Small files that a table must be rid of for a rewrite to pay."""
_MIB = 2**20
_SMALL = 0.75
"""A file is small below this share of the size that is aimed at."""
_SPILL_BYTES = 2**30

_again = retry(
    retry=retry_if_exception_type(CommitFailedError),
    stop=stop_after_attempt(5),
    wait=wait_random_exponential(multiplier=0.2, max=5.0),
    reraise=True,
)
"""A reprocess or a folding may replace files that OPTIMIZE is about to: it begins again, with those that are left."""


class Smalls(NamedTuple):
    """The small files of a table that OPTIMIZE would merge: of partitions that hold at least two."""

    files: int
    size_bytes: int
    partitions: list[tuple[object, ...]]
    """Where they are, as values of the table's partition columns."""
    merged: int
    """Files that would be gone afterwards, at most."""


class Large(NamedTuple):
    """A partition of several files, more than the size that is aimed at, which are in no order yet."""

    day: date
    segment: int


class Compacted(NamedTuple):
    """What OPTIMIZE did to one table, or why it was left alone: it has few small files, and nothing to cluster."""

    table: str
    files_before: int
    small_files: int
    small_bytes: int
    files_removed: int
    files_added: int
    clustered: int
    """Partitions that were laid out along the curve of the definition's ``cluster_by``."""
    files_after: int


def compact(
    pipeline: Pipeline,
    settings: Settings,
    *,
    min_files: int = MIN_SMALL_FILES,
    say: Callable[[str], None] = lambda _: None,
) -> list[Compacted]:
    """Merge the small files of each table that it rids of at least ``min_files``, and cluster large partitions once.

    Rows stay as they are. Only partitions with several small files are read, and only in
    sealed segments of tables by segment. Bronze is append-only and has one writer, and appends never conflict with
    OPTIMIZE. One row a table, also for those that were left alone.

    Raises:
        CommitFailedError: other commits replaced the same files five times over; what is merged by then stays.
    """
    tables = tables_of(pipeline, settings)
    sealed = position(open_table(tables.bronze, settings), SEALED_APP)
    target = pipeline.target_file_mb * _MIB
    done = []
    for table in tables:
        snapshot = open_table(table, settings)
        before = len(snapshot.file_uris())
        removed, added = 0, 0
        large = large_partitions(snapshot, table, sealed, target)
        for number, partition in enumerate(large, 1):
            metrics = _cluster(table, partition, settings, target)
            say(f"{table.name}: clustered {partition.day}, {number} of {len(large)}")
            removed, added = removed + metrics["numFilesRemoved"], added + metrics["numFilesAdded"]
        found = small_files(snapshot, table, sealed, target, without=large)
        if found.merged >= min_files:
            metrics = _merge(table, found, settings, target)
            say(f"{table.name}: merged {found.files:,} small files of {len(found.partitions):,} partitions")
            removed, added = removed + metrics["numFilesRemoved"], added + metrics["numFilesAdded"]
        after = len(open_table(table, settings).file_uris())
        done.append(Compacted(table.name, before, found.files, found.size_bytes, removed, added, len(large), after))
    return done


def small_files(
    snapshot: DeltaTable, table: Table, sealed: int, target_bytes: int, without: Iterable[Large] = ()
) -> Smalls:
    """The small files that OPTIMIZE could merge; of a table by segment, those of segments through ``sealed``.

    ``without``: leave out these partitions.
    """
    left_out = {tuple(partition) for partition in without}
    partitions = {
        where: [size for size in sizes if size < _SMALL * target_bytes]
        for where, sizes in _sizes(snapshot, table, sealed).items()
        if where not in left_out
    }
    many = {where: sizes for where, sizes in partitions.items() if len(sizes) > 1}
    files, size = sum(map(len, many.values())), sum(map(sum, many.values()))
    after = sum(-(-sum(sizes) // target_bytes) for sizes in many.values())
    return Smalls(files, size, list(many), files - after)


def large_partitions(snapshot: DeltaTable, table: Table, sealed: int, target_bytes: int) -> list[Large]:
    """The partitions that it pays to cluster: too large for one file, and not clustered since they were sealed.

    Rows come to a sealed segment by a reprocess only, so each of its partitions is clustered once. In order of
    segments; none of a table without ``cluster_by``.
    """
    if not table.cluster_by:
        return []
    found = []
    for where, sizes in _sizes(snapshot, table, sealed).items():
        day, segment = where
        assert isinstance(day, date)
        assert isinstance(segment, int)
        if len(sizes) > 1 and sum(sizes) > target_bytes and segment > position(snapshot, clustered_app(day)):
            found.append(Large(day, segment))
    return sorted(found, key=lambda partition: partition.segment)


def _sizes(snapshot: DeltaTable, table: Table, sealed: int) -> dict[tuple[object, ...], list[int]]:
    """By partition, the bytes of each of its files; of sealed segments only."""
    by_segment = "segment" in table.partition_by
    partitions: dict[tuple[object, ...], list[int]] = {}
    for file in files_of(snapshot).to_pylist():
        if not by_segment or file["partition.segment"] <= sealed:
            where = tuple(file[f"partition.{name}"] for name in table.partition_by)
            partitions.setdefault(where, []).append(file["size_bytes"])
    return partitions


@_again
def _cluster(table: Table, partition: Large, settings: Settings, target_bytes: int) -> dict[str, Any]:
    snapshot = open_table(table, settings)
    metrics = snapshot.optimize.z_order(
        table.cluster_by,
        partition_filters=[("event_date", "=", str(partition.day)), ("segment", "=", str(partition.segment))],
        target_size=target_bytes,
        max_spill_size=_SPILL_BYTES,
    )
    # A commit of its own, as delta-rs' OPTIMIZE carries no transactions: who dies in between clusters once more.
    marked = transactions({clustered_app(partition.day): partition.segment})
    write_deltalake(snapshot, table.schema.empty_table(), mode="append", commit_properties=marked)
    return metrics


@_again
def _merge(table: Table, found: Smalls, settings: Settings, target_bytes: int) -> dict[str, Any]:
    filters = [
        (name, "in", sorted({str(where[at]) for where in found.partitions}))
        for at, name in enumerate(table.partition_by)
    ]
    return open_table(table, settings).optimize.compact(
        partition_filters=filters or None, target_size=target_bytes, max_spill_size=_SPILL_BYTES
    )
