"""A SQL session over everything an analyst may ask: the tables of each pipeline and its serving views."""

import duckdb

from tidemark.definition import Pipeline
from tidemark.definition.measures import Dialect
from tidemark.delta import open_table
from tidemark.errors import TableError
from tidemark.serving.scan import create_view
from tidemark.serving.sql import serving_sql
from tidemark.serving.view import connect, pinned
from tidemark.settings import Settings
from tidemark.tables import tables_of


def sql_session(pipelines: list[Pipeline], settings: Settings) -> duckdb.DuckDBPyConnection:
    """A DuckDB in which ``<pipeline>.<table>`` is a pinned snapshot and ``<pipeline>.<rollup>`` its serving view.

    Batch tables are pinned before speed tables, so that each view answers for a prefix of the log. Pipelines whose
    tables do not exist yet are left out.
    """
    connection = connect()
    for pipeline in pipelines:
        tables = tables_of(pipeline, settings)
        ordered = [*tables.batch.values(), *tables.speed.values(), *tables.refined, tables.bronze, tables.validations]
        try:
            snapshots = {table.name: open_table(table, settings) for table in ordered}
        except TableError:
            continue
        connection.execute(f"CREATE SCHEMA {pipeline.name}")
        for name, snapshot in snapshots.items():
            create_view(connection, f"{pipeline.name}.{name}", snapshot, temporary=False)
        for rollup in pipeline.rollups:
            batch, speed = (f"{pipeline.name}.{layer}_{rollup.name}" for layer in ("batch", "speed"))
            of_batch, of_speed = snapshots[f"batch_{rollup.name}"], snapshots[f"speed_{rollup.name}"]
            lacking = pinned(pipeline, rollup, of_batch, of_speed, settings).lacking()
            text = serving_sql(pipeline, rollup, Dialect.DUCKDB, batch=batch, speed=speed, lacking=lacking)
            connection.execute(f"CREATE VIEW {pipeline.name}.{rollup.name} AS {text}")
    return connection
