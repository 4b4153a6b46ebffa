"""Commands about data: tables, their status, SQL, sealing, and producing sample events."""

import time
from datetime import UTC, datetime
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import pyarrow as pa
import typer
from rich.filesize import decimal

from tidemark.cli.jobs import PipelineArgument
from tidemark.core.errors import TidemarkError
from tidemark.core.extras import require
from tidemark.core.settings import get_settings
from tidemark.core.terminal import lasted, plain_console, print_table
from tidemark.pipelines import get_pipeline, load_pipelines

if TYPE_CHECKING:
    from tidemark.pipelines.producers.producer import Produced

_TELL_SECONDS = 10.0
"""Between two lines of progress where no terminal shows a bar."""
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the root."""
    for command in (pipelines, init, status, sql, seal, produce):
        app.command()(command)


def print_rows(rows: list[dict[str, Any]], *, as_json: bool, title: str | None = None) -> None:
    """Print rows of like columns as a table, or as a JSON array."""
    if as_json:
        typer.echo(orjson.dumps(rows, default=str, option=orjson.OPT_INDENT_2).decode())
        return
    print_table(list(rows[0]) if rows else ["(no rows)"], [list(row.values()) for row in rows], title)


def pipelines(json: JsonOption = False) -> None:
    """List the pipelines, with their rollups and what they are for."""
    rows = [
        {
            "pipeline": p.name,
            "stream": p.source.name,
            "key": ", ".join(p.key),
            "rollups": ", ".join(r.name for r in p.rollups),
            "suite": p.suite,
            "description": p.description,
        }
        for p in load_pipelines().values()
    ]
    print_rows(rows, as_json=json)


def init(
    pipeline: Annotated[str | None, typer.Argument(help="Name of a pipeline (default: all).")] = None,
    streams: Annotated[bool, typer.Option("--streams", help="Also create its Kinesis stream.")] = False,
) -> None:
    """Create the tables of a pipeline where they do not exist, and add the columns that its definition has gained."""
    from tidemark.lake.evolution import create_tables
    from tidemark.lake.generations import refuse_incompatible
    from tidemark.lake.tables import tables_of
    from tidemark.quality import load_suite

    if streams:
        require("boto3")
    settings = get_settings()
    for definition in [get_pipeline(pipeline)] if pipeline else load_pipelines().values():
        tables = tables_of(definition, settings)
        refuse_incompatible(definition, load_suite(definition, settings), settings)
        create_tables(tables, settings)
        for table in tables:
            typer.echo(table.uri)
        if streams:
            from tidemark.pipelines.producers.producer import ensure_stream, kinesis_client

            ensure_stream(kinesis_client(settings), definition)
            typer.echo(f"stream {definition.source.name}")


def status(
    pipeline: Annotated[str | None, typer.Argument(help="Name of a pipeline (default: all).")] = None,
    json: JsonOption = False,
) -> None:
    """Show the parts of the platform, if it runs here, and each table's position in the log, lag, rows, files, size."""
    from tidemark.cli.platform import parts_table, platform_record
    from tidemark.monitoring.status import pipeline_status

    if not json and (record := platform_record()) is not None:
        plain_console().print(parts_table(record.parts(), get_settings()))

    chosen = [get_pipeline(pipeline)] if pipeline else list(load_pipelines().values())
    rows = [table.model_dump() for one in chosen for table in pipeline_status(one, get_settings())]
    if not rows and not json:
        raise TidemarkError(
            f"no tables in {get_settings().lake_uri} yet: `tidemark stream PIPELINE` makes them; a demo's are in "
            f"{get_settings().home}/demo/lake (set TIDEMARK_LAKE_URI)"
        )
    if json:
        print_rows(rows, as_json=True)
    else:
        _print_status(rows)


def _print_status(rows: list[dict[str, Any]]) -> None:
    """A table a pipeline, which 80 columns hold."""
    columns = ("table", "position", "lag", "rows", "files", "size", "committed")
    for name, tables in groupby(rows, key=itemgetter("pipeline")):
        shown, sealed = [], None
        for one in tables:
            sealed = one["sealed_segment"] if sealed is None else sealed
            ago = "" if one["committed"] is None else f"{lasted(datetime.now(UTC) - one['committed'])} ago"
            figures = (one["position"], one["lag_batches"], one["rows"], one["files"], decimal(one["size_bytes"]))
            shown.append((one["table"], *figures, ago))
        sealing = "no segment is sealed" if sealed is None else f"sealed through segment {sealed:,}"
        print_table(columns, shown, f"{name}: {sealing}", lines=False)


def sql(query: Annotated[str, typer.Argument(help="A SELECT in DuckDB's dialect.")], json: JsonOption = False) -> None:
    """Query tables (flights.silver) and serving views (flights.departures_daily) in pinned snapshots."""
    import duckdb

    from tidemark.serving.rows import rows_of
    from tidemark.serving.session import explained, sql_session

    with sql_session(list(load_pipelines().values()), get_settings()) as connection:
        try:
            result: pa.Table = connection.sql(query).to_arrow_table()
        except duckdb.Error as error:
            raise TidemarkError(explained(error, connection)) from error
    print_rows(rows_of(result), as_json=json)


def seal(pipeline: PipelineArgument) -> None:
    """Close the open segment of the log, so that a reprocess can cover it."""
    from tidemark.lake.log import seal as seal_segment
    from tidemark.lake.tables import tables_of

    sealed = seal_segment(tables_of(get_pipeline(pipeline), get_settings()), get_settings())
    done = f"sealed through segment {sealed.segment} (ingest_batch {sealed.through})"
    typer.echo(done if sealed.segment >= 0 else "nothing to seal: bronze holds no rows")


def produce(
    pipeline: PipelineArgument,
    rate: Annotated[
        float | None, typer.Option(help="Records per second (default: as fast as possible).", min=0.1)
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Number of records (default: all).", min=1)] = None,
    file: Annotated[Path | None, typer.Option(help="A file of JSON lines instead of the sample.", exists=True)] = None,
) -> None:
    """Put events into the pipeline's stream, which is created if it does not exist."""
    from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn

    from tidemark.cli.platform import end_on_signals
    from tidemark.pipelines.producers.producer import Produced, ensure_stream, kinesis_client, sample_events
    from tidemark.pipelines.producers.producer import produce as put

    definition = get_pipeline(pipeline)
    client = kinesis_client(get_settings())
    ensure_stream(client, definition)
    if file:
        events: Any = (line.rstrip(b"\n") for line in file.open("rb"))
    else:
        events = sample_events(definition)(limit)
    chosen: Any = events if limit is None else (e for e, _ in zip(events, range(limit), strict=False))
    end_on_signals()
    done, console = Produced(), plain_console(stderr=True)
    columns = (*Progress.get_default_columns(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(f"producing {definition.name}", total=limit)
        said = time.monotonic()

        def show(produced: Produced) -> None:
            nonlocal said
            progress.update(task, completed=produced.records)
            if progress.disable and time.monotonic() - said >= _TELL_SECONDS:
                said = time.monotonic()
                console.print(f"{definition.name}: {produced.records:,} records put", highlight=False)

        try:
            put(client, definition, chosen, records_per_second=rate, on_progress=show, produced=done)
        except KeyboardInterrupt:
            console.print("interrupted; what was put until then:", highlight=False)
            raise
        finally:
            _tell_produced(done)


def _tell_produced(done: "Produced") -> None:
    repeated = f", {done.repeated:,} calls repeated: the stream may hold their records twice" if done.repeated else ""
    typer.echo(f"{done.records:,} records, {done.bytes:,} bytes, {done.retried:,} put again{repeated}")
