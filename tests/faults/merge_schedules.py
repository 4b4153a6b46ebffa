"""Seeded schedules that attack the merge: streams, operations, kills and lost checkpoints under continuous readers.

    make faults-merge ARGS="--minutes 30 --first-seed 0"

A schedule is a list of steps drawn from its seed. A producer that knows each record puts late, broken, repeated and
disordered events into the emulator; both streams run in one child process, and reprocesses of random ranges, compaction
and folding in another; both are killed with kill -9 at random moments, or right after a commit to some table, and
checkpoints are deleted while the streams are down. Meanwhile readers ask the serving view through DuckDB and through
Spark: each answer must equal the recomputation of the prefix of the log that its snapshot states, and none may lie
before one that was finished when it began. The seed decides everything but the timing.
"""

import importlib.util
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Annotated

import typer
from botocore.exceptions import ClientError
from kinesis_streams import Stream
from merge_children import Operations, Streams, await_true
from merge_final import check_account, check_layers, drained
from merge_golden import Golden, Violation
from merge_ledger import Ledger
from merge_mutations import FOLD, MUTATIONS, mutate
from merge_readers import Judge, Readers, slow_pins
from merge_world import DAYS, RELIC_DAY, World

from kinesis_emulator import running_emulator
from tidemark.delta import create_tables

STEPS = 24
AT_ONCE = 1
START_SECONDS = 120
DRAIN_SECONDS = 150
ALL = (RELIC_DAY - timedelta(days=1), DAYS[-1] + timedelta(days=1))


FOLDING = importlib.util.find_spec(FOLD) is not None
"""Whether there is folding yet."""


@dataclass(frozen=True)
class Step:
    """``records`` are put over ``pause`` seconds, then the step is done."""

    kind: str
    records: int
    pause: float
    days: tuple[date, date] = ALL
    after_commit: str | None = None
    lose: tuple[str, ...] = ()
    shards: int = 1

    def __str__(self) -> str:
        said = [f"put {self.records} in {self.pause:.1f} s, {self.kind}"]
        if self.kind == "reprocess":
            said.append(f"[{self.days[0]}, {self.days[1]})")
        if self.after_commit:
            said.append(f"after a commit to {self.after_commit}")
        if self.lose:
            said.append(f"losing the checkpoints of {', '.join(self.lose)}")
        if self.kind == "reshard":
            said.append(f"to {self.shards}")
        return " ".join(said)


KIND_WEIGHTS = {"reprocess": 8, "compact": 3, "fold": 4, "kill streams": 5, "kill operations": 3, "reshard": 1}
SEAMS = {
    "kill streams": ["bronze", "quarantine", "refine_log", "speed_daily", "speed_sliding", "silver", None, None],
    "kill operations": ["silver", "batch_sliding", "batch_daily", None, None],
}


def draw(seed: int, count: int) -> list[Step]:
    """The steps of a seed; those of a smaller count are their beginning."""
    rng = random.Random(f"{seed} steps")
    steps = []
    for _ in range(count):
        kind = rng.choices(list(KIND_WEIGHTS), list(KIND_WEIGHTS.values()))[0]
        first = rng.choice([*DAYS, *DAYS, *ALL[:1]])
        last = rng.choice([day for day in (*DAYS, ALL[1]) if day > first] or [ALL[1]])
        lost = rng.choice([("ingest",), ("refine",), ("ingest", "refine")]) if rng.random() < 0.4 else ()
        steps.append(
            Step(
                kind=kind,
                records=rng.choice([0, 20, 60, 200]),
                pause=rng.uniform(0, 5),
                days=(first, last),
                after_commit=rng.choice(SEAMS.get(kind, [None])),
                lose=lost if kind == "kill streams" else (),
                shards=rng.choice([1, 2, 3]),
            )
        )
    return steps


