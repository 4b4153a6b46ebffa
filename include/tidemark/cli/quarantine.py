"""``tidemark quarantine``: what is in it, why, and back out of it after a fix."""

from typing import Annotated

import typer
from rich.table import Table as RichTable

from tidemark.cli.data import JsonOption, print_rows
from tidemark.cli.jobs import PipelineArgument, submit
from tidemark.core.settings import get_settings
from tidemark.core.terminal import plain_console, printable
from tidemark.pipelines import get_pipeline

commands = typer.Typer(no_args_is_help=True, help="List, explain and replay the records that are not valid events.")


def register(app: typer.Typer) -> None:
    """Add the commands to the root."""
    app.add_typer(commands, name="quarantine")


@commands.command("list")
def list_(pipeline: PipelineArgument, json: JsonOption = False) -> None:
    """Count the quarantined records by reason, ingest date and segment."""
    from tidemark.monitoring.quarantine import counts

    print_rows(counts(get_pipeline(pipeline), get_settings()), as_json=json, title=f"quarantine of {pipeline}")


@commands.command()
def explain(
    pipeline: PipelineArgument,
    reason: Annotated[str | None, typer.Option(help="Only records with this reason, as `list` shows it.")] = None,
    limit: Annotated[int, typer.Option(help="Number of records, the newest first.", min=1, max=1000)] = 5,
    json: JsonOption = False,
) -> None:
    """Show quarantined records: each as it came, what it broke, and its values against what is asked of them."""
    from tidemark.monitoring.quarantine import explain as explained
    from tidemark.quality import load_suite

    definition = get_pipeline(pipeline)
    rows = explained(definition, load_suite(definition, get_settings()), get_settings(), reason=reason, limit=limit)
    if json or not rows:
        print_rows(rows, as_json=json)
        return
    console = plain_console()
    for row in rows:
        where = f"ingest_batch {row['ingest_batch']}, {row['shard_id']}, sequence number {row['sequence_number']}"
        console.print(where, printable(row["record"]), sep="\n", highlight=False, soft_wrap=True)
        table = RichTable()
        for name in ("reason", "what is asked", "values"):
            table.add_column(name, overflow="fold")
        for one in row["reasons"]:
            values = ", ".join(
                f"{name} = {'null' if value is None else value}" for name, value in one["values"].items()
            )
            table.add_row(one["reason"], one["asks"], printable(values))
        console.print(table, "")


@commands.command()
def replay(
    pipeline: PipelineArgument,
    wait_seconds: Annotated[float, typer.Option(help="Seconds to wait for the refine stream.")] = 300,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be moved.")] = False,
) -> None:
    """Move the records that pass now into silver and its rollups, by a reprocess of their event dates."""
    options = ["--wait-seconds", str(wait_seconds), *(["--dry-run"] if dry_run else [])]
    submit("replay", ["--pipeline", pipeline, *options])
