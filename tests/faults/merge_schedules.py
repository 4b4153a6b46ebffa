"""Seeded schedules that attack the merge: streams, operations, kills and lost checkpoints under continuous readers.

    make faults-merge ARGS="--minutes 30 --first-seed 0"

A schedule is a list of steps drawn from its seed. A producer that knows each record puts late, broken, repeated and
disordered events into the emulator; both streams run in one child process, and reprocesses of random ranges, compaction
and folding in another; both are killed with kill -9 at random moments, or right after a commit to some table, and
checkpoints are deleted while the streams are down. Meanwhile readers ask the serving view through DuckDB and through
Spark: each answer must equal the recomputation of the prefix of the log that its snapshot states, and none may lie
before one that was finished when it began. The seed decides everything but the timing.
"""

import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer
from merge_attack import AT_ONCE, Schedule, Tally
from merge_mutations import MUTATIONS, mutate
from merge_steps import STEPS, Step, draw


def shrink(seed: int, steps: list[Step], root: Path, attempts: int) -> list[Step]:
    """A shorter list of steps that still fails: prefixes by halves first, then without pieces of what is left."""

    def fails(candidate: list[Step]) -> bool:
        for _ in range(attempts):
            schedule = Schedule(seed, root / f"shrink-{time.monotonic_ns()}", say=lambda _: None)
            violation = schedule.run(candidate)
            typer.echo(f"{len(candidate)} steps: {violation or 'hold'}")
            if violation:
                return True
        return False

    while len(steps) > 1 and fails(steps[: len(steps) // 2]):
        steps = steps[: len(steps) // 2]
    size = max(1, len(steps) // 2)
    while size:
        at = 0
        while at < len(steps):
            shorter = steps[:at] + steps[at + size :]
            if shorter and fails(shorter):
                steps = shorter
            else:
                at += size
        size //= 2
    return steps


def main(
    minutes: Annotated[float, typer.Option(help="Begin schedules for so long.")] = 30,
    first_seed: Annotated[int, typer.Option(help="The first schedule's seed; the others follow.")] = 0,
    seed: Annotated[int | None, typer.Option(help="Replay the schedule of this seed, once.")] = None,
    shrink_seed: Annotated[int | None, typer.Option("--shrink", help="Look for a shorter one that fails, too.")] = None,
    attempts: Annotated[int, typer.Option(help="How often to try a schedule before it passes for sound.")] = 2,
    mutation: Annotated[str | None, typer.Option("--mutate", help="Break the product so; must be found out.")] = None,
    at_once: Annotated[int, typer.Option(help="Operations at the same time.")] = AT_ONCE,
    moving: Annotated[bool, typer.Option(help="Copies may have another event date than the first.")] = False,
    tighten: Annotated[bool, typer.Option(help="End with a stricter definition.")] = False,
    steps: Annotated[int, typer.Option(help="Steps a schedule.")] = STEPS,
    keep: Annotated[Path | None, typer.Option(help="Keep what schedules left in this folder.")] = None,
) -> None:
    """Run schedules until time is up or an invariant is violated; exit code 1 then, or if a mutation was not found."""
    if mutation and mutation not in MUTATIONS:
        raise typer.BadParameter(f"known mutations are {', '.join(MUTATIONS)}")
    # Whoever ends this ends its children.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    if mutation == "speed-first":
        mutate(mutation)
    began, total, violation = time.monotonic(), Tally(), None
    at = first_seed if seed is None else seed
    with tempfile.TemporaryDirectory(prefix="merge-") as scratch:
        root = keep or Path(scratch)
        if shrink_seed is not None:
            for step in shrink(shrink_seed, draw(shrink_seed, steps), root, attempts):
                typer.echo(step)
            return
        while violation is None and time.monotonic() - began < minutes * 60:
            schedule = Schedule(
                at,
                root / f"seed-{at}-{time.monotonic_ns()}",
                mutation=mutation,
                at_once=at_once,
                moving=moving,
                tighten=tighten or mutation == "no-marker",
                say=typer.echo,
            )
            violation = schedule.run(draw(at, steps))
            total.add(schedule.tally)
            typer.echo(f"{time.monotonic() - began:.0f} s, through seed {at}: {total}")
            at += 1
            if seed is not None:
                break
            if not keep and not violation:
                shutil.rmtree(root, ignore_errors=True)
                root.mkdir()
    typer.echo(f"answers by reader: {total.by_reader}")
    if violation:
        typer.echo(f"seed {at - 1}: VIOLATION {violation}")
    if mutation:
        typer.echo(
            f"mutation {mutation}: "
            + (f"found by {violation.check} after {total.answers} answers" if violation else "NOT FOUND")
        )
    raise typer.Exit(int(bool(violation) is not bool(mutation)))


if __name__ == "__main__":
    typer.run(main)
