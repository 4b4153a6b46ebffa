"""The ``demo`` command."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from tidemark.cli.platform import end_on_signals
from tidemark.core.errors import DisagreementError
from tidemark.core.extras import EMBEDDED, require
from tidemark.core.settings import get_settings
from tidemark.core.terminal import plain_console


def register(app: typer.Typer) -> None:
    """Add the command to the root."""
    app.command()(demo)


def demo(
    records: Annotated[int | None, typer.Option(help="Number of flights (default: all 336,776).", min=1)] = None,
    rate: Annotated[float, typer.Option(help="Flights put per second.", min=1)] = 2500,
    kinesis_port: Annotated[int, typer.Option(help="Port of the Kinesis emulator.")] = 4567,
    airflow_port: Annotated[int, typer.Option(help="Port of Airflow.")] = 8080,
    picture: Annotated[Path | None, typer.Option(help="Save what was shown as an SVG file.")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave everything running at the end, until ^C.")] = False,
    stack: Annotated[bool, typer.Option("--stack", help="Use the running docker compose stack.")] = False,
) -> None:
    """Run the whole platform on this machine: real flights from Kinesis to the analyst, and a proof of the answer.

    No Docker and no cloud account. Exit code 1 if any figure disagrees. With --stack: the same job and proof on what
    `docker compose up` has started, with the flights after those of the last time.
    """
    if not stack:
        require(*EMBEDDED)
    from tidemark.embedded.demo.run import Demo, DemoOptions
    from tidemark.embedded.demo.stack import AIRFLOW_VARIABLE, StackDemo, run_in_stack

    if stack and AIRFLOW_VARIABLE not in os.environ:
        chosen = ["--rate", str(rate), *(["--records", str(records)] if records else [])]
        raise typer.Exit(run_in_stack(chosen, get_settings().project_dir))
    # The emulator takes any credentials; boto3 wants some.
    os.environ.setdefault("AWS_ACCESS_KEY_ID", "demo")
    os.environ.setdefault("AWS_SECRET_ACCESS_KEY", "demo")
    end_on_signals()
    narrow = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    console = plain_console(record=picture is not None, width=110 if picture or narrow else None)
    kind = StackDemo if stack else Demo
    with kind(DemoOptions(records, rate, kinesis_port, airflow_port, keep), get_settings(), console) as run:
        agrees = run.run()
        if picture:
            console.save_svg(str(picture), title="tidemark demo")
        if not agrees:
            raise DisagreementError("the served answer differs from the recomputation; the tables above show where")
