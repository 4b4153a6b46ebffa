"""Whether compaction pays, told by a table's own log; and VACUUM, guarded. No Spark, no file of data is opened."""

from datetime import date, timedelta
from typing import NamedTuple

from deltalake import DeltaTable

from tidemark.definition import Pipeline
from tidemark.delta import NOTHING, files_of, open_table
from tidemark.errors import TidemarkError
from tidemark.health import health
from tidemark.settings import Settings
from tidemark.tables import Table, tables_of

TARGET_FILE_BYTES = 128 * 2**20
"""Size that OPTIMIZE aims at; a file is small below three quarters of it."""
MIN_SMALL_FILES = 8
"""Small files that a table must be rid of for a rewrite to pay."""
RETENTION = timedelta(days=7)
"""How long VACUUM keeps what newer versions no longer hold: queries, lagging streams and time travel read it."""


class Smalls(NamedTuple):
    """The small files of a table that OPTIMIZE would merge: of partitions that hold at least two."""

    files: int
    size_bytes: int
    dates: list[date]
    """The partitions' dates, in order; none where the table is not partitioned."""
    merged: int
    """Files that would be gone afterwards."""


class Vacuumed(NamedTuple):
    """What VACUUM removed from a table, and how many files of its log a clean-up removed."""

    table: str
    files_removed: int
    log_files_removed: int


def small_files(
    snapshot: DeltaTable, table: Table, sealed: int = NOTHING, target_bytes: int = TARGET_FILE_BYTES
) -> Smalls:
    """The small files that OPTIMIZE could merge; of a table by segment, those of segments through ``sealed``."""
    by_segment = "segment" in table.partition_by
    day = next((name for name in table.partition_by if name.endswith("_date")), None)
    partitions: dict[tuple[object, ...], list[int]] = {}
    for file in files_of(snapshot).to_pylist():
        if file["size_bytes"] >= 0.75 * target_bytes or (by_segment and file["partition.segment"] > sealed):
            continue
        where = tuple(file[f"partition.{name}"] for name in table.partition_by)
        partitions.setdefault(where, []).append(file["size_bytes"])
    many = {where: sizes for where, sizes in partitions.items() if len(sizes) > 1}
    at = table.partition_by.index(day) if day else 0
    dates = sorted({value for where in many if day and isinstance(value := where[at], date)})
    files, size = sum(map(len, many.values())), sum(map(sum, many.values()))
    after = sum(max(1, sum(sizes) // target_bytes) for sizes in many.values())
    return Smalls(files, size, dates, files - after)


def check_retention(pipeline: Pipeline, settings: Settings, retention: timedelta, grace: timedelta) -> None:
    """Refuse a VACUUM that could take files from those who still read them.

    Raises:
        TidemarkError: the retention is below the grace period, which is longer than the longest query and reprocess, or
            below twice the lag of the refine stream; nothing was removed.
    """
    lag = timedelta(seconds=health(pipeline, settings).lag_seconds)
    for least, why in ((grace, "the grace period of folding"), (2 * lag, f"twice the lag of refine, {lag},")):
        if retention < least:
            raise TidemarkError(
                f"VACUUM of {pipeline.name} would keep files for {retention}, which is less than {why} of {least}: "
                "readers would miss them. Give it a longer --retention"
            )


def vacuum(pipeline: Pipeline, settings: Settings, retention: timedelta, grace: timedelta) -> list[Vacuumed]:
    """Remove the files that no version of the last ``retention`` holds, staged ones too, and old entries of the logs.

    Tables where there is nothing to remove are left alone, and out of the list.

    Raises:
        TidemarkError: see ``check_retention``.
    """
    check_retention(pipeline, settings, retention, grace)
    hours = int(retention.total_seconds() // 3600)
    done = []
    for table in tables_of(pipeline, settings):
        snapshot = open_table(table, settings)
        old = snapshot.vacuum(hours, dry_run=True, enforce_retention_duration=False, full=True)
        if old:
            snapshot.vacuum(hours, dry_run=False, enforce_retention_duration=False, full=True)
        before = _log_files(snapshot)
        snapshot.cleanup_metadata()
        removed = before - _log_files(snapshot)
        if old or removed:
            done.append(Vacuumed(table.name, len(old), removed))
    return done


def _log_files(snapshot: DeltaTable) -> int:
    from deltalake.fs import DeltaStorageHandler
    from pyarrow import fs

    files = fs.PyFileSystem(DeltaStorageHandler.from_table(snapshot._table))
    return len(files.get_file_info(fs.FileSelector("_delta_log")))
