"""Delta tables by delta-rs: creating them, reading positions, and appending exactly once.

Delta's transaction identifiers carry the coordinate (SetTransaction of the Delta protocol). delta-rs fails a commit
when a concurrent one wrote the same identifier, which makes every position a compare-and-set: two drivers on one table,
or a seal beside an ingest, cannot both commit from one state. On a local disk and on S3 alike commits are
put-if-absent.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import CommitProperties, DeltaTable, Field, Schema, Transaction, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.transaction import AddAction, RemoveAction
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from tidemark.core.errors import NoTableError, TableError
from tidemark.lake.data_files import partitions_of, write_by_partition
from tidemark.lake.durability import sync_commits
from tidemark.lake.tables import INGEST_APP, SEALED_APP, SEGMENT_APP, TIMESTAMP, Table, Tables

if TYPE_CHECKING:  # what each Python worker of Spark imports is a part of the start of each query
    from tidemark.core.settings import Settings

NOTHING = -1
"""Position of a table that holds nothing yet, and segment before the first."""

EVOLVED = "tidemark.evolved"
"""Table property: columns came or went since the table was made, so some files lack some."""

_INDEXED_COLUMNS = 32
"""Columns of which Delta's log has statistics unless a table says otherwise: the first."""
_ALL_INDEXED = {"delta.dataSkippingNumIndexedCols": "-1"}
"""For wider tables: the coordinate stands behind the definition's columns, and its bounds are asked for."""
_STATISTICS = "delta.dataSkippingStatsColumns"
_EXACT_DIGITS = 15
"""delta-rs writes the bounds of a DECIMAL as a double, which holds so many digits."""
_CONFIGURATION = {"delta.checkpointInterval": "50", "delta.logRetentionDuration": "interval 7 days"}

retry_conflicts = retry(
    retry=retry_if_exception_type(CommitFailedError),
    stop=stop_after_attempt(30),
    wait=wait_random_exponential(multiplier=0.02, max=1.0),
    reraise=True,
)
"""Runs an optimistic transaction again from a fresh snapshot when another commit won; gives up after 30 attempts."""


def create_tables(tables: Tables, settings: "Settings") -> None:
    """Create the tables that do not exist yet, and add the columns that a definition has gained to those that do.

    A column that the definition has lost stays: its values are kept, and rows written from now on have none.

    Raises:
        TableError: a column has another type in a table than in the definition; nothing was changed.
    """
    found = {table.name: open_table(table, settings) for table in tables if _exists(table, settings)}
    existing = [(table, found[table.name]) for table in tables if table.name in found]
    if problems := [problem for table, snapshot in existing for problem in _conflicts(table, snapshot)]:
        raise TableError(
            f"the definition does not fit the tables that there are: {'; '.join(problems)}. Old files cannot be read "
            "under another type: give the column, or the measure, a new name; a reprocess fills it for old dates"
        )
    for table, snapshot in existing:
        gained = _gained(table, snapshot)
        # Before anything is written, or added: a process that dies in between leaves readers that look for columns by
        # name, which is right for any table, and the next start adds the columns.
        if (gained or _lost(table, snapshot)) and EVOLVED not in snapshot.metadata().configuration:
            _set_properties(table, {EVOLVED: "true"}, settings)
        if gained:
            _add_columns(table, gained, settings)
        wanted = _indexed(table)
        if not wanted.items() <= snapshot.metadata().configuration.items():
            _set_properties(table, wanted, settings)
    for table in tables:
        if table.name in found:
            continue
        DeltaTable.create(
            table.uri,
            table.schema,
            mode="ignore",  # another process may be faster
            partition_by=list(table.partition_by),
            configuration={**_CONFIGURATION, **_indexed(table)},
            storage_options=settings.storage_options or None,
        )


@retry_conflicts
def _add_columns(table: Table, gained: list[Field], settings: "Settings") -> None:
    """Add the columns that another process has not added meanwhile; streams may append beside it."""
    snapshot = open_table(table, settings)
    held = _fields(snapshot.schema())
    if lacking := [field for field in gained if field.name not in held]:
        snapshot.alter.add_columns(lacking)


