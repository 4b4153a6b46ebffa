"""Seeded fault schedules for the Kinesis source: real Spark, real processes, kill -9, and an emulator that misbehaves.

    make faults ARGS="--count 204 --first-seed 0"

A schedule draws, from its seed, puts (some of 1 MB records), reshards, faults of the service (throttles, 500s, hangs,
answers that break off, empty ones, closed shards that do not end, lists that leave shards out, expired iterators and
tokens; with --fan-out, of subscriptions), clocks that differ, keys that are replaced, and what happens at seams of the
source: a death, a reshard, both, a ledger or a sink that fails. Now and then the driver with all its processes is
killed. Or the query is stopped, and meanwhile its ledger is lost or set back, which has to be refused without a row;
or, in schedules with failOnDataLoss=false, records and shards age out, or the stream is made again. At the end the sink
holds each record once, but for those that were lost so, each shard's in order, and no replay gave other rows.
"""

import configparser
import json
import random
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, repeat
from pathlib import Path
from typing import Annotated, Any

import http_calls
import typer
from batch_files import batches_of
from botocore.exceptions import ClientError
from faulty_source import FAILING, KILLING
from killing import kill_session, python_environment
from kinesis_streams import Stream

from kinesis_emulator import running_emulator

AT_ONCE = 6
# A machine may be busy; what is lost does not come later.
DRAIN_SECONDS = 600
SEAM_SECONDS = 6
STOP_SECONDS = 20
# So long after the first rows that come through it a driver is killed: the first one soon, the others now and then,
# as a start takes long.
FIRST_KILL_SECONDS, KILL_SECONDS = (2, 15), (120, 600)
MEGABYTE = 1024 * 1024 - 64
# Few shards a page, so that their list has tokens, which can expire.
EMULATOR = ("--create-milliseconds", "0", "--shards-per-page", "2")
# Subscriptions that end soon, and can soon be had again.
HASTY = ("--takeover-seconds", "0.5", "--subscription-seconds", "2", "--heartbeat-seconds", "0.2")
FAULTS: tuple[dict[str, Any], ...] = (
    {"operation": "GetRecords", "kind": "throttle", "probability": 0.5},
    {"operation": "GetRecords", "kind": "error", "probability": 0.3},
    {"operation": "GetRecords", "kind": "hang", "seconds": 1, "calls": 2},
    {"operation": "GetRecords", "kind": "close", "probability": 0.3},
    {"operation": "GetRecords", "kind": "expire", "calls": 2},
    {"operation": "GetRecords", "kind": "expire", "probability": 0.2},
    {"operation": "GetShardIterator", "kind": "throttle", "calls": 3},
    {"operation": "ListShards", "kind": "error", "calls": 2},
    {"operation": "ListShards", "kind": "expire", "calls": 2},
    {"operation": "ListShards", "kind": "omit", "calls": 2},
    {"operation": "ListShards", "kind": "omit", "probability": 0.5},
    {"operation": "GetRecords", "kind": "empty", "probability": 0.3, "seconds": 60},
    {"operation": "GetRecords", "kind": "unending"},
)
# Where a consumer is named, those besides.
PUSH_FAULTS: tuple[dict[str, Any], ...] = (
    {"operation": "SubscribeToShard", "kind": "throttle", "probability": 0.5},
    {"operation": "SubscribeToShard", "kind": "error", "probability": 0.5},
    {"operation": "SubscribeToShard", "kind": "hang", "seconds": 1, "calls": 2},
    {"operation": "SubscribeToShard", "kind": "close", "probability": 0.5},
)
# Seconds that the service's clock is ahead of ours. Beyond a quarter of an hour AWS refuses signatures.
SKEWS = (-600, -60, -5, 0, 5, 60, 600)
AGING_SECONDS = 25 * 3600
# One file of credentials for the driver, a profile in it for each schedule.
CREDENTIALS = threading.Lock()


