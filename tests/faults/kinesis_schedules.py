"""Seeded fault schedules for the Kinesis source: real Spark, real processes, kill -9, and an emulator that misbehaves.

    make faults ARGS="--count 200 --first-seed 0"

A schedule draws, from its seed, puts (some of 1 MB records), reshards, faults of the service (throttles, 500s, hangs,
answers that break off, expired iterators) and deaths at every seam of the source; now and then the driver with all its
processes is killed. At the end the sink holds each record once, each shard's in order, and no replay gave other rows.
"""

import json
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from batch_files import batches_of
from botocore.exceptions import ClientError
from faulty_source import SEAMS
from killing import kill_session, python_environment
from kinesis_streams import Stream

from kinesis_emulator import running_emulator

AT_ONCE = 6
DRAIN_SECONDS = 120
MEGABYTE = 1024 * 1024 - 64
FAULTS: tuple[dict[str, Any], ...] = (
    {"operation": "GetRecords", "kind": "throttle", "probability": 0.5},
    {"operation": "GetRecords", "kind": "error", "probability": 0.3},
    {"operation": "GetRecords", "kind": "hang", "seconds": 1, "calls": 2},
    {"operation": "GetRecords", "kind": "close", "probability": 0.3},
    {"operation": "GetRecords", "kind": "expire", "calls": 2},
    {"operation": "GetShardIterator", "kind": "throttle", "calls": 3},
    {"operation": "ListShards", "kind": "error", "calls": 2},
)


@dataclass
class Schedule:
    """One schedule: its seed decides everything but the timing."""

    seed: int
    folder: Path
    log: list[str] = field(default_factory=list)
    failure: str | None = None

    def prepare(self, url: str) -> None:
        """Make the stream, and say what the query reads."""
        self.rng = random.Random(self.seed)
        self.stream = Stream(url)
        self.stream.client.create_stream(StreamName=self.stream.name, ShardCount=self.rng.choice([1, 2, 3]))
        options = {"streamName": self.stream.name, "endpointUrl": url, "shardRefreshSeconds": "0.2"}
        options["maxGetRecordsPerSecond"] = self.rng.choice(["0", "5", "20"])
        if limit := self.rng.choice([None, "7", "100"]):
            options["maxRecordsPerTrigger"] = limit
        if tasks := self.rng.choice([None, "1", "3"]):
            options["tasks"] = tasks
        self.folder.mkdir()
        (self.folder / "query.json").write_text(json.dumps(options))

    def run(self) -> None:
        """Do what the seed says, drain, and judge; what went wrong is in ``failure``."""
        try:
            self.stream.put(5)
            self._await("the query reads", lambda: self._rows() >= 5, DRAIN_SECONDS)
            for _ in range(self.rng.randint(6, 12)):
                self._step()
            self._faults([])
            (self.folder / "armed").unlink(missing_ok=True)
            self._await("everything is there", lambda: self._rows() >= len(self.stream.values), DRAIN_SECONDS)
            self._judge()
        except Exception as error:
            self.failure = f"{type(error).__name__}: {error}"
        finally:
            (self.folder / "done").touch()

    def _step(self) -> None:
        draw = self.rng.random()
        if draw < 0.4:
            number = self.rng.randint(1, 200)
            self._say(f"put {number}")
            self.stream.put(number)
        elif draw < 0.45:
            self._say("put 1 MB records")
            self.stream.put_large(self.rng.randint(1, 4), MEGABYTE)
        elif draw < 0.57:
            self._reshard()
        elif draw < 0.72:
            fault = self.rng.choice(FAULTS)
            self._say(f"fault {fault}")
            self._faults([{**fault, "seed": self.seed} if "probability" in fault else fault])
        elif draw < 0.77:
            self._faults([])
        else:
            seam = self.rng.choice(SEAMS)
            self._say(f"die {seam}")
            (self.folder / "armed.draft").write_text(seam)
            (self.folder / "armed.draft").rename(self.folder / "armed")
            # A batch that comes to the seam needs something to read.
            self.stream.put(self.rng.randint(1, 30))
            self._await("somebody came to the seam", lambda: not (self.folder / "armed").exists(), 4, must=False)

    def _reshard(self) -> None:
        target = self.rng.choice([1, 2, 3, 4])
        self._say(f"reshard to {target}")
        try:
            self.stream.resize(target)
        except ClientError as refused:  # more than double, or less than half
            self._say(str(refused))

    def _faults(self, rules: list[dict[str, Any]]) -> None:
        httpx.post(f"{self.stream.url}/_control/faults", json=rules).raise_for_status()

    def _rows(self) -> int:
        return sum(len(batch) for batch in batches_of(self.folder / "out"))

    def _judge(self) -> None:
        rows = [row for batch in batches_of(self.folder / "out") for row in batch]
        got, wanted = Counter(value for _, _, value in rows), Counter(v.decode() for v in self.stream.values)
        missing, extra = wanted - got, got - wanted
        assert not missing, f"{missing.total()} missing, {extra.total()} too many"
        assert not extra, f"{extra.total()} too many"
        last: dict[str, int] = {}
        for batch in batches_of(self.folder / "out"):
            for shard, number, _ in batch:
                assert last.get(shard, 0) < int(number), f"out of order in {shard}"
                last[shard] = int(number)
        errors = self.folder / "errors.log"
        replayed = errors.exists() and "replayed with other rows" in errors.read_text()
        assert not replayed, "a replay gave other rows"

    def _await(self, what: str, condition: Any, seconds: float, *, must: bool = True) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                assert not must, f"not within {seconds} s: {what}; {self._rows()} of {len(self.stream.values)} rows"
                return
            time.sleep(0.05)

    def _say(self, text: str) -> None:
        self.log.append(text)

    @property
    def deaths(self) -> int:
        return len(list(self.folder.glob("died at *")))


