"""Who runs the embedded platform of a folder, and which parts it has: for a second shell, and for the next start.

The lock says whether somebody runs it, and is freed by the kernel however that one ends. The record beside it lists the
parts and their sessions; it stays after a kill -9, so that what was left can be found and ended.
"""

import json
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from tidemark.core.errors import BusyError
from tidemark.core.locks import FileLock, holder
from tidemark.core.processes import described, end_sessions, members
from tidemark.embedded.parts import Running


class PartRecord(NamedTuple):
    """One part as it was when the record was written."""

    name: str
    state: str
    since: float
    """Since when it is in this state, in seconds since 1970."""
    restarts: int
    cause: str
    """Why it ended the last time."""
    session: int | None
    started: float | None
    """When the process was started that leads its session."""
    log: str


class Record:
    """The folder's lock and record. Used as a context, it holds the lock."""

    def __init__(self, home: Path) -> None:
        self._lock_file = home / "platform.lock"
        self._file = home / "platform.json"
        self._lock: FileLock | None = None
        self._writing = threading.Lock()

    def take(self, what: str) -> None:
        """Hold the folder for this process.

        Raises:
            BusyError: another process runs the platform of this folder; the message names it.
        """
        try:
            self._lock = FileLock(self._lock_file, what)
        except BusyError as error:
            said = self.holder() or {}
            raise BusyError(
                f"{what} runs already: process {said.get('pid', '?')}, since {said.get('since', '?')}. Look at it with "
                "`tidemark status`, end it with `tidemark down`"
            ) from error

    def end_leftovers(self) -> list[str]:
        """End what an earlier platform of this folder has left, once the lock is held; in words, what was ended."""
        left = []
        sessions = []
        for part in self.parts():
            if part.session is None or part.started is None:
                continue
            # The number may be another's by now: whatever is older than its part is not of its session.
            found = [process for process in members([part.session]) if _made(process) >= part.started - 1]
            if found:
                left += [f"{part.name}: {described(process)}" for process in found]
                sessions.append(part.session)
        end_sessions(sessions)
        return left

    def write(self, parts: list[Running], facts: Mapping[str, Any]) -> None:
        """Write down the parts as they are, and what a second shell must know; whole or not at all."""
        rows = [
            PartRecord(
                one.part.name, one.state, one.since, one.restarts, one.cause, one.session, one.started,
                str(one.part.log),
            )._asdict()
            for one in parts
        ]  # fmt: skip
        scratch = self._file.with_suffix(".new")
        # One at a time: the thread that watches and the one that shows the platform write to one scratch file.
        with self._writing:
            scratch.touch(mode=0o600)
            scratch.write_text(json.dumps({"written": time.time(), "parts": rows, **facts}))
            scratch.replace(self._file)

    def facts(self) -> dict[str, Any]:
        """What was written down last; empty if nothing was."""
        try:
            return dict(json.loads(self._file.read_text()))
        except (OSError, ValueError):
            return {}

    def parts(self) -> list[PartRecord]:
        """The parts as they were written down last."""
        return [PartRecord(**row) for row in self.facts().get("parts", [])]

    def holder(self) -> dict[str, Any] | None:
        """Who runs the platform of this folder; None if nobody does."""
        return holder(self._lock_file)

    def close(self) -> None:
        """Let another have the folder."""
        self._file.unlink(missing_ok=True)
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def _made(process: psutil.Process) -> float:
    try:
        return float(process.create_time())
    except psutil.Error:
        return 0.0