@dataclass
class Schedule:
    """One schedule: its seed decides everything but the timing."""

    seed: int
    folder: Path
    fan_out: bool = False
    log: list[str] = field(default_factory=list)
    failure: str | None = None
    _key: list[str] = field(default_factory=list)

    def prepare(self, url: str) -> None:
        """Make the stream, and say what the query reads."""
        self.rng = random.Random(self.seed)
        self._read: set[Path] = set()
        self._seen: set[str] = set()
        # Values that may be lost, and how many there were each time the stream was made again.
        self._losable: set[str] = set()
        self._made_again: list[int] = []
        # Places in the log of errors where the ledger's refusals are.
        self._refusals: list[tuple[int, int]] = []
        self._pauses = 0
        self.aged = 0
        self.stream = Stream(url)
        self.stream.client.create_stream(StreamName=self.stream.name, ShardCount=self.rng.choice([1, 2, 3]))
        self.skew = self.rng.choice([0, *SKEWS])
        self._set_clock()
        self.large = self.rng.random() < 0.08
        options = {"streamName": self.stream.name, "endpointUrl": url, "shardRefreshSeconds": "0.5"}
        self._set_key(f"key-{self.seed}-0")
        options["awsProfile"] = self._profile
        self.lossy = self.rng.random() < 0.4
        if self.lossy:
            options["failOnDataLoss"] = "false"
        options["maxGetRecordsPerSecond"] = self.rng.choice(["0", "5", "20"])
        if limit := self.rng.choice([None, "25", "100"]):
            options["maxRecordsPerTrigger"] = limit
        if tasks := self.rng.choice([None, "1", "3"]):
            options["tasks"] = tasks
        self.latest = self.rng.random() < 0.25
        if self.latest:
            options["startingPosition"] = "LATEST"
            # Long before the query: it is none of its business.
            early = [{"Data": b"early", "PartitionKey": str(n)} for n in range(5)]
            self.stream.client.put_records(StreamName=self.stream.name, Records=early)
        if self.fan_out:
            options["consumerName"] = "schedule"
        self._say(f"read with {options}")
        self.folder.mkdir()
        (self.folder / "query.draft").write_text(json.dumps(options))
        (self.folder / "query.draft").rename(self.folder / "query.json")

    def run(self) -> None:
        """Do what the seed says, drain, and judge; what went wrong is in ``failure``."""
        try:
            if self.latest:
                self._await("LATEST is pinned", self._pinned, DRAIN_SECONDS)
            self._put(5)
            self._await("the query reads", self._all_there, DRAIN_SECONDS)
            steps = self.rng.randint(5, 9)
            # Of what a stop may bring, each schedule has one at least, as a draw alone may leave it out.
            stop_before = self.rng.randrange(steps)
            for number in range(steps):
                if number == stop_before:
                    self._stop_and_hurt()
                self._step()
            self._faults([])
            (self.folder / "armed").unlink(missing_ok=True)
            self._await("everything is there", self._all_there, DRAIN_SECONDS)
            self._judge()
        except Exception as error:
            self.failure = f"{type(error).__name__}: {error}; the query ended by: {self._ended_by() or 'nothing'}"
        finally:
            (self.folder / "done").touch()
            # The emulator outlives the query; unless the driver just died, which does not start this query again.
            self._await("it ended", (self.folder / "stopped").exists, STOP_SECONDS, must=False)

    def _step(self) -> None:
        draw = self.rng.random()
        if draw < 0.25:
            self._put(self.rng.randint(1, 100))
        elif draw < 0.30:
            self._put(1, large=True)
        elif draw < 0.38:
            self._reshard()
        elif draw < 0.53:
            fault = self.rng.choice((*FAULTS, *PUSH_FAULTS) if self.fan_out else FAULTS)
            if fault["kind"] == "omit":
                names = [
                    shard["ShardId"] for shard in self.stream.client.list_shards(StreamName=self.stream.name)["Shards"]
                ]
                fault = {**fault, "shards": sorted(self.rng.sample(names, self.rng.randint(1, len(names))))}
            self._say(f"fault {fault}")
            self._faults([{**fault, "seed": self.seed} if "probability" in fault else fault])
        elif draw < 0.56:
            self._faults([])
        elif draw < 0.62:
            # What was put after LATEST was pinned must not seem to be put before it: service clocks do not go back.
            self.skew = self.skew + 60 if self.latest else self.rng.choice(SKEWS)
            self._set_clock()
        elif draw < 0.74:
            self._stop_and_hurt()
        elif draw < 0.79:
            self._rotate()
        else:
            self._arm()

    @property
    def _profile(self) -> str:
        return f"seed-{self.seed}"

    def _set_key(self, key: str) -> None:
        """Have the query's profile hold a key, and the emulator take no other, but for this schedule's own."""
        self._control("keys", {"access_keys": ["test", key, *self._key]})
        path = self.folder.parent / "credentials"
        with CREDENTIALS:
            profiles = configparser.ConfigParser()
            profiles.read(path)
            profiles[self._profile] = {"aws_access_key_id": key, "aws_secret_access_key": "secret"}
            draft = path.with_suffix(".draft")
            with draft.open("w") as file:
                profiles.write(file)
            draft.rename(path)
        self._control("keys", {"access_keys": ["test", key]})
        self._key = [key]

    def _rotate(self) -> None:
        key = f"key-{self.seed}-{self.rng.randrange(10**6)}"
        self._say(f"the profile's key is {key} now, and the old one is refused")
        self._set_key(key)

    def _stop_and_hurt(self) -> None:
        """Stop the query, do something to what it will come back to, and start it again."""
        what = self.rng.choice(["ledger lost", "ledger set back", *(["age", "again"] * 2 if self.lossy else [])])
        self._say(f"stop the query; {what}")
        self._pause()
        if what == "ledger lost":
            self._take_ledger(None)
        elif what == "ledger set back":
            self._set_ledger_back()
        elif what == "age":
            self._put(self.rng.randint(0, 30))
            if self.rng.random() < 0.5:
                self._reshard()
            self._losable |= {value.decode() for value in self.stream.values}
            self.aged += AGING_SECONDS
            self._set_clock()
        else:
            self._losable |= {value.decode() for value in self.stream.values}
            self._made_again.append(len(self.stream.values))
            self.stream.client.delete_stream(StreamName=self.stream.name)
            gone = self.stream.client.get_waiter("stream_not_exists")
            gone.wait(StreamName=self.stream.name, WaiterConfig={"Delay": 1, "MaxAttempts": DRAIN_SECONDS})
            self.stream.client.create_stream(StreamName=self.stream.name, ShardCount=self.rng.choice([1, 2, 3]))
            self._say("the stream is made again")
        self._resume()
        self._put(self.rng.randint(1, 30))

    def _set_ledger_back(self) -> None:
        """Have the query go on for two batches at least, and come back to the ledger that it has now."""
        kept, begun = self.folder / "ledger-kept", self._newest_offset() or 0
        shutil.copytree(self.folder / "ledger", kept)
        self._resume()
        # Of one batch, a ledger of the moment before its first entry cannot be told from the right one.
        while (self._newest_offset() or 0) < begun + 2:
            self._put(self.rng.randint(1, 30))
            self._await("the query goes on", self._all_there, DRAIN_SECONDS)
        self._pause()
        self._take_ledger(kept)

    def _take_ledger(self, other: Path | None) -> None:
        """Have the query come back to another ledger, or none, and find that it refuses; then give it its own again."""
        ledger, own = self.folder / "ledger", self.folder / "ledger-own"
        rows, begun = self._rows(), len(self._errors())
        ledger.rename(own)
        if other is not None:
            other.rename(ledger)
        self._say(f"the ledger is {'set back' if other else 'lost'}")
        self._resume()
        self._await("it is refused", lambda: "LedgerError" in self._errors()[begun:], DRAIN_SECONDS)
        self._pause()
        self._refusals.append((begun, len(self._errors())))
        assert self._rows() == rows, "rows were handed on beside a ledger of another moment"
        shutil.rmtree(ledger, ignore_errors=True)
        own.rename(ledger)

    def _newest_offset(self) -> int | None:
        offsets = (self.folder / "checkpoint/offsets").glob("*")
        return max((int(path.name) for path in offsets if path.name.isdigit()), default=None)

    def _pause(self) -> None:
        self._pauses += 1
        (self.folder / f"pause {self._pauses}").touch()
        self._await("the query is stopped", (self.folder / f"paused {self._pauses}").exists, DRAIN_SECONDS)

    def _resume(self) -> None:
        (self.folder / f"pause {self._pauses}").unlink()

    def _put(self, number: int, *, large: bool = False) -> None:
        if large or self.large:
            number = self.rng.randint(1, 4)
            self._say(f"put {number} of 1 MB")
            self.stream.put_large(number, MEGABYTE)
        else:
            self._say(f"put {number}")
            self.stream.put(number)

    def _arm(self) -> None:
        """Have somebody die, fail or reshard at a seam."""
        # The driver's death is that of all queries in it.
        seam = self.rng.choice([*KILLING[:-1] * 3, *FAILING * 3, KILLING[-1]])
        die, reshard = self.rng.choice([(True, False), (True, False), (True, True), (False, True)])
        target = self._target() if reshard else None
        order = {"seam": seam, "die": die, "reshard": target, "url": self.stream.url, "stream": self.stream.name}
        self._say(f"at {seam}: die or fail {die}, reshard to {target}")
        (self.folder / "armed.draft").write_text(json.dumps(order))
        (self.folder / "armed.draft").rename(self.folder / "armed")
        # A batch that comes to the seam needs something to read.
        self._put(self.rng.randint(1, 30))
        self._await("somebody came to the seam", lambda: not (self.folder / "armed").exists(), SEAM_SECONDS, must=False)

    def _target(self) -> int:
        """Another number of shards that UpdateShardCount allows."""
        summary = self.stream.client.describe_stream_summary(StreamName=self.stream.name)["StreamDescriptionSummary"]
        now = summary["OpenShardCount"]
        return self.rng.choice([n for n in (1, 2, 3, 4) if n != now and now <= 2 * n and n <= 2 * now])

    def _reshard(self) -> None:
        target = self._target()
        self._say(f"reshard to {target}")
        try:
            self.stream.resize(target)
        except ClientError as refused:  # somebody at a seam was quicker
            self._say(str(refused))

    def _faults(self, rules: list[dict[str, Any]]) -> None:
        self._control("faults", rules)

    def _set_clock(self) -> None:
        self._say(f"the service's clock is {self.skew + self.aged} s ahead")
        self._control("clock", {"offset_seconds": self.skew + self.aged})

    def _control(self, what: str, body: object) -> None:
        http_calls.post(f"{self.stream.url}/_control/{what}", json=body).raise_for_status()

    def _pinned(self) -> bool:
        # The pin goes when a first batch is committed.
        return (self.folder / "ledger/start.json").exists() or (self.folder / "checkpoint/commits/0").exists()

    def _rows(self) -> int:
        """How many different values the sink holds."""
        for path in set((self.folder / "out").glob("*.json")) - self._read:
            self._seen |= {value for _, _, value in json.loads(path.read_text())}
            self._read.add(path)
        return len(self._seen)

    def _all_there(self) -> bool:
        self._rows()
        return {value.decode() for value in self.stream.values} - self._losable <= self._seen

    def _errors(self) -> str:
        log = self.folder / "errors.log"
        return log.read_text() if log.exists() else ""

    def _judge(self) -> None:
        rows = [row for batch in batches_of(self.folder / "out") for row in batch]
        got, wanted = Counter(value for _, _, value in rows), Counter(v.decode() for v in self.stream.values)
        missing, extra = wanted - got, got - wanted
        for value in self._losable:
            missing.pop(value, None)
        assert not missing, f"{missing.total()} missing, {extra.total()} too many"
        assert not extra, f"{extra.total()} too many"
        last: dict[tuple[str, int], int] = {}
        for shard, number, value in rows:
            # Streams that are made again have the same shards and numbers.
            place = shard, sum(int(value.rstrip(".")) >= first for first in self._made_again)
            assert last.get(place, 0) < int(number), f"out of order in {shard}"
            last[place] = int(number)
        errors = self._errors()
        for begun, ended in reversed(self._refusals):
            errors = errors[:begun] + errors[ended:]
        assert "replayed with other rows" not in errors, "a replay gave other rows"
        # Deaths and what the seams raise end a query; nothing that the service does may.
        gave_up = re.search(r"pyspark_kinesis\.errors\.\w+: .{0,300}", errors)
        assert not gave_up, f"the source gave up: {gave_up and gave_up[0]}"

    def _ended_by(self) -> str:
        """What ended the query, and how often: on a busy machine Spark gives up on its own Python processes."""
        ends = Counter(re.findall(r"terminated with exception: *(.*)", self._errors()))
        return ", ".join(f"{what or 'a death'} ({times})" for what, times in ends.items())

    def _await(self, what: str, condition: Any, seconds: float, *, must: bool = True) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                assert not must, f"not within {seconds} s: {what}; {self._rows()} of {len(self.stream.values)} rows"
                return
            time.sleep(0.1)

    def _say(self, text: str) -> None:
        self.log.append(text)

    def done_at_seams(self) -> Counter[str]:
        """What happened at seams, "died at before read" for instance, and how often."""
        return Counter(path.name.rpartition(" ")[0] for path in self.folder.glob("* at *"))

    def outcome(self) -> str:
        """One line."""
        seams = ", ".join(f"{what} ({times})" if times > 1 else what for what, times in self.done_at_seams().items())
        what = f"{len(self.stream.values)} records{' from LATEST on' * self.latest}; {seams or 'nothing at seams'}"
        return f"seed {self.seed}: {'FAILED' if self.failure else 'ok'}, {what}"


