"""The one way to wait for something that another process does.

A wait ends when what it waits for is there, when something that it depends on has ended, or when nothing has moved for
a while. It never ends because a machine is slow: as long as something moves, it goes on.
"""

import os
import time
from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar

from tidemark.core.errors import StalledError, UnavailableError

QUIET_SECONDS = 240.0
"""How long nothing may move before a wait gives up, on a machine that is not busy."""
MOST_BUSY = 10.0

T = TypeVar("T")


class Dependency(Protocol):
    """Something without which a wait is in vain."""

    def check(self) -> None:
        """Raise the error to end with, if it has ended and will not come back."""


def busyness() -> float:
    """How many times longer than on a quiet machine work may stand still: tasks for each processor, between 1 and 10.

    Beside twenty others, a process may get no processor for minutes. On Linux, the load also counts tasks that wait for
    a disk (getloadavg(3)).
    """
    return min(MOST_BUSY, max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1)))


def wait_for(
    condition: Callable[[], T | None],
    what: str,
    *,
    depends_on: Iterable[Dependency],
    moves: Callable[[], object] = lambda: None,
    quiet_seconds: float | None = None,
    every_seconds: float = 0.25,
    on_look: Callable[[str], None] = lambda _: None,
) -> T:
    """Ask until a condition holds, and return its value.

    ``moves``: figures that change while work goes on: rows, states of tasks, bytes of logs, processor time. They are
    shown when the wait ends in vain. ``on_look``: told each time what moves, in words. ``quiet_seconds``: how long
    nothing may move, where somebody has said so; else ``QUIET_SECONDS``, and on a busy machine ``busyness`` times that.

    Raises:
        StalledError: nothing has moved for that long; the message says what was waited for, and what stood.
        TidemarkError: whatever a dependency raises that has ended, or the condition itself. An answer that cannot be
            had at the moment (UnavailableError) is not an answer yet.
    """
    needed = list(depends_on)
    last: object = None
    unavailable = ""
    moved = began = time.monotonic()
    while True:
        for dependency in needed:
            dependency.check()
        try:
            if value := condition():
                return value
            unavailable = ""
            now = moves()
        except UnavailableError as error:
            unavailable, now = str(error), last
        if now != last:
            last, moved = now, time.monotonic()
        quiet = time.monotonic() - moved
        on_look(_shown(last))
        if quiet > (QUIET_SECONDS * busyness() if quiet_seconds is None else quiet_seconds):
            stood = "; ".join(text for text in (_shown(last), unavailable) if text) or "nothing to be seen"
            raise StalledError(
                f"waited {time.monotonic() - began:,.0f} s for: {what}. Nothing has moved for {quiet:,.0f} s ({stood})"
            )
        time.sleep(every_seconds)


def _shown(moving: object) -> str:
    if isinstance(moving, dict):
        return ", ".join(f"{name} {value}" for name, value in moving.items())
    return "" if moving is None else str(moving)
