"""What every spark-submit entry shares: arguments, logging, errors as messages and not as tracebacks."""

import json
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table as RichTable

from tidemark.errors import TRY_AGAIN, TidemarkError
from tidemark.spark_conf import RESULT
from tidemark_spark.parents import end_with_parents

PipelineOption = Annotated[str, typer.Option("--pipeline", help="Name of the pipeline.")]
FromOption = Annotated[str, typer.Option("--from", help="First event date.")]
ToOption = Annotated[str, typer.Option("--to", help="Event date after the last.")]


def run_job(main: Callable[..., None]) -> None:
    """Run a job's function with its command-line arguments; a TidemarkError ends it with one line and its exit code."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stdout)
    logging.getLogger("py4j").setLevel(logging.WARNING)
    end_with_parents()
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    try:
        app()
    except TidemarkError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except Exception as error:
        if "No space left on device" not in str(error):
            raise
        typer.echo("error: no space left on the device of the tables or of Spark's scratch files: make room", err=True)
        sys.exit(TRY_AGAIN)


def result(figures: Mapping[str, object]) -> None:
    """Tell whoever started the job what it did, in one line; Airflow shows it on the run's page."""
    typer.echo(f"{RESULT}{json.dumps(figures, default=str)}")


def parse_range(start: str | None, end: str | None) -> tuple[date, date]:
    """Two ISO dates as the half-open range ``[start, end)``.

    Raises:
        TidemarkError: not dates, or the range is empty.
    """
    if start is None or end is None:
        raise TidemarkError("a range of event dates has two ends: give both --from and --to")
    try:
        first, last = date.fromisoformat(start), date.fromisoformat(end)
    except ValueError as error:
        raise TidemarkError(f"--from and --to are dates like 2013-01-31, not {start!r} and {end!r}") from error
    if last <= first:
        raise TidemarkError(f"the range [{first}, {last}) is empty: --to is exclusive and must come after --from")
    return first, last


def show(title: str, columns: list[str], rows: Sequence[tuple[object, ...]]) -> None:
    """Print a table."""
    table = RichTable(*columns, title=title, title_justify="left")
    for row in rows:
        table.add_row(
            *(f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value) for value in row)
        )
    Console(width=140).print(table)
