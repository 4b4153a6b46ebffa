"""Snapshots of Delta tables: opening them, and what their logs state of files and positions, by delta-rs."""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError

from tidemark.core.errors import NoTableError, TableError
from tidemark.lake.tables import TIMESTAMP, Table

if TYPE_CHECKING:  # what each Python worker of Spark imports is a part of the start of each query
    from tidemark.core.settings import Settings

NOTHING = -1
"""Position of a table that holds nothing yet, and segment before the first."""


def open_table(table: Table, settings: "Settings") -> DeltaTable:
    """The newest snapshot of a table.

    Raises:
        TableError: there is no such table yet (NoTableError), its log cannot be read, or it has deletion vectors; the
            message says what to do.
    """
    return open_uri(table.uri, settings.storage_options)


def open_uri(uri: str, storage_options: Mapping[str, str], version: int | None = None) -> DeltaTable:
    """A snapshot of the table at a place, by default the newest one; raises TableError as ``open_table`` does."""
    try:
        snapshot = DeltaTable(uri, version=version, storage_options=dict(storage_options) or None)
    except TableNotFoundError as error:
        raise NoTableError(
            f"there is no table at {uri}: run `tidemark init` or start the pipeline's streams"
        ) from error
    except (DeltaError, ValueError) as error:
        raise TableError(
            f"the log of the table at {uri} cannot be read: {' '.join(str(error).split())[:300]}. If the error is "
            "about a checkpoint (*.checkpoint.parquet), and the commits from version 0 or from an earlier checkpoint "
            "on are there: remove the damaged checkpoint and _last_checkpoint from _delta_log, which loses "
            "nothing, as the commits hold it all. Otherwise restore the folder _delta_log from a backup"
        ) from error
    refuse_deletion_vectors(snapshot)
    return snapshot


def refuse_deletion_vectors(snapshot: DeltaTable) -> None:
    """Raise TableError for a table with deletion vectors: who reads its files would show rows that were deleted."""
    if "deletionVectors" in (snapshot.protocol().reader_features or ()):
        uri = snapshot.table_uri
        raise TableError(
            f"the table at {uri} has deletion vectors, which were enabled outside of Tidemark: rows that somebody "
            "deleted would be shown. Take them out in Spark: ALTER TABLE delta.`<place>` SET TBLPROPERTIES "
            "('delta.enableDeletionVectors' = 'false'); REORG TABLE delta.`<place>` APPLY (PURGE); "
            "ALTER TABLE delta.`<place>` DROP FEATURE deletionVectors"
        )


_BOUNDS = ("min.", "max.")
_FIRST_AND_LAST: dict[pa.DataType, tuple[date, date]] = {
    pa.date32(): (date.min, date.max),
    TIMESTAMP: (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)),
}
_STATED: dict[str, pa.DataType] = {
    "min.ingest_batch": pa.int64(),
    "max.ingest_batch": pa.int64(),
    "max.ingest_batch_bytes": pa.int64(),
    "min.segment": pa.int64(),
    "max.segment": pa.int64(),
    "min.ingest_time": TIMESTAMP,
    "max.ingest_time": TIMESTAMP,
    "max.covered_segment": pa.int64(),
    "max.max_event_time": TIMESTAMP,
    "partition.event_date": pa.date32(),
    "partition.segment": pa.int64(),
}


def active_files(snapshot: DeltaTable) -> pa.Table:
    """A snapshot's files as its log states them: add actions, with bounds of the coordinate and partition values.

    What the log does not state is null: a table without rows, or of other partitions, has no such columns. Null is also
    a date or a time that Python cannot hold, beyond the years 1 to 9999. Tables of before the parser refused them may
    have such event dates: a file without an event date in a table by event date is of one (``is_dated``).
    """
    files = pa.table(snapshot.get_add_actions(flatten=True))
    # Bounds of the definition's own columns may be anything, and nobody asks for them.
    files = files.select([name for name in files.column_names if name in _STATED or not name.startswith(_BOUNDS)])
    for name, kind in _STATED.items():
        if name not in files.column_names:
            files = files.append_column(name, pa.nulls(files.num_rows, kind))
        elif pa.types.is_temporal(kind):
            at = files.column_names.index(name)
            files = files.set_column(at, name, _holdable(files[name].cast(kind)))
    return files


def is_dated(file: Mapping[str, Any]) -> bool:
    """Whether a file of ``active_files``, of a table by event date, has a date that can be an event's."""
    return file["partition.event_date"] is not None


def _holdable(values: pa.ChunkedArray) -> pa.ChunkedArray:
    # Scalars are made here, not when this is imported: to make the first one, PyArrow imports pandas.
    first, last = (pa.scalar(value, values.type) for value in _FIRST_AND_LAST[values.type])
    inside = pc.and_(pc.greater_equal(values, first), pc.less_equal(values, last))
    return pc.if_else(inside, values, pa.scalar(None, values.type))


def position(snapshot: DeltaTable, app_id: str) -> int:
    """The version that a snapshot's log states for an application, or ``NOTHING``."""
    version = snapshot.transaction_version(app_id)
    return NOTHING if version is None else int(version)
