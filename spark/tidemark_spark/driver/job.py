"""What every spark-submit entry shares: arguments, logging, errors as messages and not as tracebacks."""

import json
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Annotated, NoReturn

import typer
from pyspark.sql import SparkSession

from pyspark_kinesis.errors import KinesisSourceError
from pyspark_kinesis.offsets.stores.store import open_store
from tidemark.core.errors import TRY_AGAIN, TidemarkError
from tidemark.core.spark_start.conf import OUTCOME_ERROR, OUTCOME_RESULT, OUTCOME_VARIABLE, RESULT
from tidemark.core.terminal import one_line, plain_console, print_table, printable
from tidemark_spark.driver.causes import NO_SPACE, cause_of, where
from tidemark_spark.driver.parent_watchdog import end_with_parents

FAILED = 1
"""Exit code of a job that met an error that nobody foresaw: it may be tried again."""
PipelineOption = Annotated[str, typer.Option("--pipeline", help="Name of the pipeline.")]
FromOption = Annotated[str, typer.Option("--from", help="First event date.")]
ToOption = Annotated[str, typer.Option("--to", help="The event date after the last one (exclusive).")]


def run_job(main: Callable[..., None]) -> NoReturn:
    """Run a job's function with its command-line arguments, and end this process.

    A TidemarkError ends it with one line and its exit code, any other error with the code's lines and its cause.
    The interpreter is not torn down: on its way out, Spark's callbacks and native libraries print pages of their own.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stdout)
    # What libraries tell of their own doings: hundreds of lines, before the one that a person looks for.
    for chatty in ("py4j", "great_expectations"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    end_with_parents()
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    try:
        _run(app)
    except SystemExit as end:
        _leave_python(int(end.code or 0))


def _run(app: typer.Typer) -> NoReturn:
    try:
        app()
    except TidemarkError as error:
        _end(error.exit_code, str(error))
    except SystemExit as end:  # how typer returns
        if not end.code and (active := SparkSession.getActiveSession()) is not None:
            active.stop()
        raise
    except Exception as error:
        cause = cause_of(error)
        typer.echo(printable(where(error)), err=True)
        _end(TRY_AGAIN if cause.remedy == NO_SPACE else FAILED, str(cause))
    raise AssertionError("typer returns by SystemExit")


def result(figures: Mapping[str, object]) -> None:
    """Tell the program that started the job what it did, in one line; Airflow shows it on the run's page."""
    if not sys.stdout.isatty():  # a person has the tables
        typer.echo(f"{RESULT}{json.dumps(figures, default=str)}")
    _leave(OUTCOME_RESULT, figures)


def _end(code: int, message: str) -> NoReturn:
    message = one_line(message)  # whoever started the job looks for lines that begin with a word of its own
    typer.echo(f"error: {message}", err=True)
    _leave(OUTCOME_ERROR, {"exit_code": code, "error": message})
    sys.exit(code)


def _leave_python(code: int) -> NoReturn:
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _leave(name: str, said: Mapping[str, object]) -> None:
    """Write what was said where the environment asks for it; a job that did its work does not fail by this."""
    if uri := os.environ.get(OUTCOME_VARIABLE):
        try:
            store = open_store(uri, region=os.environ.get("AWS_REGION", "us-east-1"))
            store.put_if_absent(name, json.dumps(said, default=str).encode())
        except (OSError, KinesisSourceError):
            logging.getLogger(__name__).exception("what the job says could not be left at %s", uri)


def waiting(busy: str) -> None:
    """Say for whom the job waits."""
    typer.echo(f"WAITING: {busy}")


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
    """Print a table, in a log not wider than a page shows it; without rows, a line that says so."""
    if not rows:
        typer.echo(f"{title}: nothing")
        return
    console = plain_console()
    if not console.is_terminal:
        console.width = 140
    print_table(columns, rows, title, console)
