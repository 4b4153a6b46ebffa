"""Parquet files of a table that were written and belong to no version yet, and what Delta's log says of each."""

import json
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pa_fs
import pyarrow.parquet as pq
from deltalake import DeltaTable
from deltalake.fs import DeltaStorageHandler
from deltalake.transaction import AddAction

from tidemark.lake.tables import Table


@dataclass(frozen=True)
class StagedFile:
    """One Parquet file that was written and belongs to no version yet; ``path`` is relative to the table."""

    path: str
    size: int
    rows: int
    partition: Mapping[str, str]
    stats: str

    def add(self) -> AddAction:
        """The action that makes it part of the table."""
        return AddAction(self.path, self.size, dict(self.partition), now_ms(), True, self.stats)


def write_by_partition(snapshot: DeltaTable, table: Table, rows: pa.Table) -> Iterator[StagedFile]:
    """Write rows as one file a partition, one after the other; what was written without a commit is left to VACUUM.

    delta-rs keeps a writer open for each partition until the end: a quarter of a megabyte a date, whatever its rows.
    """
    files = file_system(snapshot)
    kept = [name for name in table.schema.names if name not in table.partition_by]
    order = [(name, "ascending") for name in table.partition_by]
    rows = rows.sort_by(order)
    # A group has no place of its own, so the groups are put in the order of the rows.
    counted = rows.group_by(list(table.partition_by)).aggregate([([], "count_all")]).sort_by(order)
    start = 0
    for group in counted.to_pylist():
        part = rows.slice(start, group["count_all"]).select(kept)
        start += group["count_all"]
        partition = {name: str(group[name]) for name in table.partition_by}
        folder = "/".join(f"{name}={value}" for name, value in partition.items())
        yield _written(files, f"{folder}/", part, partition)


def write_file(snapshot: DeltaTable, rows: pa.Table) -> StagedFile:
    """Write rows as one file of a table without partitions; what was written without a commit is left to VACUUM."""
    return _written(file_system(snapshot), "", rows, {})


def file_system(snapshot: DeltaTable) -> pa_fs.PyFileSystem:
    """The table's folder, as Arrow sees it: paths are relative to it."""
    return pa_fs.PyFileSystem(DeltaStorageHandler.from_table(snapshot._table))


def _written(files: pa_fs.PyFileSystem, folder: str, rows: pa.Table, partition: dict[str, str]) -> StagedFile:
    path = f"{folder}part-{uuid.uuid4()}.parquet"
    with files.open_output_stream(path) as handle:
        pq.write_table(rows, handle)
    with files.open_input_file(path) as handle:
        size, footer = handle.size(), pq.read_metadata(handle)
    return StagedFile(path, size, footer.num_rows, partition, statistics_of(footer))


def partitions_of(rows: pa.Table, table: Table) -> int:
    """How many partitions of a table some rows are of."""
    if not table.partition_by:
        return 1
    return int(pc.count(rows.group_by(list(table.partition_by)).aggregate([])[table.partition_by[0]]).as_py())


def now_ms() -> int:
    """The wall clock, in milliseconds since the epoch, as actions of Delta's log state it."""
    return int(time.time() * 1000)


def statistics_of(footer: pq.FileMetaData) -> str:
    """Delta's statistics of one file, as the protocol writes them; bounds of numbers, dates and times only."""
    low: dict[str, Any] = {}
    high: dict[str, Any] = {}
    nulls: dict[str, int] = {}
    unknown = set()
    for group in (footer.row_group(n) for n in range(footer.num_row_groups)):
        for column in (group.column(n) for n in range(group.num_columns)):
            name, statistics = column.path_in_schema, column.statistics
            if "." in name or statistics is None or not statistics.has_null_count:
                unknown.add(name)
                continue
            nulls[name] = nulls.get(name, 0) + statistics.null_count
            if statistics.null_count == group.num_rows:
                continue
            bounds = _bounds(statistics)
            if bounds is None:
                unknown.add(name)
                continue
            low[name] = min(low.get(name, bounds[0]), bounds[0])
            high[name] = max(high.get(name, bounds[1]), bounds[1])
    for name in unknown:
        low.pop(name, None)
        high.pop(name, None)
    texts = {"minValues": _texts(low), "maxValues": _texts(high)}
    return json.dumps({"numRecords": footer.num_rows, **texts, "nullCount": nulls})


def _bounds(statistics: pq.Statistics) -> tuple[Any, Any] | None:
    """The lowest and the highest value, where both are of a type whose text is exact, and Python can hold them."""
    try:
        low, high = (statistics.min, statistics.max) if statistics.has_min_max else (None, None)
    except (OverflowError, ValueError):  # a date of which a table says that it is beyond the years 1 to 9999
        return None
    return (low, high) if isinstance(low, int | datetime | date) else None


def _texts(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        # Not %Y, which gives a year below 1000 fewer than four digits.
        name: f"{value.date().isoformat()}T{value:%H:%M:%S.%f}Z"
        if isinstance(value, datetime)
        else value.isoformat()
        if isinstance(value, date)
        else value
        for name, value in values.items()
    }
