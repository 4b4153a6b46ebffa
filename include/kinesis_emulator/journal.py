"""Persistence: an append-only file of JSON lines, written to the operating system before a call is acknowledged.

It survives a kill -9 of the emulator (a torn last line is dropped), not a loss of power: it is not fsynced.
"""

from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from typing import Any

import orjson


class Journal:
    """The changes to all streams, in order. Without a folder it keeps nothing."""

    def __init__(self, folder: Path | None) -> None:
        self._file: FileIO | None = None
        self._size = 0
        self._path = folder / "journal.jsonl" if folder else None
        if self._path:
            self._path.parent.mkdir(parents=True, exist_ok=True)

    def replay(self) -> Iterator[dict[str, Any]]:
        """All entries so far; then the journal is open for more."""
        if self._path is None:
            return
        good = 0
        if self._path.exists():
            with self._path.open("rb") as file:
                for line in file:
                    if not line.endswith(b"\n"):
                        break
                    yield orjson.loads(line)
                    good += len(line)
        # Unbuffered, so that what a failed write leaves behind is known.
        self._file = FileIO(self._path, "ab")
        self._file.truncate(good)
        self._size = good

    def add(self, entries: list[dict[str, Any]]) -> None:
        """Append entries, all or none; they are with the operating system when this returns.

        Raises:
            OSError: the disk is full, say. The journal then ends where it ended before.
        """
        if self._file is None or not entries:
            return
        rest = memoryview(b"".join(orjson.dumps(entry) + b"\n" for entry in entries))
        total = len(rest)
        try:
            while rest:
                rest = rest[self._file.write(rest) or 0 :]
        except OSError:
            self._file.truncate(self._size)
            raise
        self._size += total
