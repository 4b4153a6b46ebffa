"""VACUUM, guarded: what no reader can ask for any more is removed. No Spark, no file of data is opened."""

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from deltalake import DeltaTable

from tidemark.core.errors import TidemarkError
from tidemark.core.settings import Settings
from tidemark.definition import Pipeline
from tidemark.lake.log import refined_through
from tidemark.lake.snapshots import open_table
from tidemark.lake.tables import tables_of


class Vacuumed(NamedTuple):
    """What VACUUM removed from a table, and how many files of its log a clean-up removed."""

    table: str
    files_removed: int
    log_files_removed: int


def check_retention(pipeline: Pipeline, settings: Settings, retention: timedelta, grace: timedelta) -> None:
    """Refuse a VACUUM that could take files from those who still read them.

    Raises:
        TidemarkError: the retention is below the grace period, which is longer than the longest query and reprocess, or
            below twice the lag of the refine stream, or below an hour; nothing was removed.
    """
    if retention < timedelta(hours=1):
        raise TidemarkError(
            f"VACUUM of {pipeline.name} would keep files for {retention}: less than an hour "
            "would take the files that a running reprocess has just staged. Give it a --retention of an hour or more"
        )
    tables = tables_of(pipeline, settings)
    lag = refined_through(open_table(tables.bronze, settings), tables, settings, datetime.now(UTC)).lag
    for least, why in ((grace, "the grace period of folding"), (2 * lag, f"twice the lag of refine, {lag},")):
        if retention < least:
            raise TidemarkError(
                f"VACUUM of {pipeline.name} would keep files for {retention}, which is less than {why} of {least}: "
                "readers would miss them. Give it a longer --retention"
            )


def vacuum(pipeline: Pipeline, settings: Settings, retention: timedelta, grace: timedelta) -> list[Vacuumed]:
    """Remove the files that no version of the last ``retention`` holds, staged ones too, and old entries of the logs.

    The retention is rounded up to whole hours. Tables where there is nothing to remove are left out of the list.

    Raises:
        TidemarkError: see ``check_retention``.
    """
    check_retention(pipeline, settings, retention, grace)
    hours = -(-retention // timedelta(hours=1))
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