@retry_conflicts
def _set_properties(table: Table, wanted: dict[str, str], settings: "Settings") -> None:
    """Set the properties that the table has not, or has otherwise; each alteration needs the newest snapshot."""
    snapshot = open_table(table, settings)
    if not wanted.items() <= snapshot.metadata().configuration.items():
        snapshot.alter.set_table_properties(wanted, raise_if_not_exists=False)


def _exists(table: Table, settings: "Settings") -> bool:
    return DeltaTable.is_deltatable(table.uri, settings.storage_options or None)


def _indexed(table: Table) -> dict[str, str]:
    """Properties that say of which columns the log has statistics, where it cannot be Delta's default.

    Statistics are right for every reader or absent: one that is rounded hides rows from who trusts it.
    """
    fields = [field for field in table.schema if field.name not in table.partition_by]
    exact = [field.name for field in fields if _has_exact_bounds(field.type)]
    if len(exact) < len(fields):
        return {_STATISTICS: ",".join(exact)}
    return _ALL_INDEXED if len(table.schema) > _INDEXED_COLUMNS else {}


def _has_exact_bounds(kind: pa.DataType) -> bool:
    return not pa.types.is_decimal(kind) or kind.precision <= _EXACT_DIGITS


def _fields(schema: Schema) -> dict[str, Field]:
    return {field.name: field for field in schema.fields}


def _gained(table: Table, snapshot: DeltaTable) -> list[Field]:
    held = _fields(snapshot.schema())
    wanted = _fields(Schema.from_arrow(table.schema))
    return [Field(name, field.type, nullable=True) for name, field in wanted.items() if name not in held]


def _lost(table: Table, snapshot: DeltaTable) -> set[str]:
    """The columns of which rows written from now on have no value: files of Spark lack them."""
    return _fields(snapshot.schema()).keys() - set(table.schema.names)


def mismatched(table: Table, snapshot: DeltaTable) -> dict[str, tuple[str, str]]:
    """Columns that a table has under another type than the definition: the type there, and the definition's."""
    held, wanted = _fields(snapshot.schema()), _fields(Schema.from_arrow(table.schema))
    types = {name: (held[name].type, field.type) for name, field in wanted.items() if name in held}
    return {name: (str(there), str(here)) for name, (there, here) in types.items() if there != here}


def _conflicts(table: Table, snapshot: DeltaTable) -> list[str]:
    problems = [
        f"{table.name}.{name} is {held} there, and {wanted} in the definition"
        for name, (held, wanted) in mismatched(table, snapshot).items()
    ]
    if tuple(snapshot.metadata().partition_columns) != table.partition_by:
        problems.append(f"{table.name} is partitioned by {snapshot.metadata().partition_columns}")
    return problems


def open_table(table: Table, settings: "Settings") -> DeltaTable:
    """The newest snapshot of a table.

    Raises:
        TableError: there is no such table yet (NoTableError), its log cannot be read, or it has deletion vectors; the
            message says what to do.
    """
    return open_uri(table.uri, settings.storage_options)


def open_uri(uri: str, storage_options: Mapping[str, str], version: int | None = None) -> DeltaTable:
    """A snapshot of the table at a place, the newest one unless stated; raises TableError as ``open_table`` does."""
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


_MANY_PARTITIONS = 200
"""Partitions of an append beyond which its files are written one by one, as delta-rs would hold all of them open."""
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


def files_of(snapshot: DeltaTable) -> pa.Table:
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
    """Whether a file of ``files_of``, of a table by event date, has a date that can be an event's."""
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


def transactions(versions: Mapping[str, int]) -> CommitProperties:
    """Commit properties that set transaction identifiers."""
    return CommitProperties(app_transactions=[Transaction(app, version) for app, version in versions.items()])


def mark(snapshot: DeltaTable, versions: Mapping[str, int]) -> None:
    """Set transaction identifiers by a commit without rows, whichever columns table and definition have."""
    snapshot.create_write_transaction(
        [], "append", snapshot.schema(), snapshot.metadata().partition_columns, commit_properties=transactions(versions)
    )


