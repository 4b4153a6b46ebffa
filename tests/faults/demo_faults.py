"""The demo, with each of its parts killed once at a seeded moment: it ends with its proof, and leaves nothing behind.

By hand, as each seed takes some minutes: `make faults-demo ARGS="--count 10 --first-seed 0"`.
"""

import argparse
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import psutil
from airflow_world import free_port

from tidemark.core.processes import members
from tidemark.core.settings import get_settings
from tidemark.core.spark_start.jars import ensure_jars
from tidemark.embedded.record import PartRecord, Record

PARTS = ("kinesis", "flights-streams", "postgres", "api-server", "scheduler", "dag-processor", "triggerer")
LIMIT_SECONDS = 1500
"""A demo that is not done by then is killed, and counts as a failure; its waits end long before if nothing moves."""


class Outcome(NamedTuple):
    """What became of one seed."""

    seed: int
    seconds: float
    wrong: list[str]


def say(text: str) -> None:
    print(f"{datetime.now(UTC):%H:%M:%S} {text}", flush=True)


class Attack:
    """One demo and the parts that are still to be killed, each a drawn time after it was first ready."""

    def __init__(self, seed: int, records: int, folder: Path) -> None:
        self._rng = random.Random(seed)
        self._seed, self._records, self._folder = seed, records, folder
        self._delays = {part: self._rng.uniform(0, 60) for part in PARTS}
        self._ready: dict[str, float] = {}
        self._sessions: set[int] = set()
        self.killed: list[str] = []

    def run(self) -> Outcome:
        began = time.monotonic()
        wrong = self._run()
        return Outcome(self._seed, time.monotonic() - began, wrong)

    def _run(self) -> list[str]:
        home = self._folder / "home"
        environment = {**os.environ, "TIDEMARK_HOME": str(home), "TIDEMARK_JARS_DIR": str(get_settings().jars_dir)}
        ports = ["--kinesis-port", str(free_port()), "--airflow-port", str(free_port())]
        # Slowly, so that events flow while parts are killed.
        load = ["--records", str(self._records), "--rate", "200"]
        command = [sys.executable, "-m", "tidemark.cli", "demo", *load, *ports]
        log = self._folder / "demo.log"
        with log.open("wb") as output:
            demo = subprocess.Popen(command, stdout=output, stderr=output, env=environment, start_new_session=True)
        record = Record(home / "demo")
        deadline = time.monotonic() + LIMIT_SECONDS
        try:
            while demo.poll() is None and time.monotonic() < deadline:
                self._look(record.parts())
                time.sleep(0.2)
        finally:
            if demo.poll() is None:
                demo.send_signal(signal.SIGKILL)
            demo.wait()
        shown = log.read_text()
        wrong = []
        if demo.returncode:
            wrong.append(f"exit code {demo.returncode}: {shown[-3000:]}")
        if spared := sorted(set(PARTS) - set(self.killed)):
            wrong.append(f"the demo was over before {', '.join(spared)} could be killed")
        if left := self._left():
            wrong.append(f"processes are left 20 s after the end: {left}")
        return wrong

    def _look(self, parts: list[PartRecord]) -> None:
        for part in parts:
            if part.session is not None:
                self._sessions.add(part.session)
            if part.state != "ready" or part.name in self.killed or part.name not in PARTS:
                continue
            first = self._ready.setdefault(part.name, time.monotonic())
            if time.monotonic() - first >= self._delays[part.name] and part.session is not None:
                say(f"seed {self._seed}: kills {part.name}, {self._delays[part.name]:.0f} s after it was ready")
                with contextlib.suppress(ProcessLookupError):
                    os.kill(part.session, signal.SIGKILL)
                self.killed.append(part.name)

    def _left(self) -> list[str]:
        deadline = time.monotonic() + 20
        while (left := members(self._sessions)) and time.monotonic() < deadline:
            time.sleep(0.2)
        found = []
        for process in left:
            with contextlib.suppress(psutil.Error):
                found.append(f"{process.pid} {' '.join(process.cmdline())[:100]}")
        return found


def attack(seed: int, records: int) -> Outcome:
    """Run one seed in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="demo-faults-", ignore_cleanup_errors=True) as folder:
        outcome = Attack(seed, records, Path(folder)).run()
    say(f"seed {seed}: {'ok' if not outcome.wrong else 'WRONG'} after {outcome.seconds:.0f} s")
    for line in outcome.wrong:
        say(f"seed {seed}: {line}")
    return outcome


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--records", type=int, default=20_000)
    given = parser.parse_args()
    ensure_jars(get_settings(), print)
    outcomes = [attack(seed, given.records) for seed in range(given.first_seed, given.first_seed + given.count)]
    failed = [outcome.seed for outcome in outcomes if outcome.wrong]
    say(f"{len(outcomes) - len(failed)} of {len(outcomes)} seeds passed{f'; failed: {failed}' if failed else ''}")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
