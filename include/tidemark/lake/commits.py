"""Commits to Delta tables that happen at most once: appends with a position, and identifiers without rows.

Delta's transaction identifiers carry the coordinate (SetTransaction of the Delta protocol). delta-rs fails a commit
when a concurrent one wrote the same identifier, which makes every position a compare-and-set: two drivers on one table,
or a seal beside an ingest, cannot both commit from one state. On a local disk and on S3 alike commits are
put-if-absent.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Literal

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from deltalake.exceptions import CommitFailedError
from deltalake.transaction import AddAction, RemoveAction
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from tidemark.core.errors import TableError
from tidemark.lake.files.data_files import partitions_of, write_by_partition
from tidemark.lake.files.durability import sync_commits
from tidemark.lake.snapshots import open_table, position, refuse_deletion_vectors
from tidemark.lake.tables import Table

if TYPE_CHECKING:  # what each Python worker of Spark imports is a part of the start of each query
    from tidemark.core.settings import Settings

retry_conflicts = retry(
    retry=retry_if_exception_type(CommitFailedError),
    stop=stop_after_attempt(30),
    wait=wait_random_exponential(multiplier=0.02, max=1.0),
    reraise=True,
)
"""Runs an optimistic transaction again from a fresh snapshot when another commit won; gives up after 30 attempts."""
_MANY_PARTITIONS = 200
"""Partitions of an append beyond which its files are written one by one, as delta-rs would hold all of them open."""


def transactions(versions: Mapping[str, int]) -> CommitProperties:
    """Commit properties that set transaction identifiers."""
    return CommitProperties(app_transactions=[Transaction(app, version) for app, version in versions.items()])


def set_transactions(snapshot: DeltaTable, versions: Mapping[str, int]) -> None:
    """Set transaction identifiers by a commit without rows, whichever columns table and definition have."""
    snapshot.create_write_transaction(
        [], "append", snapshot.schema(), snapshot.metadata().partition_columns, commit_properties=transactions(versions)
    )


class IdempotentWriter:
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
        others = {field.name for field in self._snapshot.schema().fields} - set(self.table.schema.names)
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
