"""Child processes: each in a session of its own, so that all that it starts can be found and ended with it.

A process keeps its session when its parent dies and when it changes its name, its group or its environment. So the
session, and not the family tree, says whose a process is.
"""

import contextlib
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import psutil

from tidemark.core.errors import JobError, PreconditionError

_EXCEPTION = re.compile(r"^(?:[\w.]+\.)?\w*(?:Error|Exception|Exit|Interrupt)(?::|$)")
_SERIOUS = re.compile(r"\b(?:FATAL|PANIC|CRITICAL)\b|There is insufficient memory")
_NOISE = re.compile(r"^nanobind:|^\s+at |^Caused by: |^\s*\.\.\. \d+ more")
_FROM_OUTSIDE = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""Signals that another process sends; the others, such as SIGSEGV, a process brings upon itself."""
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class Child:
    """A long-running command whose output is added to a file.

    ``user``: the id of the user that the command runs as, for those that refuse to run as root.
    """

    def __init__(
        self,
        name: str,
        command: list[str],
        log: Path,
        environment: Mapping[str, str],
        *,
        stop_signal: signal.Signals = signal.SIGTERM,
        user: int | None = None,
    ) -> None:
        self.name = name
        self.log = log
        self._stop_signal = stop_signal
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            self._log_from = output.tell()
            self.process = subprocess.Popen(
                command,
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=dict(environment),
                start_new_session=True,
                user=user,
                group=user,
                extra_groups=None if user is None else [],
            )

    def check(self) -> None:
        """Raise JobError with its own first error if the process has ended."""
        if self.process.poll() is not None:
            raise JobError(f"{self.name} {self.how_it_ended()} (log: {self.log})")

    def how_it_ended(self) -> str:
        """In words: by which signal or exit code, and with which error of its own."""
        code = self.process.poll()
        if code is None:
            return "runs"
        ended = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        if -code in _FROM_OUTSIDE:
            # Who was killed had no time to say why: whatever its log tells of is about something else.
            cause = _epitaph(self.log)
        else:
            cause = first_error(self.log, self._log_from, or_last_line=code >= 0)
        return f"{ended}: {cause}" if cause else ended

    def ask_to_stop(self) -> None:
        """Send the signal on which the process ends in order; returns at once."""
        if self.process.poll() is None:
            self.process.send_signal(self._stop_signal)

    def stop(self, grace_seconds: float = 15) -> None:
        """Ask the process to end, then make it and all of its session; returns when they are gone."""
        if grace_seconds > 0:
            self.ask_to_stop()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout=grace_seconds)
        end_sessions([self.process.pid])
        self.process.wait()


def members(sessions: Iterable[int]) -> list[psutil.Process]:
    """The processes of some sessions, whatever became of their parents."""
    wanted, found = set(sessions), []
    for pid in psutil.pids():
        with contextlib.suppress(OSError, psutil.Error):
            if os.getsid(pid) in wanted:
                process = psutil.Process(pid)
                if process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
    return found


def end_sessions(sessions: Iterable[int], patience_seconds: float = 10) -> list[psutil.Process]:
    """Kill every process of some sessions; those that live on after the time is up (none, as a rule)."""
    wanted = set(sessions)
    deadline = time.monotonic() + patience_seconds
    # A process that forks while it is killed leaves a child that was not in the list: so until the list is empty.
    while (left := members(wanted)) and time.monotonic() < deadline:
        for process in left:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(left, timeout=1)
    return left


def cpu_seconds(sessions: Iterable[int], name: str | None = None) -> float:
    """Processor time that the living processes of some sessions have used, and their children that have ended.

    ``name``: count only processes of that name.
    """
    total = 0.0
    for process in members(sessions):
        with contextlib.suppress(psutil.Error):
            if name is not None and process.name() != name:
                continue
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def _epitaph(log: Path) -> str:
    """What whoever killed a process wrote below its log: a last line that begins with ``error: ``."""
    with contextlib.suppress(OSError), log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 4096))
        last = file.read().decode(errors="replace").removesuffix("\n").split("\n")[-1:]
        return "".join(line.removeprefix("error: ").strip() for line in last if line.startswith("error: "))
    return ""


def first_error(log: Path, start: int = 0, *, or_last_line: bool = True) -> str:
    """The error that a log tells of, in one line: what the program says itself, not the noise of its end.

    ``start``: the byte from which on to read. ``or_last_line``: without an error, the last line of the log that says
    something. Of tracebacks, the last exception is the one that was not caught.
    """
    try:
        with log.open("rb") as file:
            file.seek(max(start, log.stat().st_size - 2**20))
            text = _COLOUR.sub("", file.read().decode(errors="replace"))
    except OSError:
        return ""
    lines = text.split("\n")  # and not at a U+2028 in what an error quotes
    for line in lines:
        if line.startswith("error: "):
            return line.removeprefix("error: ").strip()
    traceback = next((n for n, line in enumerate(lines) if "Traceback (most recent call last)" in line), len(lines))
    raised = [line for line in lines[traceback:] if _EXCEPTION.match(line)]
    serious = [line for line in lines if _SERIOUS.search(line)]
    if raised and not serious:
        return raised[-1].strip()
    said = [line for line in lines if line.strip() and not _NOISE.match(line)] if or_last_line else []
    return (serious[:1] or raised[:1] or said[-1:] or [""])[0].strip()[:500]


def check_port_free(port: int, what: str, option: str, host: str = "127.0.0.1") -> None:
    """Raise PreconditionError if something listens on a port already; the message names the process, if it may know."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise PreconditionError(
                f"port {port}, for {what}, is taken by {listener(port)}: end it, or choose another port with {option}"
            ) from error


def listener(port: int) -> str:
    """Who listens on a port of this machine, in words."""
    with contextlib.suppress(psutil.Error):
        for connection in psutil.net_connections("tcp"):
            local = tuple(connection.laddr)
            if connection.status == psutil.CONN_LISTEN and local[1:2] == (port,) and connection.pid:
                return described(psutil.Process(connection.pid))
    return "a process that this user may not see"


def described(process: psutil.Process) -> str:
    """A process in words: its id, since when it runs, and its command."""
    with contextlib.suppress(psutil.Error):
        command = " ".join(process.cmdline())[:120] or process.name()
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(process.create_time()))
        return f"process {process.pid} ({command}; since {since})"
    return f"process {process.pid}"
