"""What every spark-submit entry shares: arguments, logging, errors as messages and not as tracebacks."""

import logging
import sys
from collections.abc import Callable, Sequence
from datetime import date
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table as RichTable

from tidemark.errors import TidemarkError

PipelineOption = Annotated[str, typer.Option("--pipeline", help="Name of the pipeline.")]
FromOption = Annotated[str, typer.Option("--from", help="First event date.")]
ToOption = Annotated[str, typer.Option("--to", help="Event date after the last.")]


def run_job(main: Callable[..., None]) -> None:
    """Run a job's function with its command-line arguments; a TidemarkError ends it with one line and exit code 1."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stdout)
    logging.getLogger("py4j").setLevel(logging.WARNING)
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    try:
        app()
    except TidemarkError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(1)


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
