"""A SQL session over everything an analyst may ask: the tables of each pipeline and its serving views."""

import duckdb

from tidemark.definition import Pipeline
from tidemark.definition.measures import Dialect
from tidemark.delta import open_table
from tidemark.errors import TableError
from tidemark.serving.scan import create_view, quoted, relation
from tidemark.serving.sql import finished_sql
from tidemark.serving.view import answering_sql, connect, pinned
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
        connection.execute(f"CREATE SCHEMA {quoted(pipeline.name)}")
        for name, snapshot in snapshots.items():
            create_view(connection, f"{pipeline.name}.{name}", snapshot)
        for rollup in pipeline.rollups:
            batch, speed = snapshots[f"batch_{rollup.name}"], snapshots[f"speed_{rollup.name}"]
            both = pinned(pipeline, rollup, batch, speed, settings)
            parts, name, rows = both.parts(), f"{pipeline.name}.{rollup.name}", ""
            if files := [path for paths in parts.settled.values() for path in paths]:
                settled = relation(connection, f"{name}.settled", batch, files)
                rows = f"({finished_sql(pipeline, rollup, Dialect.DUCKDB, f'({settled})')})"
            text = answering_sql(connection, name, both, parts, settled=rows)
            connection.execute(f"CREATE VIEW {quoted(name)} AS {text}")
    return connection