class OnceWriter:
    """Appends to one table so that each position is committed at most once, by one writer at a time.

    On a local disk an append is durable when it returns, and so is every commit that it follows (``sync_commits``).
    The snapshot is kept between appends, because to open a table costs more than to commit to it.
    """

    def __init__(self, table: Table, settings: "Settings") -> None:
        if table.app_id is None:
            raise TableError(f"{table.name} has no position: it is not appended to")
        self.table = table
        self.app_id: str = table.app_id
        self._snapshot = open_table(table, settings)

    def position(self) -> int:
        """The highest position that the newest snapshot contains."""
        return self.position_of(self.app_id)

    def position_of(self, app_id: str) -> int:
        """The version that the newest snapshot states for an application, or ``NOTHING``."""
        self._snapshot.update_incremental()
        return position(self._snapshot, app_id)

    def append(self, rows: pa.Table, new_position: int) -> bool:
        """Append rows and move the position to ``new_position`` in one commit; False if it was there already."""
        return self.append_stamped(lambda _: (rows, {self.app_id: new_position}), self.app_id, new_position)

    @retry_conflicts
    def append_stamped(
        self, stamp: Callable[[DeltaTable], tuple[pa.Table, Mapping[str, int]]], app_id: str, version: int
    ) -> bool:
        """Append what ``stamp`` makes of the newest snapshot, again from a fresh one whenever another commit won.

        False, and nothing is written, where ``app_id`` has come to ``version`` already.
        """
        self._snapshot.update_incremental()
        refuse_deletion_vectors(self._snapshot)
        if position(self._snapshot, app_id) >= version:
            return False
        rows, versions = stamp(self._snapshot)
        # Columns that the definition has lost, or that a newer one has added while this process runs: delta-rs adds
        # their nulls only if it is told to.
        others = set(_fields(self._snapshot.schema())) - set(self.table.schema.names)
        schema_mode: Literal["merge"] | None = "merge" if others else None
        before = self._snapshot.version()
        rows = rows.select(self.table.schema.names).cast(self.table.schema)
        if partitions_of(rows, self.table) > _MANY_PARTITIONS:
            adds: list[AddAction | RemoveAction] = [
                file.add() for file in write_by_partition(self._snapshot, self.table, rows)
            ]
            self._snapshot.create_write_transaction(
                adds,
                "append",
                self._snapshot.schema(),
                list(self.table.partition_by),
                commit_properties=transactions(versions),
            )
        else:
            write_deltalake(
                self._snapshot,
                rows,
                mode="append",
                schema_mode=schema_mode,
                commit_properties=transactions(versions),
            )
        # The caller acknowledges the position to somebody who forgets what lies before it.
        self._snapshot.update_incremental()
        sync_commits(self._snapshot, self.table.uri, before)
        return True


class Sealed(NamedTuple):
    """The highest sealed segment, and the last ingest_batch in it; both ``NOTHING`` in a log without rows."""

    segment: int
    through: int


@retry_conflicts
def seal(tables: Tables, settings: "Settings", *, leave_out: bool = False) -> Sealed:
    """Seal the open segment, if it holds rows, and return what is sealed now.

    ``leave_out``: seal one more number after it, which no row will ever have. What is covered through that one was
    sealed later than anything that was sealed before.

    The commit carries the ingest stream's transaction identifier too, so that a concurrent micro-batch conflicts with
    it, and is stamped with the next segment: no row ever enters a sealed segment.
    """
    bronze = open_table(tables.bronze, settings)
    sealed, newest = position(bronze, SEALED_APP), position(bronze, SEGMENT_APP)
    # Of the snapshot that is sealed, and not of a later one: the next micro-batch belongs to the next segment.
    through = position(bronze, INGEST_APP)
    segment = max(sealed, newest) + (1 if leave_out else 0)
    if segment <= sealed or through == NOTHING:
        return Sealed(sealed, through)
    mark(bronze, {INGEST_APP: through, SEALED_APP: segment})
    return Sealed(segment, through)
