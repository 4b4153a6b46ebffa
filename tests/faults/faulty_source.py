"""The Kinesis source with places to die at: whoever comes to an armed seam is killed there with SIGKILL.

A schedule arms a seam by writing its name into ``<folder>/armed``. The first process that comes to it takes the file
away and kills itself, or fails in the way that the seam says.
"""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from pyspark_kinesis.ledger import Ledger
from pyspark_kinesis.options import Options, parse
from pyspark_kinesis.source import DefaultSource, NewestStreamReader
from pyspark_kinesis.stream_reader import store_of

# Of a task, then of the planner; "ledger refuses" and "ledger is slow" do not kill.
SEAMS = (
    "before read", "before ledger", "after ledger", "while emitting", "ledger refuses", "ledger is slow",
    "before plan", "after plan", "before commit", "after commit",
)  # fmt: skip
FOLDER_OPTION = "faultFolder"


def taken(folder: Path, seam: str) -> bool:
    """Whether this process is the one that the armed seam is for."""
    armed = folder / "armed"
    with contextlib.suppress(FileNotFoundError):
        if armed.read_text() == seam:
            armed.rename(folder / f"died at {seam} {time.time_ns()}")
            return True
    return False


def die_at(folder: Path, seam: str) -> None:
    if taken(folder, seam):
        os.kill(os.getpid(), signal.SIGKILL)


class FaultyLedger(Ledger):
    folder: Path

    def record(self, *arguments: Any) -> Any:
        die_at(self.folder, "before ledger")
        if taken(self.folder, "ledger refuses"):
            raise OSError("No space left on device")
        if taken(self.folder, "ledger is slow"):
            time.sleep(2)
        recorded = super().record(*arguments)
        die_at(self.folder, "after ledger")
        return recorded


class FaultyReader(NewestStreamReader):
    folder: Path

    def partitions(self, *offsets: Any) -> Any:
        die_at(self.folder, "before plan")
        planned = super().partitions(*offsets)
        die_at(self.folder, "after plan")
        return planned

    def read(self, partition: Any) -> Iterator[pa.RecordBatch]:
        die_at(self.folder, "before read")
        for batch in super().read(partition):
            yield batch
            die_at(self.folder, "while emitting")

    def commit(self, end: Any) -> None:
        die_at(self.folder, "before commit")
        super().commit(end)
        die_at(self.folder, "after commit")

    def _ledger(self) -> Ledger:
        ledger = FaultyLedger(store_of(self._options))
        ledger.folder = self.folder
        return ledger


class FaultySource(DefaultSource):
    """As the source, with the option faultFolder."""

    def streamReader(self, schema: Any) -> FaultyReader:
        reader = FaultyReader(self._parsed(), schema)
        reader.folder = Path(self.options[FOLDER_OPTION])
        return reader

    def _parsed(self) -> Options:
        return parse({name: value for name, value in self.options.items() if name.lower() != FOLDER_OPTION.lower()})
