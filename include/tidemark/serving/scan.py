"""Snapshots of Delta tables as views of DuckDB.

Which files a snapshot holds is read from its log; on a local disk DuckDB then reads them itself, many times faster than
through Arrow's datasets, which open file by file. On object stores, which DuckDB reaches only with an extension that it
would have to download, Arrow's datasets do it.
"""

from collections.abc import Collection
from functools import reduce
from operator import and_
from urllib.parse import unquote

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.fs as pa_fs
from deltalake import DeltaTable
from deltalake.fs import DeltaStorageHandler

from tidemark.lake.evolution import EVOLVED
from tidemark.lake.snapshots import active_files

_GLOB = frozenset("*?[]{}")


def create_view(connection: duckdb.DuckDBPyConnection, name: str, table: DeltaTable) -> None:
    """Make ``name``, which may be ``schema.view``, a view of a snapshot."""
    connection.execute(f"CREATE VIEW {quoted(name)} AS {relation(connection, name, table)}")


def quoted(name: str) -> str:
    """A name, or a dotted one, as SQL takes it also where a part is a keyword; names are checked identifiers."""
    return ".".join(f'"{part}"' for part in name.split("."))


def relation(
    connection: duckdb.DuckDBPyConnection, name: str, table: DeltaTable, files: Collection[str] | None = None
) -> str:
    """A SELECT of a snapshot, or of some of its files (paths as in its add actions).

    Files of an event date beyond the years 1 to 9999 are left out: neither DuckDB nor Arrow's datasets can read them,
    and what they hold is not an event any more.
    What it may need beside them is registered with the connection, under a name derived from ``name``.
    """
    schema = pa.schema(table.schema().to_arrow())
    source = f"_{name}_source"
    # URIs are percent-encoded, names of files on disk are not.
    root = unquote(table.table_uri.rstrip("/").removeprefix("file://"))
    if files is None and _is_by_date(table):
        actions = active_files(table)
        files = actions.filter(pc.is_valid(actions["partition.event_date"]))["path"].to_pylist()
    names = pa.table(table.get_add_actions())["path"].to_pylist() if files is None else files
    paths = [f"{root}/{unquote(path)}" for path in names]
    if not paths:
        connection.register(source, schema.empty_table())
        return f'SELECT * FROM "{source}"'
    if "://" in root or _GLOB & set(root):
        connection.register(source, _dataset(table, files))
        return f'SELECT * FROM "{source}"'
    evolved = EVOLVED in table.metadata().configuration
    text = _parquet(table, schema, paths, by_name=evolved)
    if evolved:
        # Files from before a column was added lack it.
        connection.register(source, schema.empty_table())
        text = f'SELECT {_columns(schema)} FROM ({text} UNION ALL BY NAME SELECT * FROM "{source}")'
    return text


def _parquet(table: DeltaTable, schema: pa.Schema, paths: Collection[str], *, by_name: bool) -> str:
    names = ", ".join("'" + path.replace("'", "''") + "'" for path in paths)
    partitions = {name: schema.field(name).type for name in table.metadata().partition_columns}
    types = ", ".join(f"{name}: {'DATE' if pa.types.is_date(kind) else 'BIGINT'}" for name, kind in partitions.items())
    options = f", hive_partitioning = true, hive_types = {{{types}}}" if partitions else ", hive_partitioning = false"
    options += ", union_by_name = true" if by_name else ""
    return f"SELECT {'*' if by_name else _columns(schema)} FROM read_parquet([{names}]{options})"


def _dataset(table: DeltaTable, files: Collection[str] | None) -> ds.Dataset:
    """The files as a dataset of Arrow's, by their partitions.

    deltalake's own makes Python's values of all bounds in the log, and fails on a date that Python cannot hold.
    """
    schema, kind = pa.schema(table.schema().to_arrow()), ds.ParquetFileFormat()
    filesystem = pa_fs.PyFileSystem(DeltaStorageHandler.from_table(table._table))
    partitions = table.metadata().partition_columns
    actions = active_files(table).select(["path", *(f"partition.{name}" for name in partitions)])
    chosen = None if files is None else set(files)
    fragments = []
    for row in actions.to_pylist():
        if row["path"] in chosen if chosen is not None else row.get("partition.event_date", "none") is not None:
            values = [
                ds.field(name) == pa.scalar(row[f"partition.{name}"], schema.field(name).type) for name in partitions
            ]
            inside = reduce(and_, values) if values else None
            fragments.append(kind.make_fragment(unquote(row["path"]), filesystem, partition_expression=inside))
    return ds.FileSystemDataset(fragments, schema, kind, filesystem)


def _is_by_date(table: DeltaTable) -> bool:
    return "event_date" in table.metadata().partition_columns


def _columns(schema: pa.Schema) -> str:
    return ", ".join(f'"{name}"' for name in schema.names)
