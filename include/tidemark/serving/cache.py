"""Event dates that the batch table answers for alone: their finished rows, kept in memory by date.

Files of Delta tables never change, so what was read of them holds as long as a snapshot has them.
"""

import contextlib
from collections.abc import Mapping
from datetime import date
from threading import Lock

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from cachetools import LRUCache
from deltalake import DeltaTable

from tidemark.definition import Pipeline, Rollup
from tidemark.definition.measures import Dialect
from tidemark.serving.scan import relation
from tidemark.serving.sql import finished_sql

KEPT_BYTES = 256 * 2**20
"""Memory that finished rows may take in a process; the dates that were not asked for longest go first."""

_Key = tuple[str, str, tuple[str, ...]]
_kept: LRUCache[_Key, pa.Table] = LRUCache(KEPT_BYTES, getsizeof=lambda rows: rows.nbytes + 1)
_lock = Lock()


def finished_rows(
    connection: duckdb.DuckDBPyConnection,
    pipeline: Pipeline,
    rollup: Rollup,
    table: DeltaTable,
    files: Mapping[date, tuple[str, ...]],
) -> pa.Table:
    """The finished rows (``finished_sql``) of a batch table's files, by date; one row a key and window.

    Only what this process has not read before is read.
    """
    text = finished_sql(pipeline, rollup, Dialect.DUCKDB, "batch")
    keys: dict[date, _Key] = {day: (table.table_uri, text, paths) for day, paths in files.items()}
    with _lock:
        rows = {day: _kept[key] for day, key in keys.items() if key in _kept}
    if missing := [day for day in files if day not in rows]:
        paths = [path for day in missing for path in files[day]]
        text = finished_sql(pipeline, rollup, Dialect.DUCKDB, f"({relation(connection, 'unread', table, paths)})")
        rows |= _by_date(connection.sql(f"{text} ORDER BY event_date").to_arrow_table(), missing)
        with _lock, contextlib.suppress(ValueError):  # a date larger than all of the memory is not kept
            _kept.update((keys[day], rows[day]) for day in missing)
    return pa.concat_tables(rows[day] for day in sorted(rows))


def _by_date(read: pa.Table, dates: list[date]) -> dict[date, pa.Table]:
    """Copies, so that none keeps the memory of the others."""
    runs = pc.run_end_encode(read["event_date"].combine_chunks())
    ends = dict(zip(runs.values.to_pylist(), runs.run_ends.to_pylist(), strict=True))
    starts = dict(zip(ends, [0, *ends.values()], strict=False))
    return {day: read.take(np.arange(starts.get(day, 0), ends.get(day, 0))) for day in dates}


def forget() -> None:
    """Free the memory; the next answers read again."""
    with _lock:
        _kept.clear()
