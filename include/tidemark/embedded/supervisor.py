"""Keeps the parts of an embedded platform alive, and says what becomes of them."""

import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime

from tidemark.core.errors import JobError, TidemarkError
from tidemark.core.processes import end_sessions, members
from tidemark.embedded.guardian import Guardian
from tidemark.embedded.parts import Part, Running

LOOK_SECONDS = 0.2
START_SECONDS, LIFE_SECONDS = 0.4, 3.0
"""Between two questions whether a part is ready, and whether it lives."""


class PartError(JobError):
    """A part of the platform has ended too often, or cannot be started; the message says why, and where its log is."""


class Supervisor:
    """Starts parts in the order of their needs, and starts again what ends, in a thread of its own.

    ``on_event``: told each end and each restart, in one line.
    """

    def __init__(self, parts: Iterable[Part], on_event: Callable[[str], None] = lambda _: None) -> None:
        self.parts = {part.name: Running(part) for part in parts}
        self.events: list[str] = []
        self._on_event = on_event
        self._guardian = Guardian()
        self._end = threading.Event()
        self._failure: TidemarkError | None = None
        self._asked: dict[str, Future[None]] = {}
        self._pool = ThreadPoolExecutor(max_workers=8, thread_name_prefix="look")
        self._thread = threading.Thread(target=self._watch, name="supervisor", daemon=True)

    def start(self) -> None:
        """Start what needs nothing, and the rest as soon as what it needs is ready."""
        self._thread.start()

    def check(self) -> None:
        """Raise PartError if a part that the platform cannot do without was given up."""
        if self._failure is not None:
            raise self._failure

    def is_ready(self, names: Iterable[str] | None = None) -> bool:
        """Whether some parts are ready; unless they are named, all of them."""
        chosen = self.parts if names is None else names
        return all(self.parts[name].state in ("ready", "done") for name in chosen)

    def sessions(self) -> list[int]:
        """The sessions of all parts that have been started."""
        return [running.session for running in self.parts.values() if running.session is not None]

    def stop(self, seconds: float, say: Callable[[str], None] = lambda _: None) -> None:
        """End all parts, the last ones that depend on others first; whatever lives after ``seconds`` is killed."""
        self._end.set()
        if self._thread.is_alive():
            self._thread.join(timeout=30)
        self._pool.shutdown(wait=False, cancel_futures=True)
        deadline = time.monotonic() + seconds
        # Everything at once, but for what others need to end in order: PostgreSQL, and the stream.
        needed = {name for running in self.parts.values() for name in running.part.needs}
        said = 0.0
        for last, group in enumerate((self.parts.keys() - needed, needed)):
            until = deadline if last else deadline - 1.5
            living = [self.parts[name] for name in group if _lives(self.parts[name])]
            for running in living:
                if running.child is not None:
                    running.part.stop(running.child)
            while (living := [running for running in living if _lives(running)]) and time.monotonic() < until:
                if time.monotonic() - said > 2:
                    said = time.monotonic()
                    say(f"waiting for {', '.join(running.part.name for running in living)} to end")
                time.sleep(0.05)
            end_sessions([s for name in group if (s := self.parts[name].session) is not None])
        for running in self.parts.values():
            running.stopped()
        self._guardian.close()

    def kill_all(self) -> None:
        """Kill every process of every part, at once."""
        self._end.set()
        end_sessions(self.sessions())
        self._guardian.close()

    def _watch(self) -> None:
        try:
            self._keep_alive()
        except BaseException as error:  # without this thread nobody would notice what ends
            self._failure = self._failure or PartError(f"the supervisor ended: {type(error).__name__}: {error}")

    def _keep_alive(self) -> None:
        looked = 0.0
        while not self._end.wait(LOOK_SECONDS):
            self._guardian.check()
            for running in self.parts.values():
                if running.ended():
                    self._settle(running)
                elif running.due() and self.is_ready(running.part.needs):
                    self._begin(running)
            starting = any(running.state == "starting" for running in self.parts.values())
            if time.monotonic() - looked >= (START_SECONDS if starting else LIFE_SECONDS):
                looked = time.monotonic()
                self._ask()

    def _begin(self, running: Running) -> None:
        try:
            running.start()
        except (TidemarkError, OSError) as error:
            running.fail(f"cannot be started: {error}")
            self._give_up(running)
            return
        assert running.session is not None
        self._guardian.guard(running.session)

    def _settle(self, running: Running) -> None:
        session = running.session
        running.settle()
        if session is not None:
            self._guardian.forget(session)
        name = running.part.name
        if running.state == "restarting":
            self._say(f"{name} {running.cause}; it is started again (log: {running.part.log})")
        elif running.state == "given up":
            self._give_up(running)

    def _give_up(self, running: Running) -> None:
        how = f" {running.restarts + 1} times, the last time it" if running.restarts else ""
        message = f"{running.part.name} ended{how} {running.cause} (log: {running.part.log})"
        if not running.restarts:
            message = f"{running.part.name} {running.cause} (log: {running.part.log})"
        self._say(message)
        if running.part.essential:
            self._failure = self._failure or PartError(message)

    def _ask(self) -> None:
        """Ask each part in a thread of its own, so that one which does not answer holds up no other."""
        for name, running in self.parts.items():
            asked = self._asked.get(name)
            if running.state in ("starting", "ready") and not running.part.once and (asked is None or asked.done()):
                self._asked[name] = self._pool.submit(self._look, running)

    def _look(self, running: Running) -> None:
        before = running.state
        try:
            running.look()
        except Exception as error:  # a question that fails is not a sign of life, and not the end of the supervisor
            self._say(f"{running.part.name}: {error}")
        if before == "starting" and running.state == "ready" and running.restarts:
            self._say(f"{running.part.name} is back")

    def _say(self, text: str) -> None:
        self.events.append(f"{datetime.now():%H:%M:%S} {text}")  # noqa: DTZ005  (a person's clock)
        self._on_event(text)


def _lives(running: Running) -> bool:
    child = running.child
    return child is not None and (child.process.poll() is None or bool(members([child.process.pid])))
