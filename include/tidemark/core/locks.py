"""Locks that the kernel frees when their holder dies, however it dies: flock on files beside the checkpoints.

They keep two drivers from doing one work at a time, and name the one that does it. They are a courtesy: what keeps the
tables right is that every commit is a compare-and-set. On an object store there is no such lock, and none is taken:
there two drivers race, and the commits of one of them are refused.
"""

import contextlib
import fcntl
import getpass
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import IO, Any, Self, TypeVar

from tidemark.core.errors import BusyError
from tidemark.core.settings import Settings

RUN_VARIABLE = "TIDEMARK_RUN"
"""Environment variable by which whoever starts a driver names the run that it is for."""

LOOK_SECONDS = 0.2
"""How long a lock is tried for: longer than anybody who only looks at it shares it."""

T = TypeVar("T")


class FileLock:
    """An exclusive lock on a file, held until it is released or the process ends; the file says who holds it.

    Raises:
        BusyError: another process holds it; the message names the work and the holder.
    """

    def __init__(self, path: Path, what: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        # Python opens files so that no child inherits them: a worker that lives on holds no lock.
        self._file = path.open("a+")
        deadline = time.monotonic() + LOOK_SECONDS
        while not _locked(self._file, fcntl.LOCK_EX):
            # Who only looks whether it is held shares it for less than a millisecond.
            if time.monotonic() > deadline:
                self._file.close()
                raise BusyError(f"{what} is being done by {_named(path)}: wait until it has ended, or end it")
            time.sleep(0.005)
        self._holder: dict[str, Any] = {
            "run": os.environ.get(RUN_VARIABLE, f"a terminal of {getpass.getuser()}"),
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        self.note()

    def note(self, **facts: Any) -> None:
        """Write what the holder is at beside who it is, for those who look."""
        self._file.seek(0)
        self._file.truncate()
        json.dump({**self._holder, **facts}, self._file)
        self._file.flush()

    def close(self) -> None:
        """Free the lock, and leave its file."""
        self._file.close()

    def release(self) -> None:
        """Free the lock and remove its file."""
        self.path.unlink(missing_ok=True)
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def holder(path: Path) -> dict[str, Any] | None:
    """What the holder of a lock says of itself; None if nobody holds it. Writes nothing."""
    try:
        with path.open() as file:
            if _locked(file, fcntl.LOCK_SH):
                return None
            text = file.read()
    except FileNotFoundError:
        return None
    try:
        return dict(json.loads(text))
    except ValueError:  # it is just writing who it is
        return {}


def when_free(take: Callable[[], T], waiting: Callable[[str], None], *, every_seconds: float = 1) -> T:
    """What ``take`` gives as soon as nobody else holds it; ``waiting`` is told for whom, once a holder.

    The kernel frees the lock of a holder that dies, so whoever is waited for lives.
    """
    said = ""
    while True:
        try:
            return take()
        except BusyError as error:
            if str(error) != said:
                said = str(error)
                waiting(said)
        time.sleep(every_seconds)


def state_folder(pipeline: str, settings: Settings) -> Path | None:
    """Where the locks of a pipeline are; None where the state is on an object store."""
    return None if "://" in settings.state_uri else Path(settings.state_uri) / pipeline


def claim_dates(pipeline: str, start: date, end: date, settings: Settings) -> contextlib.AbstractContextManager[object]:
    """Hold the event dates ``[start, end)`` for a reprocess; disjoint ranges may be held at once.

    Raises:
        BusyError: a reprocess holds one of the dates; the message names it.
    """
    folder = state_folder(pipeline, settings)
    if folder is None:
        return contextlib.nullcontext()
    with _one_at_a_time(folder / "reprocess"):
        _refuse_held(pipeline, start, end, folder / "reprocess")
        return FileLock(folder / "reprocess" / f"{start}_{end}.lock", f"{pipeline} [{start}, {end})")


def refuse_claimed(pipeline: str, start: date, end: date, settings: Settings) -> None:
    """Raise BusyError if a reprocess holds one of the event dates at this moment."""
    folder = state_folder(pipeline, settings)
    if folder is not None and (folder / "reprocess").exists():
        with _one_at_a_time(folder / "reprocess"):
            _refuse_held(pipeline, start, end, folder / "reprocess")


def _refuse_held(pipeline: str, start: date, end: date, folder: Path) -> None:
    for path in folder.glob("*_*.lock"):
        first, last = (date.fromisoformat(text) for text in path.stem.split("_"))
        if first < end and start < last:
            # Whose holder has died is free, and its file goes.
            FileLock(path, f"the reprocess of {pipeline} [{first}, {last})").release()


@contextlib.contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "mutex").open("a") as mutex:
        fcntl.flock(mutex, fcntl.LOCK_EX)
        yield


def _locked(file: IO[str], how: int) -> bool:
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _named(path: Path) -> str:
    try:
        said = json.loads(path.read_text())
        return f"{said['run']} (process {said['pid']} on {said['host']}, since {said['since']})"
    except (OSError, ValueError, KeyError):  # it is just writing who it is
        return "another process"
