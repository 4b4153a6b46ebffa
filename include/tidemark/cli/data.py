"""Commands about data: tables, their status, SQL, sealing, and producing sample events."""

from pathlib import Path
from typing import Annotated, Any

import orjson
import pyarrow as pa
import typer
from rich.console import Console
from rich.table import Table as RichTable

from tidemark.cli.jobs import PipelineArgument
from tidemark.errors import TidemarkError
from tidemark.registry import get_pipeline, load_pipelines
from tidemark.settings import get_settings

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for a program to read.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the root."""
    for command in (pipelines, init, status, sql, seal, produce):
        app.command()(command)


def print_rows(rows: list[dict[str, Any]], *, as_json: bool, title: str | None = None) -> None:
    """Print rows of like columns as a table, or as a JSON array."""
    if as_json:
        typer.echo(orjson.dumps(rows, default=str, option=orjson.OPT_INDENT_2).decode())
        return
    table = RichTable(title=title, title_justify="left")
    for name in rows[0] if rows else ["(no rows)"]:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(_shown(value) for value in row.values()))
    Console().print(table)


def _shown(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.3f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def pipelines(json: JsonOption = False) -> None:
    """List the pipelines, with their rollups."""
    rows = [
        {
            "pipeline": p.name,
            "stream": p.source.name,
            "key": ", ".join(p.key),
            "rollups": ", ".join(r.name for r in p.rollups),
            "suite": p.suite,
        }
        for p in load_pipelines().values()
    ]
    print_rows(rows, as_json=json)


def init(
    pipeline: Annotated[str | None, typer.Argument(help="Name of a pipeline; all without it.")] = None,
    streams: Annotated[bool, typer.Option("--streams", help="Its Kinesis stream, too.")] = False,
) -> None:
    """Create the tables of a pipeline where they do not exist, and add the columns that its definition has gained."""
    from tidemark.delta import create_tables
    from tidemark.generations import refuse_incompatible
    from tidemark.producers.producer import ensure_stream, kinesis_client
    from tidemark.quality import load_suite
    from tidemark.tables import tables_of

    settings = get_settings()
    for definition in [get_pipeline(pipeline)] if pipeline else load_pipelines().values():
        tables = tables_of(definition, settings)
        refuse_incompatible(definition, load_suite(definition, settings), settings)
        create_tables(tables, settings)
        for table in tables:
            typer.echo(table.uri)
        if streams:
            ensure_stream(kinesis_client(settings), definition)
            typer.echo(f"stream {definition.source.name}")


def status(
    pipeline: Annotated[str | None, typer.Argument(help="Name of a pipeline; all without it.")] = None,
    json: JsonOption = False,
) -> None:
    """Show the parts of the platform, if it runs here, and each table's position in the log, lag, rows, files, size."""
    from tidemark.cli.platform import parts_table, platform_record
    from tidemark.status import pipeline_status

    if not json and (record := platform_record()) is not None:
        Console().print(parts_table(record.parts(), get_settings()))

    chosen = [get_pipeline(pipeline)] if pipeline else list(load_pipelines().values())
    rows = [table.model_dump() for one in chosen for table in pipeline_status(one, get_settings())]
    if not rows and not json:
        raise TidemarkError(
            f"no tables in {get_settings().lake_uri} yet: `tidemark stream PIPELINE` makes them; a demo's are in "
            f"{get_settings().home}/demo/lake (set TIDEMARK_LAKE_URI)"
        )
    print_rows(rows, as_json=json)


def sql(query: Annotated[str, typer.Argument(help="A SELECT of DuckDB's dialect.")], json: JsonOption = False) -> None:
    """Query tables (flights.silver) and serving views (flights.departures_daily) in pinned snapshots."""
    import duckdb

    from tidemark.serving.rows import rows_of
    from tidemark.serving.session import sql_session

    with sql_session(list(load_pipelines().values()), get_settings()) as connection:
        try:
            result: pa.Table = connection.sql(query).to_arrow_table()
        except duckdb.Error as error:
            raise TidemarkError(str(error)) from error
    print_rows(rows_of(result), as_json=json)


def seal(pipeline: PipelineArgument) -> None:
    """Close the open segment of the log, so that a reprocess can cover it."""
    from tidemark.delta import seal as seal_segment
    from tidemark.tables import tables_of

    sealed = seal_segment(tables_of(get_pipeline(pipeline), get_settings()), get_settings())
    done = f"sealed through segment {sealed.segment} (ingest_batch {sealed.through})"
    typer.echo(done if sealed.segment >= 0 else "nothing to seal: bronze holds no rows")


def produce(
    pipeline: PipelineArgument,
    rate: Annotated[
        float | None, typer.Option(help="Records a second; without it, as fast as they go.", min=0.1)
    ] = None,
    limit: Annotated[int | None, typer.Option(help="How many records; without it, all there are.", min=1)] = None,
    file: Annotated[Path | None, typer.Option(help="A file of JSON lines instead of the sample.", exists=True)] = None,
) -> None:
    """Put events into the pipeline's stream, which is created if it does not exist."""
    from rich.progress import Progress

    from tidemark.producers.producer import ensure_stream, kinesis_client, sample_events
    from tidemark.producers.producer import produce as put

    definition = get_pipeline(pipeline)
    client = kinesis_client(get_settings())
    ensure_stream(client, definition)
    if file:
        events: Any = (line.rstrip(b"\n") for line in file.open("rb"))
    else:
        events = sample_events(definition)(limit)
    chosen: Any = events if limit is None else (e for e, _ in zip(events, range(limit), strict=False))
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task(f"producing {definition.name}", total=limit)
        done = put(
            client, definition, chosen, records_per_second=rate,
            on_progress=lambda p: progress.update(task, completed=p.records),
        )  # fmt: skip
    repeated = f", {done.repeated:,} calls repeated: the stream may hold their records twice" if done.repeated else ""
    typer.echo(f"{done.records:,} records, {done.bytes:,} bytes, {done.retried:,} put again{repeated}")
