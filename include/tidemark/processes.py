"""Child processes that never outlive us: each in a session of its own, ended as a group."""

import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path

import psutil

from tidemark.errors import JobError, PreconditionError


class Child:
    """A long-running command whose output goes to a file."""

    def __init__(
        self,
        name: str,
        command: list[str],
        log: Path,
        environment: Mapping[str, str],
        *,
        stop_signal: signal.Signals = signal.SIGTERM,
    ) -> None:
        self.name = name
        self.log = log
        self._stop_signal = stop_signal
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                command,
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=dict(environment),
                start_new_session=True,
            )

    def check(self) -> None:
        """Raise JobError with the log's last lines if the process has ended."""
        if self.process.poll() is not None:
            raise JobError(
                f"{self.name} ended with exit code {self.process.returncode}; the end of {self.log}:\n{tail(self.log)}"
            )

    def stop(self, grace_seconds: float = 15) -> None:
        """Ask the process to end, then make it and all its descendants; returns when they are gone."""
        try:
            family = psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            family = []
        if self.process.poll() is None and grace_seconds > 0:
            self.process.send_signal(self._stop_signal)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout=grace_seconds)
        # What left the group, or lives on without its parent, is still in the family that we saw.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        for member in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()
        self.process.wait()
        psutil.wait_procs(family, timeout=10)


def stop_process(process: subprocess.Popen[str], grace_seconds: float = 10) -> None:
    """Ask a single process to end, then make it."""
    process.terminate()
    try:
        process.wait(timeout=grace_seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def tail(log: Path, lines: int = 15) -> str:
    """The last lines of a log that say something: errors first, where there are any."""
    text = log.read_text(errors="replace").splitlines()
    telling = [line for line in text if line.startswith("error:") or "Exception" in line or "Error:" in line]
    return "\n".join((telling or text)[-lines:])


def check_port_free(port: int, what: str, option: str, host: str = "127.0.0.1") -> None:
    """Raise PreconditionError if something listens on a port already."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise PreconditionError(
                f"port {port}, for {what}, is taken: end what listens on {host}:{port}, or choose another with {option}"
            ) from error