@contextmanager
def driver(root: Path, rng: random.Random) -> Iterator[None]:
    """A driver over the schedules of a folder, killed with all its processes now and then, and started again."""
    ending = threading.Event()
    command = [sys.executable, str(Path(__file__).with_name("fault_driver.py")), str(root)]
    environment = python_environment(sys.executable)
    environment["PYTHONPATH"] += f":{Path(__file__).parent}"
    environment |= {"AWS_SHARED_CREDENTIALS_FILE": str(root / "credentials")}

    def start() -> subprocess.Popen[bytes]:
        with (root / "driver.log").open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True, env=environment)

    def keep() -> None:
        lives = chain([FIRST_KILL_SECONDS], repeat(KILL_SECONDS))
        while not ending.is_set():
            process, started, deadline = start(), time.time(), float("inf")
            # It ends by itself where a schedule has it die.
            while process.poll() is None and time.monotonic() < deadline and not ending.wait(0.2):
                if deadline == float("inf") and any(out.stat().st_mtime > started for out in root.glob("*/out")):
                    deadline = time.monotonic() + rng.uniform(*next(lives))
            if not ending.is_set():
                (root / f"driver killed {time.time_ns()}").touch()
            kill_session(process.pid)
            process.wait()

    keeper = threading.Thread(target=keep)
    keeper.start()
    try:
        yield
    finally:
        ending.set()
        keeper.join()


