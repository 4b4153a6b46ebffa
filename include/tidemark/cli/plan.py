"""``tidemark plan``: what a definition asks of the existing tables, before anything is done."""

from typing import Annotated, Any

import orjson
import typer

from tidemark.cli.data import JsonOption, print_rows
from tidemark.cli.jobs import PipelineArgument
from tidemark.core.settings import get_settings
from tidemark.core.terminal import plain_console
from tidemark.pipelines import get_pipeline

_LISTED = 20


def register(app: typer.Typer) -> None:
    """Add the command to the root."""
    app.command()(plan)


def plan(
    pipeline: PipelineArgument,
    history: Annotated[
        bool,
        typer.Option("--history", help="The versions of each object, and for what part of the log each was in force."),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Show what a changed definition does, and which dates need a reprocess.

    The exit code is 1 if the streams would refuse it.
    """
    from tidemark.lake.generations import History, plan
    from tidemark.quality import load_suite

    settings, definition = get_settings(), get_pipeline(pipeline)
    if history:
        print_rows(_versions(History.of(definition, settings)), as_json=json)
        return
    asked = plan(definition, load_suite(definition, settings), settings)
    rows: list[dict[str, Any]] = [
        {
            "object": str(change.object),
            "change": change.change,
            "asks for": str(change.category),
            "what happens": change.what,
        }
        for change in asked.changes
    ]
    if json:
        due = [{"from": days.start, "to": days.end} for days in asked.due]
        generation = None if asked.generation is None else asked.generation.number
        told = {"generation": generation, "changes": rows, "reprocess": due, "all": asked.moves}
        typer.echo(orjson.dumps(told, option=orjson.OPT_INDENT_2).decode())
    else:
        _show(definition.name, asked, rows)
    if asked.is_refused:
        raise typer.Exit(1)


def _show(name: str, asked: Any, rows: list[dict[str, Any]]) -> None:
    console = plain_console(highlight=False, soft_wrap=True)
    if asked.generation is None:
        console.print(f"the streams of {name} have not run yet: there is nothing to compare with, and nothing to do")
        return
    number, after = asked.generation
    if not rows:
        console.print(f"{name}: the definition is in force, as generation {number}, since ingest_batch {after + 1:,}")
    else:
        print_rows(rows, as_json=False)
        if asked.is_refused:
            console.print("refused: the streams do not start with this definition, and nothing is changed")
        else:
            console.print(f"restart the streams, and it is in force, as generation {number + 1}")
    if not asked.due:
        console.print("no reprocess is due")
        return
    shown = ", ".join(str(days) for days in asked.due[-_LISTED:])
    more = f" and {len(asked.due) - _LISTED} ranges before" if len(asked.due) > _LISTED else ""
    console.print(f"{'then ' if rows else ''}a reprocess is due of {shown}{more}:")
    if asked.moves:
        console.print(f"  tidemark reprocess {name} --all    (events may get other dates)")
        return
    for days in asked.due[-_LISTED:]:
        console.print(f"  tidemark reprocess {name} --from {days.start} --to {days.end}")


def _versions(history: Any) -> list[dict[str, Any]]:
    return [
        {
            "object": str(thing),
            "generation": version.generation,
            "from ingest_batch": version.log.low,
            "to": None if version.is_newest else version.log.high,
            "says": "(not there)" if version.value is None else orjson.dumps(version.value).decode(),
        }
        for thing, versions in sorted(history.versions().items())
        for version in versions
    ]
