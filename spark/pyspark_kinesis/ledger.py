"""The ledger: where each shard's part of a micro-batch ended, written once, before a row of it is handed on.

Files under the ledger location::

    start.json                       where LATEST was, until a first batch commits
    <run>/<batch>/<shard id>.json    one Entry

``run`` is drawn when a query plans its first batch and travels in Spark's offsets, so that the ledger of a lost
checkpoint is never taken for the one of a new checkpoint. All files are JSON.
"""

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

import orjson

from pyspark_kinesis.errors import LedgerError, OptionError


@dataclass(frozen=True)
class Entry:
    """What one task handed on of one shard in one micro-batch: all records after ``start`` through ``end``."""

    start: str
    end: str
    records: int
    # Sequence number of the last record, so that a replay can tell it has everything; None without records.
    last: str | None
    bytes: int = 0
    # Milliseconds behind the tip after the last call; 0 is the tip.
    behind_ms: int = 0
    # The read stopped at the frozen target of Trigger.AvailableNow.
    at_target: bool = False
    # Hints, not needed to be right: an iterator at ``end``, when it was issued, and the last calls (epoch seconds).
    iterator: str | None = None
    issued_at: float = 0.0
    calls: list[float] = field(default_factory=list)


class Store(Protocol):
    """What the ledger needs of a file system. Paths are relative, with slashes."""

    def put_if_absent(self, path: str, content: bytes) -> bool:
        """Write a file whole, or leave the one that is there; durable on return. False if there was one."""
        ...

    def get(self, path: str) -> bytes | None:
        """A file's content; None if there is none."""
        ...

    def list(self, folder: str) -> list[str]:
        """Names in a folder; none if it does not exist."""
        ...

    def delete(self, path: str) -> None:
        """Remove a file or a folder with all that is in it, if it is there."""
        ...


class LocalStore:
    """A store in a folder that driver and executors share: a local disk, or a mount that has hard links."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def put_if_absent(self, path: str, content: bytes) -> bool:
        target = self.root / path
        # Written aside and linked: a reader sees a whole file or none, and of two writers one wins.
        draft = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
        try:
            try:
                handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
            except FileNotFoundError:
                target.parent.mkdir(parents=True, exist_ok=True)
                handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.link(draft, target)
        except FileExistsError:
            return False
        finally:
            with contextlib.suppress(FileNotFoundError):
                draft.unlink()
        return True

    def get(self, path: str) -> bytes | None:
        try:
            return (self.root / path).read_bytes()
        except FileNotFoundError:
            return None

    def list(self, folder: str) -> list[str]:
        try:
            return sorted(name for name in (path.name for path in (self.root / folder).iterdir()) if name[0] != ".")
        except FileNotFoundError:
            return []

    def delete(self, path: str) -> None:
        target = self.root / path
        if target.is_dir():
            shutil.rmtree(target, ignore_errors=True)
        else:
            target.unlink(missing_ok=True)


def open_store(location: str) -> Store:
    """The store for a ``ledgerLocation``: a path or a ``file:`` URI. Raises OptionError for any other scheme."""
    parts = urlsplit(location)
    if parts.scheme == "file":
        return LocalStore(Path(unquote(parts.path)))
    if parts.scheme and "://" in location:
        raise OptionError(
            f"ledgerLocation {location!r}: only paths and file: URIs are supported; choose a folder that the driver "
            "and all "
            "executors share"
        )
    return LocalStore(Path(location))


class Ledger:
    """The entries of one query."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def entry(self, run: str, batch: int, shard_id: str) -> Entry | None:
        """What is recorded for a shard in a batch. Raises LedgerError where the file cannot be read."""
        path = _path(run, batch, shard_id)
        try:
            content = self._store.get(path)
            return None if content is None else Entry(**orjson.loads(content))
        except (OSError, ValueError, TypeError) as error:
            raise LedgerError(f"the ledger file {path} cannot be read ({error}): restore it from a backup") from error

    def record(self, run: str, batch: int, shard_id: str, entry: Entry) -> Entry:
        """Record an entry, or get the one that another attempt recorded first: that one holds."""
        self._put(_path(run, batch, shard_id), asdict(entry))
        # Read back even after winning: what counts is what the next reader sees.
        recorded = self.entry(run, batch, shard_id)
        if recorded is None:
            raise LedgerError(f"the entry of {shard_id} in batch {batch} vanished: does something else use the folder?")
        return recorded

    def entries(self, run: str, batch: int, shard_ids: Iterable[str]) -> dict[str, Entry]:
        """The recorded entries of a batch; shards without one handed nothing on."""
        found = ((shard_id, self.entry(run, batch, shard_id)) for shard_id in shard_ids)
        return {shard_id: entry for shard_id, entry in found if entry is not None}

    def pin_start(self, epoch_seconds: float) -> float:
        """When this query started for the first time: the time given, or the one pinned before."""
        self._put("start.json", {"started_at": epoch_seconds})
        content = self._store.get("start.json")
        return float(orjson.loads(content)["started_at"]) if content else epoch_seconds

    def forget_before(self, run: str, batch: int) -> None:
        """Remove what no replay needs once ``batch`` is committed: all of the run's earlier batches, and the pin."""
        self._store.delete("start.json")
        for name in self._store.list(run):
            if name.isdigit() and int(name) < batch:
                self._store.delete(f"{run}/{name}")

    def _put(self, path: str, content: object) -> None:
        try:
            self._store.put_if_absent(path, orjson.dumps(content, option=orjson.OPT_INDENT_2))
        except OSError as error:
            raise LedgerError(
                f"the ledger file {path} cannot be written ({error}): check the space, the permissions and that "
                "ledgerLocation is reachable from the executors; then restart the query: nothing was handed on"
            ) from error


def _path(run: str, batch: int, shard_id: str) -> str:
    return f"{run}/{batch:012d}/{shard_id}.json"
