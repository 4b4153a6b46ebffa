"""``tidemark quality``: the suite of a pipeline, and what its checks found."""

from typing import Annotated

import typer

from tidemark.cli.data import JsonOption, print_rows
from tidemark.cli.jobs import PipelineArgument
from tidemark.errors import TidemarkError
from tidemark.registry import get_pipeline
from tidemark.settings import get_settings

RESULTS = {True: "passed", False: "FAILED", None: "skipped"}
SHOWN = ("severity", "expectation", "unexpected", "observed", "samples")

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


@commands.command()
def show(
    pipeline: PipelineArgument,
    stage: Annotated[
        str | None, typer.Option(help="Only of this stage: 'staged slice' (before publishing) or 'published'.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Show what the newest validation found: each expectation with its figures and sample rows."""
    from tidemark.tables import tables_of
    from tidemark.validations import STAGES, newest

    if stage not in (None, *STAGES):
        raise TidemarkError(f"--stage is one of {', '.join(STAGES)}, not {stage!r}")
    rows = newest(tables_of(get_pipeline(pipeline), get_settings()), get_settings(), stage)
    if not rows and not json:
        raise TidemarkError(f"nothing of {pipeline} was validated yet: `tidemark validate {pipeline} --from … --to …`")
    if json:
        print_rows(rows, as_json=True)
        return
    first = rows[0]
    dates = f"[{first['from_date']}, {first['to_date']})" if first["from_date"] else "all dates"
    title = f"{pipeline}.{first['table']} {dates}, {first['stage']}, {first['validated_at']:%Y-%m-%d %H:%M:%S} UTC"
    shown = [{"result": RESULTS[row["success"]], **{name: row[name] for name in SHOWN}} for row in rows]
    print_rows(shown, as_json=False, title=title)
