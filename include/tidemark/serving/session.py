"""A SQL session over everything an analyst may ask: the tables of each pipeline and its serving views."""

import duckdb
import pyarrow as pa
from deltalake import DeltaTable

from tidemark.core.errors import NoTableError, TableError, TidemarkError, UnavailableError
from tidemark.core.settings import Settings
from tidemark.definition import Pipeline, Rollup
from tidemark.definition.measures import Dialect
from tidemark.lake.snapshots import open_table
from tidemark.lake.tables import Table, tables_of
from tidemark.serving.scan import create_view, quoted, relation
from tidemark.serving.sql import finished_sql, serving_sql
from tidemark.serving.view import answering_sql, connect, pinned


def sql_session(pipelines: list[Pipeline], settings: Settings) -> duckdb.DuckDBPyConnection:
    """A DuckDB in which ``<pipeline>.<table>`` is a pinned snapshot and ``<pipeline>.<rollup>`` its serving view.

    Batch tables are pinned before speed tables, so that each view answers for a prefix of the log. Pipelines whose
    tables do not exist yet are left out. What cannot be read concerns nobody else: it is a view that raises
    duckdb.InvalidInputException when it is asked, with the reason and the remedy.

    Examples:
        What `tidemark sql` runs. With the pipeline and the settings of the example in [tidemark.serving][]:

        >>> from tidemark.serving import sql_session
        >>> with sql_session([flights], settings) as session:
        ...     session.sql("SELECT carrier, sum(flights) FROM flights.by_carrier GROUP BY carrier").fetchall()
        ...     session.sql("SELECT segment, flights__count FROM flights.speed_by_carrier ORDER BY segment").fetchall()
        [('UA', 3)]
        [(3, 2), (4, 1)]
    """
    connection = connect()
    for pipeline in pipelines:
        tables = tables_of(pipeline, settings)
        ordered = (*tables.batch.values(), *tables.refined, tables.bronze, tables.validations)
        opened = {table.name: _opened(table, settings) for table in ordered}
        if all(isinstance(found, NoTableError) for found in opened.values()):
            continue
        connection.execute(f"CREATE SCHEMA {quoted(pipeline.name)}")
        for table in ordered:
            name, found = f"{pipeline.name}.{table.name}", opened[table.name]
            if isinstance(found, DeltaTable):
                try:
                    create_view(connection, name, found)
                except (duckdb.Error, OSError) as error:
                    found = opened[table.name] = _damaged(table, error)
            if not isinstance(found, DeltaTable):
                _create_refusal(connection, name, _like(connection, name, table.schema), found)
        for rollup in pipeline.rollups:
            _create_serving_view(connection, pipeline, rollup, opened, settings)
    return connection


def explained(error: duckdb.Error, connection: duckdb.DuckDBPyConnection) -> str:
    """DuckDB's message; of a table that does not exist with those that do, where DuckDB guesses, also at its own."""
    if not (isinstance(error, duckdb.CatalogException) and "Table with name" in str(error)):
        return str(error)
    listed = "SELECT schema_name || '.' || view_name FROM duckdb_views() WHERE NOT internal ORDER BY ALL"
    existing = ", ".join(name for (name,) in connection.sql(listed).fetchall())
    none = "No pipeline has tables yet: start its streams, or run `tidemark init`"
    remedy = f"Ask one of {existing}" if existing else none
    return f"{str(error).splitlines()[0]} {remedy}"


def _opened(table: Table, settings: Settings) -> DeltaTable | TidemarkError:
    try:
        return open_table(table, settings)
    except TidemarkError as error:
        return error
    except OSError as error:  # delta-rs says so of a store that refuses, or that cannot be reached
        why = " ".join(str(error).split())[:300]
        return UnavailableError(
            f"{table.uri} cannot be reached: {why}. Check the place, the credentials and their rights"
        )


def _damaged(table: Table, error: Exception) -> TableError:
    return TableError(
        f"a file of {table.uri} cannot be read: {' '.join(str(error).split())[:300]}. Restore the file, or the "
        "table to a version that does not have it"
    )


def _create_serving_view(
    connection: duckdb.DuckDBPyConnection,
    pipeline: Pipeline,
    rollup: Rollup,
    opened: dict[str, DeltaTable | TidemarkError],
    settings: Settings,
) -> None:
    name = f"{pipeline.name}.{rollup.name}"
    try:
        text = _serving(connection, name, pipeline, rollup, opened, settings)
        connection.execute(f"CREATE VIEW {quoted(name)} AS {text}")
    except (TidemarkError, duckdb.Error, OSError) as error:
        tables = tables_of(pipeline, settings)
        batch, speed = (
            f"({_like(connection, f'{name}.{layer}', table.schema)})"
            for layer, table in (("batch", tables.batch[rollup.name]), ("speed", tables.speed[rollup.name]))
        )
        like = serving_sql(pipeline, rollup, Dialect.DUCKDB, batch=batch, speed=speed, covered_left_out=True)
        why = error if isinstance(error, TidemarkError) else _damaged(tables.batch[rollup.name], error)
        _create_refusal(connection, name, like, why)


def _serving(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    pipeline: Pipeline,
    rollup: Rollup,
    opened: dict[str, DeltaTable | TidemarkError],
    settings: Settings,
) -> str:
    batch, speed = opened[f"batch_{rollup.name}"], opened[f"speed_{rollup.name}"]
    if not isinstance(batch, DeltaTable):
        raise batch
    if not isinstance(speed, DeltaTable):
        raise speed
    both = pinned(pipeline, rollup, batch, speed, settings)
    plan, rows = both.scan_plan(), ""
    if files := [path for paths in plan.batch_only.values() for path in paths]:
        batch_only = relation(connection, f"{name}.batch_only", batch, files)
        rows = f"({finished_sql(pipeline, rollup, Dialect.DUCKDB, f'({batch_only})')})"
    return answering_sql(connection, name, both, plan, batch_only=rows)


def _like(connection: duckdb.DuckDBPyConnection, name: str, schema: pa.Schema) -> str:
    """A SELECT without rows, of a schema's columns."""
    source = f"_{name}_like"
    connection.register(source, schema.empty_table())
    return f'SELECT * FROM "{source}"'


def _create_refusal(connection: duckdb.DuckDBPyConnection, name: str, like: str, error: TidemarkError) -> None:
    """Make ``name`` a view with the columns of another SELECT, which says why it has no rows when any are asked for."""
    refuses = "error('" + f"{name} cannot be read: {error}".replace("'", "''") + "')"
    made = connection.sql(like)
    # In the columns, as conditions on them come first; and in a condition, as a query may name no column.
    columns = ", ".join(
        f'CAST({refuses} AS {kind}) AS "{column}"' for column, kind in zip(made.columns, made.types, strict=True)
    )
    connection.execute(f"CREATE VIEW {quoted(name)} AS SELECT {columns} WHERE {refuses} IS NULL")
