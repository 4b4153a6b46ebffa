"""Persistence: an append-only file of JSON lines, written to the operating system before a call is acknowledged.

It survives a kill -9 of the emulator (a torn last line is dropped), not a loss of power: it is not fsynced.
"""

import fcntl
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from typing import Any

import orjson


class DataFolderError(Exception):
    """The data folder cannot be used; the message says why, and what to do."""


class Journal:
    """The changes to all streams, in order. Without a folder it keeps nothing.

    Raises:
        DataFolderError: the folder cannot be made or written, or another emulator uses it.
    """

    def __init__(self, folder: Path | None) -> None:
        self._file: FileIO | None = None
        self._size = 0
        if folder is None:
            return
        self._path = folder / "journal.jsonl"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # Unbuffered, so that what a failed write leaves behind is known.
            self._file = FileIO(self._path, "ab+")
        except OSError as error:
            why = f"data folder {folder} cannot be used ({error.strerror}: {error.filename})"
            raise DataFolderError(f"{why}; choose a writable folder with --data-dir") from error
        try:
            # The kernel lets go of it when the process ends, however it ends.
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.close()
            why = f"data folder {folder} is in use by another emulator"
            raise DataFolderError(f"{why}; end that one, or choose another folder with --data-dir") from error

    @property
    def keeps(self) -> bool:
        """Whether anything is kept."""
        return self._file is not None

    def replay(self) -> Iterator[tuple[int, object]]:
        """All entries so far, with the numbers of their lines; then the journal is open for more.

        Raises:
            DataFolderError: a line, other than a torn last one, is not JSON.
        """
        if self._file is None:
            return
        good = 0
        with self._path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    break
                try:
                    entry = orjson.loads(line)
                except orjson.JSONDecodeError as error:
                    why = f"line {number} of {self._path} is damaged ({error})"
                    raise DataFolderError(
                        f"{why}; delete it from that line on, or choose another --data-dir"
                    ) from error
                yield number, entry
                good += len(line)
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

    def close(self) -> None:
        """Let another have the folder."""
        if self._file is not None:
            self._file.close()
