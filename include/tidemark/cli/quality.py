"""``tidemark quality``: the suite of a pipeline, and what its checks found."""

from datetime import date
from pathlib import Path
from typing import Annotated

import orjson
import typer

from tidemark.cli.data import JsonOption, print_rows
from tidemark.cli.jobs import PipelineArgument
from tidemark.core.errors import TidemarkError
from tidemark.core.settings import get_settings
from tidemark.pipelines import get_pipeline

RESULTS = {True: "passed", False: "FAILED", None: "skipped"}
SHOWN = ("severity", "expectation", "asks", "unexpected", "observed", "samples")

commands = typer.Typer(no_args_is_help=True, help="Show a pipeline's expectations, and what checking them found.")


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
    from tidemark.lake.tables import tables_of
    from tidemark.monitoring.check_results import STAGES, newest

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
    shown = [{**row, "samples": "" if row["samples"] == "[]" else row["samples"]} for row in shown]
    print_rows(shown, as_json=False, title=title)


@commands.command()
def profile(
    pipeline: PipelineArgument,
    from_: Annotated[str | None, typer.Option("--from", help="First event date (default: the first one).")] = None,
    to: Annotated[str | None, typer.Option("--to", help="The event date after the last one (exclusive).")] = None,
    margin: Annotated[
        float, typer.Option(help="How much wider than what was observed the limits are, as a share.", min=0, max=10)
    ] = 0.1,
    output: Annotated[Path | None, typer.Option(help="Write the suite to this file instead of printing it.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
) -> None:
    """Propose a suite from what silver holds: nulls, ranges, value sets, lengths, means, volume and freshness.

    A draft: read it, and give what should keep rows out the action quarantine.
    """
    from tidemark.monitoring.profiler import propose_suite

    if output and output.exists() and not force:
        raise TidemarkError(f"{output} exists: choose another --output, or say --force to replace it")
    dates = {"start": _date("--from", from_), "end": _date("--to", to)}
    chosen = {name: value for name, value in dates.items() if value}
    suite = propose_suite(get_pipeline(pipeline), get_settings(), margin=margin, **chosen)
    text = orjson.dumps(suite, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    if output:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_bytes(text)
        typer.echo(f"{len(suite['expectations'])} expectations proposed in {output}")
    else:
        typer.echo(text.decode(), nl=False)


def _date(option: str, text: str | None) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError as error:
        raise TidemarkError(f"{option} is a date like 2013-01-31, not {text!r}") from error
