"""Staged files: written below a table's folder without a commit, so that no reader sees them."""

import pyarrow.fs as pa_fs
import pyarrow.parquet as pq
from deltalake.fs import DeltaStorageHandler

from tidemark.core.settings import Settings
from tidemark.lake.files.data_files import StagedFile, file_system, statistics_of
from tidemark.lake.snapshots import open_table
from tidemark.lake.tables import Table

STAGED_FOLDER = "staged"
"""Folder of staged files below a table's own. The name is not hidden, so VACUUM removes what was never published."""


def staged_files(table: Table, folder: str, settings: Settings) -> list[StagedFile]:
    """The files that a job wrote to ``folder`` (relative to the table), with the statistics of their footers.

    What lies in hidden folders, such as ``_temporary``, is of attempts that were not committed.
    """
    snapshot = open_table(table, settings)
    files = file_system(snapshot)
    found = files.get_file_info(pa_fs.FileSelector(folder, recursive=True, allow_not_found=True))
    staged = []
    for info in found:
        inside = info.path.removeprefix(f"{folder}/").split("/")
        if (
            not info.is_file
            or any(part.startswith(("_", ".")) for part in inside)
            or not inside[-1].endswith(".parquet")
        ):
            continue
        with files.open_input_file(info.path) as handle:
            footer = pq.read_metadata(handle)
        if footer.num_rows:
            partition = dict(part.split("=", 1) for part in info.path.split("/") if "=" in part)
            staged.append(StagedFile(info.path, info.size, footer.num_rows, partition, statistics_of(footer)))
    return staged


def discard(table: Table, folder: str, settings: Settings) -> None:
    """Remove a folder of staged files that will not be published."""
    handler = DeltaStorageHandler.from_table(open_table(table, settings)._table)
    handler.delete_dir(folder)
