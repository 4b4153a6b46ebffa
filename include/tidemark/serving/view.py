"""Querying the serving view in this process: DuckDB over snapshots pinned in the right order."""

from dataclasses import dataclass

import duckdb
import pyarrow as pa
from deltalake import DeltaTable

from tidemark.definition import Pipeline, Rollup
from tidemark.definition.measures import Dialect
from tidemark.delta import open_table, position
from tidemark.serving.sketches import register_sketches
from tidemark.serving.sql import Layer, serving_sql
from tidemark.settings import Settings
from tidemark.tables import REFINE_APP, tables_of


@dataclass(frozen=True)
class Snapshot:
    """The batch and speed tables of a rollup, pinned so that together they hold exactly a prefix of the log."""

    pipeline: Pipeline
    rollup: Rollup
    batch: DeltaTable
    speed: DeltaTable

    @property
    def position(self) -> int:
        """The ingest_batch through which the answer holds every event; -1 before the first."""
        return position(self.speed, REFINE_APP)


def pin(pipeline: Pipeline, rollup: Rollup, settings: Settings) -> Snapshot:
    """Pin the newest state.

    The batch table first: what it covers, refine had finished, so a later speed snapshot holds everything else of at
    least that prefix. The other way round, a date published in between would be missing (facts: 1 answer of 281).
    """
    tables = tables_of(pipeline, settings)
    batch = open_table(tables.batch[rollup.name], settings)
    speed = open_table(tables.speed[rollup.name], settings)
    return Snapshot(pipeline, rollup, batch, speed)


def connect() -> duckdb.DuckDBPyConnection:
    """An in-memory DuckDB in UTC that knows the sketch functions and installs nothing."""
    connection = duckdb.connect(config={"autoinstall_known_extensions": False, "threads": 2})
    connection.execute("SET TimeZone = 'UTC'")
    register_sketches(connection)
    return connection


def answer(
    snapshot: Snapshot, *, layer: Layer | None = None, connection: duckdb.DuckDBPyConnection | None = None
) -> pa.Table:
    """The rollup's windows as of the snapshot, ordered by keys and window; ``layer``: only what that layer gives."""
    with connection.cursor() if connection else connect() as cursor:
        if connection:
            cursor.execute("SET TimeZone = 'UTC'")
        cursor.register("batch", snapshot.batch.to_pyarrow_dataset())
        cursor.register("speed", snapshot.speed.to_pyarrow_dataset())
        text = serving_sql(snapshot.pipeline, snapshot.rollup, Dialect.DUCKDB, layer=layer)
        order = ", ".join([*snapshot.rollup.by, "window_start"])
        return cursor.sql(f"{text} ORDER BY {order}").to_arrow_table()