@contextmanager
def driver(root: Path, kill_after: list[float]) -> Iterator[None]:
    """A driver over the schedules of a folder; killed with all its processes after so many seconds each time."""
    ending = threading.Event()
    command = [sys.executable, str(Path(__file__).with_name("fault_driver.py")), str(root)]
    environment = python_environment(sys.executable)
    environment["PYTHONPATH"] += f":{Path(__file__).parent}"
    environment |= {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}

    def start() -> subprocess.Popen[bytes]:
        with (root / "driver.log").open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True, env=environment)

    def keep() -> None:
        waits = list(kill_after)
        while True:
            process = start()
            ending.wait(waits.pop(0) if waits else None)
            if not ending.is_set():
                (root / f"driver killed {time.time_ns()}").touch()
            kill_session(process.pid)
            process.wait()
            if ending.is_set():
                return

    keeper = threading.Thread(target=keep)
    keeper.start()
    try:
        yield
    finally:
        ending.set()
        keeper.join()


def run_group(seeds: list[int], root: Path) -> list[Schedule]:
    """Run schedules at the same time in one driver, each against an emulator of its own."""
    rng = random.Random(seeds[0])
    root.mkdir(parents=True)
    schedules = [Schedule(seed, root / f"seed-{seed}") for seed in seeds]
    with ThreadPoolExecutor(len(seeds)) as pool:
        emulators = [running_emulator(arguments=("--create-milliseconds", "0")) for _ in seeds]
        urls = [emulator.__enter__() for emulator in emulators]
        try:
            for schedule, url in zip(schedules, urls, strict=True):
                schedule.prepare(url)
            # A driver needs some ten seconds until its queries run.
            kills = [rng.uniform(12, 30) for _ in range(rng.choice([0, 1, 2]))]
            with driver(root, kills):
                list(pool.map(Schedule.run, schedules))
        finally:
            for emulator in emulators:
                emulator.__exit__(None, None, None)
    return schedules


def main(
    count: Annotated[int, typer.Option(help="How many schedules.")] = 200,
    first_seed: Annotated[int, typer.Option(help="The first one's seed; the others follow.")] = 0,
    keep: Annotated[Path | None, typer.Option(help="Keep what failed schedules left in this folder.")] = None,
) -> None:
    """Run seeded fault schedules; exit code 1 if one fails."""
    failed: list[Schedule] = []
    deaths = kills = records = 0
    began = time.monotonic()
    seeds = list(range(first_seed, first_seed + count))
    with tempfile.TemporaryDirectory(prefix="schedules-") as scratch:
        for at in range(0, count, AT_ONCE):
            root = (keep or Path(scratch)) / f"group-{first_seed + at}"
            done = run_group(seeds[at : at + AT_ONCE], root)
            deaths += sum(schedule.deaths for schedule in done)
            kills += len(list(root.glob("driver killed *")))
            records += sum(len(schedule.stream.values) for schedule in done)
            failed += [schedule for schedule in done if schedule.failure]
            typer.echo(
                f"{at + len(done)}/{count} schedules, {len(failed)} failed, {records:,} records, {deaths} deaths at "
                f"seams, {kills} drivers killed, {time.monotonic() - began:.0f} s"
            )
    for schedule in failed:
        typer.echo(f"seed {schedule.seed}: {schedule.failure}\n  " + "\n  ".join(schedule.log))
    raise typer.Exit(1 if failed else 0)


if __name__ == "__main__":
    typer.run(main)
