"""Seeded schedules of definitions that change while hostile records come, each answer against a model in plain Python.

    make faults-changes ARGS="--minutes 30 --first-seed 0"

A schedule is drawn from its seed: columns, rules, keys, zones, event times, rollups and measures come, change, go and
come back; deployments are rolled back; a reprocess waits meanwhile, or dies between two commits; checkpoints are
lost; the clock of a host goes back. After each step silver, the account of the log and every answer must be those of
the model.
"""

import shutil
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer
from changes_attack import Attack, Tally, Violation
from changes_mutations import MUTATIONS

from tidemark.core.settings import get_settings
from tidemark_spark.driver.session import local_session

STEPS = 25


def main(
    minutes: Annotated[float, typer.Option(help="Begin schedules for so long.")] = 30,
    first_seed: Annotated[int, typer.Option(help="The first schedule's seed; the others follow.")] = 0,
    seed: Annotated[int | None, typer.Option(help="Replay the schedule of this seed, once.")] = None,
    steps: Annotated[int, typer.Option(help="Steps a schedule.")] = STEPS,
    mutation: Annotated[str | None, typer.Option("--mutate", help="Break the product so; must be found out.")] = None,
    keep: Annotated[Path | None, typer.Option(help="Keep what schedules left in this folder.")] = None,
) -> None:
    """Run schedules until time is up or something is violated; exit code 1 then, or if a mutation was not found."""
    if mutation and mutation not in MUTATIONS:
        raise typer.BadParameter(f"known mutations are {', '.join(MUTATIONS)}")
    spark = local_session("changes", get_settings())
    spark.sparkContext.setLogLevel("ERROR")
    if mutation:
        MUTATIONS[mutation]()
    began, total, violation = time.monotonic(), Tally(), None
    at = first_seed if seed is None else seed
    with tempfile.TemporaryDirectory(prefix="changes-") as scratch:
        while violation is None and time.monotonic() - began < minutes * 60:
            folder = (keep or Path(scratch)) / f"seed-{at}"
            attack = Attack(spark, at, folder, say=lambda text, at=at: typer.echo(f"seed {at} {text}"))  # type: ignore[misc]
            try:
                attack.run(steps)
            except Violation as found:
                violation = found
            total.add(attack.tally)
            typer.echo(f"{time.monotonic() - began:.0f} s, through seed {at}: {total}")
            if not keep:
                shutil.rmtree(folder, ignore_errors=True)
            at += 1
            if seed is not None:
                break
    if violation:
        typer.echo(f"seed {at - 1}: VIOLATION {violation}")
    if mutation:
        typer.echo(f"mutation {mutation}: {'found' if violation else 'NOT FOUND'} after {total.answers} answers")
    raise typer.Exit(int(bool(violation) is not bool(mutation)))


if __name__ == "__main__":
    typer.run(main)
