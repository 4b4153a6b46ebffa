"""The Kinesis source with seams, at which a schedule has whoever comes there die, fail, or reshard the stream.

A schedule orders what is to happen by a JSON file ``<folder>/armed``: ``{"seam", "die", "reshard", "url", "stream"}``.
The first process that comes to the seam takes the file away. It first sets the stream to ``reshard`` shards, if that is
not null; then it kills itself with SIGKILL if it is to die, and fails in the way that the seam says otherwise. Where it
only reshards, it goes on. What was done stays in the folder as an empty file: ``died at <seam> <nanoseconds>``, say.
"""

import contextlib
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pyarrow as pa

from pyspark_kinesis.offsets.ledger import Ledger
from pyspark_kinesis.options.stream import Options, parse
from pyspark_kinesis.reading.stream import store_of
from pyspark_kinesis.source import DefaultSource, NewestStreamReader

# Those of a task, of the planner, and of the driver's sink (see fault_driver).
KILLING = (
    "before read", "before ledger", "after ledger", "while emitting", "before plan", "after plan", "before commit",
    "after commit", "after emit",
)  # fmt: skip
# At these nobody dies.
FAILING = ("ledger refuses", "ledger is slow", "ledger's answer is lost", "sink fails")
FOLDER_OPTION = "faultFolder"


def taken(folder: Path, seam: str) -> bool:
    """Whether this process is the one that the armed seam is for and that is to die or to fail there; reshards."""
    armed, mine = folder / "armed", folder / f"taken {time.time_ns()}"
    with contextlib.suppress(FileNotFoundError):
        order = json.loads(armed.read_text())
        if order["seam"] == seam:
            armed.rename(mine)
            resharded = order["reshard"] is not None and resize(order)
            done = [*(["resharded"] if resharded else []), *(["died" if seam in KILLING else "failed"] * order["die"])]
            mine.rename(folder / f"{' and '.join(done) or 'nothing done'} at {seam} {time.time_ns()}")
            return bool(order["die"])
    return False


def resize(order: dict[str, Any]) -> bool:
    """Whether the stream took the new number of shards; somebody else may have changed it meanwhile."""
    body = {"StreamName": order["stream"], "TargetShardCount": order["reshard"], "ScalingType": "UNIFORM_SCALING"}
    headers = {"X-Amz-Target": "Kinesis_20131202.UpdateShardCount"}
    try:
        urlopen(Request(order["url"], json.dumps(body).encode(), headers)).close()
    except HTTPError:
        return False
    return True


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
            time.sleep(2)  # the fault itself, not a wait for something
        recorded = super().record(*arguments)
        if taken(self.folder, "ledger's answer is lost"):
            raise OSError("Connection reset by peer")
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