def run_schedule(schedule: Schedule) -> Schedule:
    """Run one against an emulator of its own."""
    with running_emulator(arguments=(*EMULATOR, *HASTY)) as url:
        schedule.prepare(url)
        schedule.run()
    return schedule


def run_schedules(seeds: list[int], root: Path, *, fan_out: bool = False) -> Iterator[Schedule]:
    """Run schedules, some at a time, in one driver; each as it ends."""
    root.mkdir(parents=True, exist_ok=True)
    schedules = [Schedule(seed, root / f"seed-{seed}", fan_out) for seed in seeds]
    with driver(root, random.Random(seeds[0])), ThreadPoolExecutor(AT_ONCE) as pool:
        for done in as_completed([pool.submit(run_schedule, schedule) for schedule in schedules]):
            yield done.result()


def main(
    count: Annotated[int, typer.Option(help="How many schedules.")] = 200,
    first_seed: Annotated[int, typer.Option(help="The first one's seed; the others follow.")] = 0,
    fan_out: Annotated[bool, typer.Option(help="Read by a consumer of enhanced fan-out.")] = False,
    keep: Annotated[Path | None, typer.Option(help="Keep what failed schedules left in this folder.")] = None,
) -> None:
    """Run seeded fault schedules, and say how each ended; exit code 1 if one failed."""
    failed: list[Schedule] = []
    done_at_seams: Counter[str] = Counter()
    records, began = 0, time.monotonic()
    with tempfile.TemporaryDirectory(prefix="schedules-") as scratch:
        root = Path(scratch)
        seeds = list(range(first_seed, first_seed + count))
        for number, schedule in enumerate(run_schedules(seeds, root, fan_out=fan_out), 1):
            done_at_seams += schedule.done_at_seams()
            records += len(schedule.stream.values)
            kills = len(list(root.glob("driver killed *")))
            typer.echo(schedule.outcome())
            typer.echo(
                f"{number}/{count} done, {len(failed) + bool(schedule.failure)} failed, {records:,} records, "
                f"{kills} drivers killed, {time.monotonic() - began:.0f} s"
            )
            if schedule.failure:
                failed.append(schedule)
                typer.echo(f"seed {schedule.seed}: {schedule.failure}\n  " + "\n  ".join(schedule.log))
                if keep:
                    keep.mkdir(parents=True, exist_ok=True)
                    shutil.copytree(schedule.folder, Path(tempfile.mkdtemp(dir=keep)) / schedule.folder.name)
    for what, times in sorted(done_at_seams.items()):
        typer.echo(f"{times:5} {what}")
    typer.echo(f"failed: {', '.join(str(schedule.seed) for schedule in failed) or 'none'}")
    raise typer.Exit(1 if failed else 0)


if __name__ == "__main__":
    typer.run(main)
