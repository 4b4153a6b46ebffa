"""``tidemark quality``: the suite of a pipeline, and what its checks found."""

import typer

from tidemark.cli.data import JsonOption, print_rows
from tidemark.cli.jobs import PipelineArgument
from tidemark.registry import get_pipeline
from tidemark.settings import get_settings

commands = typer.Typer(no_args_is_help=True, help="Show what a pipeline's suite asks of its data, and what it found.")


def register(app: typer.Typer) -> None:
    """Add the commands to the root."""
    app.add_typer(commands, name="quality")


@commands.command()
def rules(pipeline: PipelineArgument, json: JsonOption = False) -> None:
    """List the suite's expectations: which the stream enforces, with which action, and which only the batch checks."""
    from tidemark.quality import load_suite

    suite = load_suite(get_pipeline(pipeline), get_settings())
    rows = [
        {
            "expectation": rule.name,
            "asks": rule.limits,
            "checked by": "stream and batch",
            "action or reason": rule.action,
        }
        for rule in suite.rules
    ]
    rows += [
        {"expectation": one.name, "asks": one.limits, "checked by": "batch only", "action or reason": one.reason}
        for one in suite.batch_only
    ]
    print_rows(rows, as_json=json, title=f"{get_pipeline(pipeline).suite}")
