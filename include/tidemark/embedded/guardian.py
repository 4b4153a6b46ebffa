"""Ends what an embedded platform has started once its main process is gone, however that went.

It runs in a process and a session of its own, which ^C does not reach. It reads the ids of sessions from its standard
input, one a line: ``+ID`` to remember one, ``-ID`` to forget it. When that pipe closes, its parent has ended: what is
left of the sessions is asked to end, and killed a few seconds later.
"""

import contextlib
import signal
import subprocess
import sys
import time

import psutil

from tidemark.core.processes import end_sessions, members

GRACE_SECONDS = 5.0


class Guardian:
    """The guardian of this process, which must be the one that starts what it guards."""

    def __init__(self) -> None:
        self._sessions: set[int] = set()
        self._start()

    def guard(self, session: int) -> None:
        """Have a session ended with this process."""
        self._sessions.add(session)
        self._tell(f"+{session}")

    def forget(self, session: int) -> None:
        """Leave a session alone, which has ended: its id may be another's one day."""
        self._sessions.discard(session)
        self._tell(f"-{session}")

    def check(self) -> None:
        """Start another one, if somebody has killed it."""
        if self._process.poll() is not None:
            self._start()

    def close(self) -> None:
        """End the guardian; it ends what it still guards first."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=30)

    def _start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tidemark.embedded.guardian"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            text=True,
        )
        for session in self._sessions:
            self._tell(f"+{session}")

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # a dead one is started again, and told all
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()


def watch() -> None:
    """Remember sessions until the pipe closes; then end them."""
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    sessions: set[int] = set()
    for line in sys.stdin:
        with contextlib.suppress(ValueError):
            (sessions.add if line[0] == "+" else sessions.discard)(int(line[1:]))
    ask_to_end(sessions)
    end_sessions(sessions)


def ask_to_end(sessions: set[int], grace_seconds: float = GRACE_SECONDS) -> None:
    """Ask the leaders of some sessions to end, and wait for them for a while."""
    asked = [process for process in members(sessions) if process.pid in sessions]
    for process in asked:
        with contextlib.suppress(psutil.Error):
            process.terminate()
    psutil.wait_procs(asked, timeout=grace_seconds)
    # What they have left to end by themselves, as a JVM its Python.
    deadline = time.monotonic() + 1
    while members(sessions) and time.monotonic() < deadline:
        time.sleep(0.05)


if __name__ == "__main__":
    watch()
