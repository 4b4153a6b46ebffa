"""Creating tables, and adding to those that exist what a definition has gained."""

from typing import TYPE_CHECKING

import pyarrow as pa
from deltalake import DeltaTable, Field, Schema

from tidemark.core.errors import TableError
from tidemark.lake.commits import retry_conflicts
from tidemark.lake.snapshots import open_table
from tidemark.lake.tables import Table, Tables

if TYPE_CHECKING:  # what each Python worker of Spark imports is a part of the start of each query
    from tidemark.core.settings import Settings

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
            f"the definition does not match the existing tables: {'; '.join(problems)}. Old files cannot be read "
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
    if missing := [field for field in gained if field.name not in held]:
        snapshot.alter.add_columns(missing)


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