@dataclass
class Tally:
    """What schedules did, for the progress lines."""

    answers: int = 0
    by_reader: dict[str, int] = field(default_factory=dict)
    positions: int = 0
    records: int = 0
    kills: int = 0
    lost_checkpoints: int = 0
    operations: dict[str, int] = field(default_factory=dict)
    excused: int = 0
    compared: int = 0

    def __str__(self) -> str:
        operations = ", ".join(f"{count} {name}" for name, count in sorted(self.operations.items())) or "no operations"
        return (
            f"{self.answers:,} answers at {self.positions:,} positions, {self.records:,} records, {self.kills} kills, "
            f"{self.lost_checkpoints} checkpoints lost, {operations}, {self.excused} waited in vain"
        )

    def add(self, other: "Tally") -> None:
        for name in ("answers", "positions", "records", "kills", "lost_checkpoints", "excused", "compared"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for mine, theirs in ((self.by_reader, other.by_reader), (self.operations, other.operations)):
            for name, count in theirs.items():
                mine[name] = mine.get(name, 0) + count


class Schedule:
    """One schedule in a folder of its own, against an emulator of its own."""

    def __init__(
        self,
        seed: int,
        folder: Path,
        *,
        mutation: str | None = None,
        at_once: int = AT_ONCE,
        say: Callable[[str], None] = print,
    ) -> None:
        self.seed = seed
        self._folder = folder
        self._mutation = mutation
        self._at_once = at_once
        self._say = say
        self._lost = 0

    def run(self, steps: list[Step], limit_seconds: float = 1e9) -> Violation | None:
        """Do the steps, as many as begin within the limit, drain, and judge; what was violated, if anything was."""
        self._folder.mkdir(parents=True)
        with running_emulator(arguments=("--create-milliseconds", "0")) as url, self._stage(url):
            try:
                self._attack(steps, time.monotonic() + limit_seconds)
            except Violation as violation:
                self._judge.found(violation)
        return self._judge.violation

    @property
    def tally(self) -> Tally:
        judge, operations = self._judge, self._operations
        return Tally(
            judge.total, dict(judge.answers), len(judge.positions), len(self._ledger),
            self._streams.kills + operations.kills, self._lost, dict(operations.done), operations.excused,
        )  # fmt: skip

    @contextmanager
    def _stage(self, url: str) -> Iterator[None]:
        rng = random.Random(f"{self.seed} world")
        self._world = World(
            str(self._folder), url, rng.choice([2, 6, 30]), rng.choice([60, 400, 50_000]), self._at_once, self._mutation
        )
        self._world.save()
        stream = Stream(url, self._world.pipeline.source.name)
        stream.client.create_stream(StreamName=stream.name, ShardCount=rng.choice([1, 2, 3]))
        create_tables(self._world.tables, self._world.settings)
        self._ledger = Ledger(self.seed, stream)
        self._golden = Golden(self._ledger, self._world.tables.bronze.uri)
        self._judge = Judge(self._golden)
        self._streams, self._operations = Streams(self._folder), Operations(self._folder, self._judge)
        try:
            yield
        finally:
            # These two are ends, no kills of the schedule.
            for child in (self._streams, self._operations):
                if child.process:
                    child.kill()
                    child.kills -= 1

    def _attack(self, steps: list[Step], deadline: float) -> None:
        self._streams.start()
        self._operations.start()
        with Readers(self._world, self._judge, self.seed) as readers:
            self._ledger.put(50)
            self._await("the streams run", lambda: drained(self._world, self._golden), START_SECONDS)
            self._await("Spark is ready", self._operations.ready.is_set, START_SECONDS)
            for number, step in enumerate(steps):
                if time.monotonic() > deadline:
                    self._say(f"seed {self.seed}: time is up after {number} of {len(steps)} steps")
                    break
                self._say(f"seed {self.seed} {number + 1}/{len(steps)}: {step}; {self.tally}")
                self._trickle(step)
                self._do(step)
            self._finish(readers)

    def _trickle(self, step: Step) -> None:
        """Put the step's records in ten lots over its pause."""
        for lot in range(10):
            self._ledger.put(step.records // 10)
            ends = time.monotonic() + step.pause / 10
            self._await(f"pause {lot}", lambda ends=ends: time.monotonic() >= ends, 60)  # type: ignore[misc]

    def _do(self, step: Step) -> None:
        if step.kind == "reshard":
            try:
                self._ledger.stream.resize(step.shards)
            except ClientError as refused:  # as many already, or shards still change
                self._say(str(refused))
        elif step.kind == "kill streams":
            self._at_seam(step)
            self._streams.kill()
            for name in step.lose:
                shutil.rmtree(
                    f"{self._world.settings.state_uri}/{self._world.pipeline.name}/{name}", ignore_errors=True
                )
                self._lost += 1
            self._streams.start()
        elif step.kind == "kill operations":
            self._await("Spark is ready", self._operations.ready.is_set, START_SECONDS)
            if not self._operations.pending:
                self._reprocess(step.days)
            self._at_seam(step)
            self._operations.kill()
            self._operations.start()
        else:
            self._await("few operations", lambda: len(self._operations.pending) < 3, 30, must=False)
            if step.kind == "reprocess":
                self._reprocess(step.days)
            elif step.kind != "fold" or FOLDING:
                self._operations.send(step.kind)

    def _reprocess(self, days: tuple[date, date], **more: bool) -> int:
        return self._operations.send("reprocess", start=days[0].isoformat(), end=days[1].isoformat(), **more)

    def _at_seam(self, step: Step) -> None:
        """Come to the moment right after the next commit to the step's table, if there is one soon."""
        if step.after_commit is None:
            return
        table = next(table for table in self._world.tables if table.name == step.after_commit)
        log = Path(table.uri) / "_delta_log"
        before = len(list(log.glob("*.json")))
        self._ledger.put(20)
        self._await("a commit", lambda: len(list(log.glob("*.json"))) > before, 15, must=False)

    def _finish(self, readers: Readers) -> None:
        self._say(f"seed {self.seed}: draining; {self.tally}")
        self._await("operations end", lambda: not self._operations.pending, DRAIN_SECONDS)
        self._await("everything is refined", lambda: drained(self._world, self._golden), DRAIN_SECONDS)
        check_account(self._world, self._golden)
        check_layers(self._world, self._golden)
        before = readers.ask_all()
        self._await_done("the last reprocess ends", self._reprocess(ALL))
        if readers.ask_all() != before:
            raise Violation("3: agreement", "a reprocess of everything changed an answer")
        check_account(self._world, self._golden)
        compared = check_layers(self._world, self._golden)
        self._await("Spark answers", self._spark_answers(), 60)
        self._say(f"seed {self.seed}: drained, all accounts agree, {compared} segments compared; {self.tally}")

    def _spark_answers(self) -> Callable[[], bool]:
        before = self._judge.answers["spark"]
        return lambda: self._judge.answers["spark"] > before

    def _await_done(self, what: str, number: int) -> None:
        done = self._operations.done.total()
        self._await(what, lambda: number not in self._operations.pending, DRAIN_SECONDS)
        if self._operations.done.total() == done:
            raise Violation("5: nothing blocks", f"not done, with nothing in its way: {what}")

    def _await(self, what: str, condition: Callable[[], bool], seconds: float, *, must: bool = True) -> None:
        """Wait, and end at once where a reader has found a violation or a child has ended."""

        def look() -> bool:
            if self._judge.violation:
                raise self._judge.violation
            self._streams.check()
            self._operations.check()
            return condition()

        await_true(what, look, seconds, must=must)


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
    steps: Annotated[int, typer.Option(help="Steps a schedule.")] = STEPS,
    keep: Annotated[Path | None, typer.Option(help="Keep what schedules left in this folder.")] = None,
) -> None:
    """Run schedules until time is up or an invariant is violated; exit code 1 then, or if a mutation was not found."""
    if mutation and mutation not in MUTATIONS:
        raise typer.BadParameter(f"known mutations are {', '.join(MUTATIONS)}")
    slow_pins()
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
                at, root / f"seed-{at}-{time.monotonic_ns()}", mutation=mutation, at_once=at_once, say=typer.echo
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
