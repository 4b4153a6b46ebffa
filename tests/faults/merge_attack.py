"""One schedule: children, readers and steps put together, and the judgement at its end."""

import random
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path

from botocore.exceptions import ClientError
from kinesis_streams import Stream
from merge_children import Operations, Streams, await_true
from merge_final import check_account, check_layers, check_tightened, drained
from merge_golden import Golden, Violation
from merge_ledger import Ledger
from merge_readers import Judge, Readers
from merge_steps import ALL, RANGED, Step
from merge_world import World

from kinesis_emulator import running_emulator
from tidemark.lake.evolution import create_tables

AT_ONCE = 1
START_SECONDS = 600
DRAIN_SECONDS = 600


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
        moving: bool = False,
        tighten: bool = False,
        reconciles: bool = True,
        say: Callable[[str], None] = print,
    ) -> None:
        self.seed = seed
        self._folder = folder
        self._mutation = mutation
        self._at_once = at_once
        self._moving = moving
        self._tighten = tighten
        self._reconciles = reconciles
        self._say = say
        self._lost = 0

    def run(self, steps: list[Step]) -> Violation | None:
        """Do the steps, drain, and judge; what was violated, if anything was."""
        self._folder.mkdir(parents=True)
        with running_emulator(arguments=("--create-milliseconds", "0")) as url, self._stage(url):
            try:
                self._attack(steps)
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
        self._ledger = Ledger(self.seed, stream, moving=self._moving)
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

    def _attack(self, steps: list[Step]) -> None:
        self._streams.start()
        self._ledger.put(50)
        self._await("the streams run", lambda: drained(self._world, self._golden), START_SECONDS, every=0.5)
        self._operations.start()
        self._await("Spark is ready", self._operations.ready.is_set, START_SECONDS)
        with Readers(self._world, self._judge, self.seed) as readers:
            for number, step in enumerate(steps):
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
            self._await("the streams run", self._streams.are_running, START_SECONDS, every=0.5)
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
                self._send_range("reprocess", step.days)
            self._at_seam(step)
            self._operations.kill()
            self._operations.start()
        else:
            self._await("few operations", lambda: len(self._operations.pending) < 3, 90, must=False, every=0.2)
            if step.kind in RANGED:
                self._send_range(step.kind, step.days)
            else:
                self._operations.send(step.kind)

    def _send_range(self, operation: str, days: tuple[date, date], **more: bool) -> int:
        return self._operations.send(operation, start=days[0].isoformat(), end=days[1].isoformat(), **more)

    def _at_seam(self, step: Step) -> None:
        """Come to the moment right after the next commit to the step's table, if there is one soon."""
        if step.after_commit is None:
            return
        table = next(table for table in self._world.tables if table.name == step.after_commit)
        log = Path(table.uri) / "_delta_log"
        before = len(list(log.glob("*.json")))
        self._ledger.put(20)
        self._await("a commit", lambda: len(list(log.glob("*.json"))) > before, 30, must=False, every=0.005)

    def _finish(self, readers: Readers) -> None:
        self._say(f"seed {self.seed}: draining; {self.tally}")
        self._await("operations end", lambda: not self._operations.pending, DRAIN_SECONDS)
        self._await("everything is refined", lambda: drained(self._world, self._golden), DRAIN_SECONDS, every=0.5)
        check_account(self._world, self._golden)
        check_layers(self._world, self._golden)
        if self._mutation != "no-marker":
            self._reprocess_all(readers)
        if self._tighten:
            self._do_tighten(readers)
        self._await("Spark answers", self._spark_answers(), DRAIN_SECONDS)
        self._say(f"seed {self.seed}: drained, all accounts agree; {self.tally}")

    def _reprocess_all(self, readers: Readers) -> None:
        """A reprocess of everything changes no answer."""
        before = readers.ask_all()
        self._await_done("the last reprocess ends", self._send_range("reprocess", ALL, audit=True))
        if readers.ask_all() != before:
            raise Violation("3: agreement", "a reprocess of everything changed an answer")
        check_account(self._world, self._golden)
        if self._reconciles:
            self._await_done("reconcile ends", self._send_range("reconcile", ALL))
        compared = check_layers(self._world, self._golden)
        self._say(f"seed {self.seed}: {compared} segments compared")

    def _do_tighten(self, readers: Readers) -> None:
        """A stricter definition, under which a date loses all its events, replaces the other at once."""
        self._say(f"seed {self.seed}: a stricter definition; {self.tally}")
        self._world = replace(self._world, stricter=True)
        self._world.save()
        for child in (self._streams, self._operations):
            child.kill()
            child.kills -= 1  # a restart, no accident
            child.start()
        self._judge.stricter = True
        self._await("Spark is ready", self._operations.ready.is_set, START_SECONDS)
        self._await("the streams run", self._streams.are_running, START_SECONDS, every=0.5)
        self._await_done("the stricter reprocess ends", self._send_range("reprocess", ALL, audit=True))
        self._judge.tightened = True
        readers.ask_all()
        check_tightened(self._world, self._golden)

    def _spark_answers(self) -> Callable[[], bool]:
        before = self._judge.answers["spark"]
        return lambda: self._judge.answers["spark"] > before

    def _await_done(self, what: str, number: int) -> None:
        done = self._operations.done.total()
        self._await(what, lambda: number not in self._operations.pending, DRAIN_SECONDS)
        if self._operations.done.total() == done:
            raise Violation("5: nothing blocks", f"not done, with nothing in its way: {what}")

    def _await(
        self, what: str, condition: Callable[[], bool], seconds: float, *, must: bool = True, every: float = 0.05
    ) -> None:
        """Wait, and end at once where a reader has found a violation or a child has ended."""

        def look() -> bool:
            if self._judge.violation:
                raise self._judge.violation
            for child in (self._streams, self._operations):
                child.check()
            return condition()

        await_true(what, look, seconds, must=must, every=every)
