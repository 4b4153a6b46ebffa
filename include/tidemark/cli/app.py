"""The command's root: joins its parts, and ends with exit code 1 and one line on Tidemark's errors.

An extra that is not installed is one of them: the commands that need none of it work.
"""

import sys
from typing import NoReturn

import typer
from rich.text import Text

from tidemark.cli import data, demo, jobs, package, plan, platform, quality, quarantine
from tidemark.core.errors import TidemarkError
from tidemark.core.extras import missing_extra
from tidemark.core.terminal import plain_console, printable

app = typer.Typer(
    name="tidemark",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="A lambda-architecture data platform: Kinesis to Delta, batch and real-time merged exactly.",
)
demo.register(app)
platform.register(app)
jobs.register(app)
data.register(app)
package.register(app)
plan.register(app)
quality.register(app)
quarantine.register(app)


def main() -> None:
    """Entry point of the console script."""
    try:
        app()
    except TidemarkError as error:
        _refuse(error)
    except ModuleNotFoundError as error:
        if missing := missing_extra(error):
            _refuse(missing)
        raise
    except KeyboardInterrupt:
        sys.exit(130)


def _refuse(error: TidemarkError) -> NoReturn:
    said = Text.assemble(("error:", "bold red"), " ", printable(str(error)))
    plain_console(stderr=True).print(said, soft_wrap=True)
    sys.exit(1)
