"""The two children of a merge schedule as their parent sees them: started, killed with all their processes, asked."""

import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from killing import kill_session, python_environment
from merge_golden import Violation
from merge_readers import Judge
from merge_world import STARTED, STARTING

OVERLOADS = ("Timed out while waiting for the Python worker to connect back", "CANNOT_OPEN_SOCKET")
"""What Spark says where a process that it has started does not come to the point within ten seconds."""
EXCUSED = "CoverageError"
"""What a reprocess may end with while the streams are down."""


class Child:
    """A driver in a session of its own."""

    def __init__(self, script: str, folder: Path) -> None:
        self._script = Path(__file__).with_name(script)
        self._folder = folder
        self.log = folder / f"{self._script.stem}.log"
        self.kills = 0
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        environment = python_environment(sys.executable)
        # The product beside these tests, and not another that is installed.
        environment["PYTHONPATH"] += f"{os.pathsep}{Path(__file__).parents[2] / 'include'}"
        environment |= {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
        }
        command = [sys.executable, str(self._script), str(self._folder)]
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=self._output(log), stderr=log,
                env=environment, start_new_session=True, text=True,
            )  # fmt: skip

    def _output(self, log: Any) -> Any:
        return log

    def kill(self) -> None:
        """End it as a power cut does; returns when all its processes are gone."""
        if self.process:
            kill_session(self.process.pid)
            self.process.wait()
            self.process = None
            self.kills += 1

    def check(self) -> None:
        """Raise Violation if it has ended by itself; start it again where it was the machine that could not keep up."""
        if self.process and self.process.poll() is not None:
            text = self.log.read_text(errors="replace").rpartition(STARTING)[2]
            if overloaded(text):
                self.kill()
                self.start()
                return
            lines = text.splitlines()
            telling = [line for line in lines if "Error" in line or "Exception" in line]
            raise Violation(
                "5: nothing stops", f"{self._script.stem} ended by itself: " + " | ".join(telling[-4:])[:2000]
            )


class Streams(Child):
    """The driver of both streams."""

    def __init__(self, folder: Path) -> None:
        super().__init__("merge_streams_driver.py", folder)

    def are_running(self) -> bool:
        """Whether both queries have been started since the process was."""
        return self.log.exists() and self.log.read_text(errors="replace").rpartition(STARTING)[2].count(STARTED) > 0


class Operations(Child):
    """The driver of the operations, which reads through Spark besides."""

    def __init__(self, folder: Path, judge: Judge) -> None:
        super().__init__("merge_operations_driver.py", folder)
        self._judge = judge
        self._sent = 0
        self.done: Counter[str] = Counter()
        self.excused = 0
        self.ready = threading.Event()
        self.pending: dict[int, str] = {}
        self.failures: list[str] = []

    def _output(self, log: Any) -> Any:
        return subprocess.PIPE

    def start(self) -> None:
        super().start()
        assert self.process
        self.ready.clear()
        threading.Thread(target=self._listen, args=(self.process,), daemon=True).start()

    def kill(self) -> None:
        super().kill()
        self.pending = {}

    def send(self, operation: str, **arguments: Any) -> int:
        """Ask for an operation; returns its number, which is pending until it is done or the child is killed."""
        assert self.process
        assert self.process.stdin
        self._sent += 1
        self.pending[self._sent] = operation
        self.process.stdin.write(json.dumps({"id": self._sent, "operation": operation, **arguments}) + "\n")
        self.process.stdin.flush()
        return self._sent

    def _listen(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout
        for line in process.stdout:
            if not line.startswith("@"):
                continue
            try:
                self._heard(process, json.loads(line[1:]))
            except json.JSONDecodeError:  # killed in mid-sentence
                return
            except Violation as violation:
                self._judge.found(violation)

    def _heard(self, process: subprocess.Popen[str], said: dict[str, Any]) -> None:
        if "ready" in said:
            self.ready.set()
        elif "rows" in said:
            self._judge.judge("spark", said["rollup"], said["position"], said["began"], map(_typed, said["rows"]))
        elif "failed" in said and not overloaded(said["failed"]):
            self._judge.found(Violation("5: readers", f"Spark's reader failed: {said['failed']}"))
        elif "id" in said and process is self.process:
            name = self.pending.pop(said["id"], "")
            if not said["error"]:
                self.done[name] += 1
            elif said["error"].startswith(EXCUSED) or overloaded(said["error"]):
                self.excused += 1
            else:
                self.failures.append(f"{name}: {said['error']}")
                self._judge.found(Violation("5: operations", f"{name} failed: {said['error']}"))


def overloaded(text: str) -> bool:
    """Whether an error is that of a machine that has too much to do."""
    return any(overload in text for overload in OVERLOADS)


def _typed(row: dict[str, Any]) -> dict[str, Any]:
    times = {name: datetime.fromisoformat(row[name]) for name in ("window_start", "newest_event")}
    numbers = {
        name: None if row[name] is None else Decimal(row[name]) for name in ("revenue", "least", "most", "units")
    }
    return {**row, **times, **numbers}


def await_true(
    what: str, condition: Callable[[], Any], seconds: float, *, must: bool = True, every: float = 0.05
) -> bool:
    """Wait for a condition, looked at so often; raises Violation when it must come true and does not."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            if must:
                raise Violation("5: nothing blocks", f"not within {seconds:.0f} s: {what}")
            return False
        time.sleep(every)
    return True
