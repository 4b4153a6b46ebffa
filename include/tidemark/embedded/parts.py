"""A part of the embedded platform: one process that is kept alive, and what is known of it."""

import contextlib
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tidemark.core.errors import REFUSED
from tidemark.core.processes import Child, cpu_seconds, end_sessions
from tidemark.core.waiting import busyness

State = Literal["waiting", "starting", "ready", "restarting", "done", "given up", "stopped"]
MAX_ENDS = 6
"""How often a part may end within ``WINDOW_SECONDS`` before it is given up."""
WINDOW_SECONDS = 600.0
LONGEST_PAUSE = 30.0
HUNG_SECONDS = 60.0
"""How long a part may show no sign of life, and use no processor time either, before it is killed and started again.

On a busy machine it is ``busyness`` times as long."""
WORKING_CPU_SECONDS = 0.5
"""Processor time within ``HUNG_SECONDS`` that tells a slow process from one that hangs."""


class Backoff:
    """When to start again what has ended: sooner at first, then later, and not without end."""

    def __init__(self) -> None:
        self._ends: list[float] = []

    def pause(self, now: float) -> float | None:
        """Seconds to wait after an end at ``now``; None if it has ended too often of late."""
        self._ends = [end for end in self._ends if now - end < WINDOW_SECONDS] + [now]
        number = len(self._ends)
        return None if number > MAX_ENDS else min(LONGEST_PAUSE, 0.5 * 2 ** (number - 1))


@dataclass
class Part:
    """How one process is started and how it is seen to live.

    ``ready``: asked until it is true; ``lives``: asked from then on, now and then. ``once``: it does its work and ends.
    ``needs``: parts that must be ready (or done) before it starts.
    """

    name: str
    command: Callable[[], list[str]]
    environment: Callable[[], Mapping[str, str]]
    log: Path
    ready: Callable[[], bool] = lambda: True
    lives: Callable[[], bool] = lambda: True
    needs: tuple[str, ...] = ()
    may_start: Callable[[], bool] = lambda: True
    """Asked before its first start, beside its needs."""
    once: bool = False
    essential: bool = True
    """Whether the platform is of no use without it."""
    before_start: Callable[[], None] = lambda: None
    on_done: Callable[[], None] = lambda: None
    stop: Callable[[Child], None] = Child.ask_to_stop
    child_options: Mapping[str, object] = field(default_factory=dict)


class Running:
    """One part as it runs: its state, and what became of its earlier processes."""

    def __init__(self, part: Part) -> None:
        self.part = part
        self.state: State = "waiting"
        self.child: Child | None = None
        self.since = time.time()
        self.started: float | None = None
        """When its process was started, in seconds since 1970."""
        self.restarts = 0
        self.cause = ""
        """Why it ended the last time, in one line."""
        self._lock = threading.RLock()
        self._backoff = Backoff()
        self._start_at = 0.0
        self._alive_at = 0.0
        self._alive_cpu = 0.0

    @property
    def session(self) -> int | None:
        """The session of its process, which is the process' id."""
        return None if self.child is None else self.child.process.pid

    def start(self) -> None:
        """Start the process."""
        self.part.before_start()
        self.started = time.time()
        options = dict(self.part.child_options)
        self.child = Child(self.part.name, self.part.command(), self.part.log, self.part.environment(), **options)  # type: ignore[arg-type]
        self._enter("starting")
        self._saw_life()

    def due(self) -> bool:
        """Whether it is to be started now."""
        if self.state == "waiting":
            return self.part.may_start()
        return self.state == "restarting" and time.monotonic() >= self._start_at

    def ended(self) -> bool:
        """Whether its process has ended since it was started."""
        return self.state in ("starting", "ready") and self.child is not None and self.child.process.poll() is not None

    def settle(self) -> None:
        """Take note that the process has ended, and decide what is next; what it left behind is ended, too."""
        assert self.child is not None
        code = self.child.process.returncode
        end_sessions([self.child.process.pid])
        with self._lock:
            self._settle(code)

    def _settle(self, code: int) -> None:
        assert self.child is not None
        if code == 0 and self.part.once:
            self.part.on_done()
            self._enter("done")
            return
        self.cause = self.child.how_it_ended()
        pause = None if code == REFUSED else self._backoff.pause(time.monotonic())
        if pause is None:
            self._enter("given up")
            return
        self._start_at = time.monotonic() + pause
        self.restarts += 1
        self._enter("restarting")

    def fail(self, cause: str) -> None:
        """Give it up, as it cannot be started."""
        self.cause = cause
        self._enter("given up")

    def look(self) -> None:
        """Ask whether it is ready, or lives; kill it if it shows no sign of life and does nothing either."""
        child, state = self.child, self.state
        lives = self.part.ready() if state == "starting" else self.part.lives()
        with self._lock:
            if self.child is not child or self.state != state:
                return  # it has ended while it was asked
            if lives:
                self._saw_life()
                if state == "starting":
                    self._enter("ready")
                return
        assert child is not None
        if time.monotonic() - self._alive_at < HUNG_SECONDS * busyness():
            return
        used = cpu_seconds([child.process.pid])
        if used - self._alive_cpu >= WORKING_CPU_SECONDS:
            self._saw_life()
            return
        silent = time.monotonic() - self._alive_at
        # Its own log says nothing of this.
        with self.part.log.open("a") as log:
            log.write(f"error: showed no sign of life for {silent:.0f} s and did nothing: killed\n")
        end_sessions([child.process.pid])

    def stopped(self) -> None:
        """Take note that it was ended on purpose."""
        if self.state not in ("done", "given up"):
            self._enter("stopped")

    def _saw_life(self) -> None:
        self._alive_at = time.monotonic()
        with contextlib.suppress(Exception):
            self._alive_cpu = cpu_seconds([self.child.process.pid]) if self.child else 0.0

    def _enter(self, state: State) -> None:
        self.state, self.since = state, time.time()
