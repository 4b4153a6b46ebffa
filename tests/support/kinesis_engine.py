"""An engine that keeps the logs that Spark keeps, and dies where it is told, for planner and tasks without Spark."""

import base64
import random
import uuid
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
from pyspark.sql.pandas.types import to_arrow_schema
from waits import until

from pyspark_kinesis.api.client import KinesisClient
from pyspark_kinesis.offsets.admission import Limits
from pyspark_kinesis.offsets.ledger import Entry, Ledger
from pyspark_kinesis.offsets.stores.store import LocalStore
from pyspark_kinesis.options.stream import Options
from pyspark_kinesis.options.stream import Stream as KinesisStream
from pyspark_kinesis.reading.planner import Offset, Planner
from pyspark_kinesis.reading.rows import SCHEMA
from pyspark_kinesis.reading.task import PartReader

ARROW = to_arrow_schema(SCHEMA, timezone="UTC")
SEAMS = ("none", "planned", "before ledger", "after ledger", "emitted", "sunk", "committed")


class DiedError(Exception):
    """The driver or a worker was killed."""


class DyingLedger(Ledger):
    """Dies before or after it records an entry."""

    seam = "none"

    def record(self, run: str, batch: int, shard_id: str, entry: Entry) -> Entry:
        if self.seam == "before ledger":
            raise DiedError
        recorded = super().record(run, batch, shard_id, entry)
        if self.seam == "after ledger":
            raise DiedError
        return recorded


class Engine:
    """What Spark does with a source, and what of it outlives a death: offset log, commit log and an idempotent sink."""

    def __init__(self, client: KinesisClient, options: Options, offsets: list[Offset] | None = None) -> None:
        self.client, self.options = client, options
        self.offsets = offsets or []
        self.limits: Limits | None = None
        self.committed = 0
        self.sink: dict[int, list[tuple[str, str, bytes]]] = {}
        self.restart()

    def die(self) -> None:
        """What the death of the planner process ends: its subscriptions."""
        if self.planner.fan_out is not None:
            self.planner.fan_out.stop()

    def restart(self) -> None:
        if hasattr(self, "planner"):
            self.die()
        self.ledger = DyingLedger(LocalStore(Path(self.options.ledger_location)))
        self.planner = Planner(self.client, self.ledger, self.options)
        self.initial = None if self.offsets else self.planner.initial()

    def trigger(self, seam: str) -> bool:
        """One trigger, dying at a seam; True if there was a batch."""
        self.ledger.seam = seam
        if len(self.offsets) == self.committed:
            start = self.offsets[-1] if self.offsets else self.initial
            assert start is not None
            end = self.planner.latest(start, self.limits)
            if end == start:
                return False
            self.offsets.append(end)
            if seam == "planned":
                raise DiedError
        batch = len(self.offsets) - 1
        start = self.offsets[batch - 1] if batch else {"version": 2, "run": "", "batch": 0, "reads": {}, "holds": {}}
        if batch:
            self.planner.commit(self.offsets[batch - 1])
        rows: list[tuple[str, str, bytes]] = []
        for part in self.planner.partitions(start, self.offsets[batch]):
            # The sub-sequence number tells nothing here: no aggregates are put.
            for arrow in PartReader(self.client, self.ledger, self.options, ARROW, part).read():
                assert arrow.schema == ARROW
                rows += rows_of(arrow)
        if seam == "emitted":
            raise DiedError
        if batch in self.sink:
            lost = [] if self.options.fail_on_data_loss else [row for row in self.sink[batch] if row not in rows]
            assert sorted(self.sink[batch]) == sorted([*rows, *lost]), "a replay gave other rows"
        else:
            self.sink[batch] = rows
        if seam == "sunk":
            raise DiedError
        self.committed += 1
        if seam == "committed":
            raise DiedError
        return True


def rows_of(arrow: pa.RecordBatch) -> list[tuple[str, str, bytes]]:
    return list(zip(*(arrow.column(name).to_pylist() for name in ("shardId", "sequenceNumber", "data")), strict=True))


class Stream:
    """A stream of the emulator, with what was put into it."""

    def __init__(self, client: KinesisClient, shards: int) -> None:
        self.client = client
        self.name = uuid.uuid4().hex
        self.put_so_far: list[bytes] = []
        client.call("CreateStream", {"StreamName": self.name, "ShardCount": shards})

    def put(self, number: int) -> None:
        values = [f"{len(self.put_so_far) + n}".encode() for n in range(number)]
        records = [{"Data": base64.b64encode(value).decode(), "PartitionKey": value.decode()} for value in values]
        self.client.call("PutRecords", {"StreamName": self.name, "Records": records})
        self.put_so_far += values

    def reshard(self, rng: random.Random) -> None:
        target = rng.choice([1, 2, 3, 4])
        answer = self.client.call("DescribeStreamSummary", {"StreamName": self.name})
        now = answer["StreamDescriptionSummary"]["OpenShardCount"]
        if now <= target * 2 and target <= now * 2:
            self.resize(target)

    def resize(self, shards: int) -> None:
        wanted = {"TargetShardCount": shards, "ScalingType": "UNIFORM_SCALING"}
        self.client.call("UpdateShardCount", {"StreamName": self.name, **wanted})


def engine(client: KinesisClient, stream: Stream, folder: Path, **options: object) -> Engine:
    fixed = {"streams": (KinesisStream(stream.name),), "region": "us-east-1", "endpoint_url": None}
    merged = {**fixed, "max_calls_per_second": 0.0, "shard_refresh_seconds": 0.05, **options}
    return Engine(client, Options(ledger_location=str(folder), **merged))  # type: ignore[arg-type]


def restarted(query: Engine, **changed: object) -> Engine:
    """The same checkpoint and sink in a new process, perhaps with other options."""
    query.die()
    again = Engine(query.client, replace(query.options, **changed), query.offsets)  # type: ignore[arg-type]
    again.committed, again.sink = query.committed, query.sink
    return again


def drain(engine: Engine, stream: Stream) -> None:
    def came() -> int:
        return sum(map(len, engine.sink.values()))

    def is_drained() -> bool:
        if came() < len(stream.put_so_far):
            engine.trigger("none")
        return came() >= len(stream.put_so_far)

    until(is_drained, "all records come", moves=came)


def assert_each_once_in_order(engine: Engine, stream: Stream) -> None:
    rows = [row for batch in sorted(engine.sink) for row in engine.sink[batch]]
    assert Counter(data for _, _, data in rows) == Counter(stream.put_so_far)
    last: dict[str, int] = {}
    for shard, number, _ in rows:
        assert last.get(shard, 0) < int(number), "out of order in a shard"
        last[shard] = int(number)
    last_batch = {shard: batch for batch in sorted(engine.sink) for shard, _, _ in engine.sink[batch]}
    for shard in engine.client.shards({"StreamName": stream.name}):
        first = min(
            (b for b, batch in engine.sink.items() if any(row[0] == shard.shard_id for row in batch)), default=None
        )
        if first is not None:
            assert all(last_batch.get(parent, -1) < first for parent in shard.parents), (
                "a child before its parent's end"
            )
