"""Streams, shards and records. Pure state: no HTTP, no clock of its own, no files."""

import base64
import hashlib
from bisect import bisect_left, bisect_right
from collections import deque
from dataclasses import dataclass, field

import orjson

from kinesis_emulator.errors import KinesisError, invalid, not_found, throttled

MAX_HASH_KEY = 2**128 - 1
_FIRST_SEQUENCE_NUMBER = 495 * 10**53
MAX_RESPONSE_BYTES = 10 * 1024 * 1024
MAX_RECORDS = 10_000
READ_CALLS_PER_SECOND = 5
READ_BYTES_PER_SECOND = 2 * 1024 * 1024
WRITE_RECORDS_PER_SECOND = 1000
WRITE_BYTES_PER_SECOND = 1024 * 1024


class RateWindow:
    """What was used within the last second."""

    def __init__(self) -> None:
        self._uses: deque[tuple[float, int]] = deque()
        self._total = 0

    def would_exceed(self, now: float, amount: int, limit: int) -> bool:
        """Whether ``amount`` more at ``now`` (seconds) would go beyond ``limit`` a second."""
        while self._uses and self._uses[0][0] <= now - 1:
            self._total -= self._uses.popleft()[1]
        return self._total + amount > limit

    def use(self, now: float, amount: int) -> None:
        """Account for a use."""
        self._uses.append((now, amount))
        self._total += amount


@dataclass
class Shard:
    """A shard with its records: parallel lists, in order of sequence number and of arrival (milliseconds)."""

    shard_id: str
    start_hash: int
    end_hash: int
    start_sequence: int
    parent: str | None = None
    adjacent_parent: str | None = None
    end_sequence: int | None = None
    closed_ms: float | None = None
    children: list[str] = field(default_factory=list)
    sequences: list[int] = field(default_factory=list)
    arrivals_ms: list[float] = field(default_factory=list)
    fragments: list[bytes] = field(default_factory=list)
    write_records: RateWindow = field(default_factory=RateWindow)
    write_bytes: RateWindow = field(default_factory=RateWindow)
    read_calls: RateWindow = field(default_factory=RateWindow)
    read_bytes: RateWindow = field(default_factory=RateWindow)

    @property
    def open(self) -> bool:
        """Whether it takes records."""
        return self.end_sequence is None

    def describe(self) -> dict[str, object]:
        """As in ListShards' answer."""
        numbers = {"StartingSequenceNumber": str(self.start_sequence)}
        if self.end_sequence is not None:
            numbers["EndingSequenceNumber"] = str(self.end_sequence)
        described: dict[str, object] = {
            "ShardId": self.shard_id,
            "HashKeyRange": {"StartingHashKey": str(self.start_hash), "EndingHashKey": str(self.end_hash)},
            "SequenceNumberRange": numbers,
        }
        if self.parent:
            described["ParentShardId"] = self.parent
        if self.adjacent_parent:
            described["AdjacentParentShardId"] = self.adjacent_parent
        return described

    def index_after(self, sequence: int) -> int:
        """Index of the first record after a sequence number."""
        return bisect_right(self.sequences, sequence)

    def index_at(self, sequence: int) -> int:
        """Index of the record with a sequence number, or of the first after it."""
        return bisect_left(self.sequences, sequence)

    def index_at_time(self, milliseconds: float) -> int:
        """Index of the first record that arrived at or after a time."""
        return bisect_left(self.arrivals_ms, milliseconds)


class Stream:
    """A stream. Sequence numbers grow over the whole stream, so children begin above their parents' end."""

    def __init__(self, name: str, arn: str, shards: int, created_ms: float, active_ms: float) -> None:
        self.name = name
        self.arn = arn
        self.created_ms = created_ms
        self.active_ms = active_ms
        self.mode = "PROVISIONED"
        self.retention_hours = 24
        self.tags: dict[str, str] = {}
        self.shards: dict[str, Shard] = {}
        self._sequence = _FIRST_SEQUENCE_NUMBER
        self._open: list[Shard] = []
        self._starts: list[int] = []
        width = (MAX_HASH_KEY + 1) // shards
        for n in range(shards):
            self._add(n * width, MAX_HASH_KEY if n == shards - 1 else (n + 1) * width - 1)

    def status(self, now_ms: float) -> str:
        """CREATING until its time has come, then ACTIVE."""
        return "CREATING" if now_ms < self.active_ms else "ACTIVE"

    @property
    def open_shards(self) -> list[Shard]:
        """Open shards by hash key."""
        return list(self._open)

    def shard(self, shard_id: str) -> Shard:
        """A shard by its id; raises ResourceNotFoundException."""
        if shard_id not in self.shards:
            raise not_found(f"Shard {shard_id} in stream {self.name}")
        return self.shards[shard_id]

    def route(self, partition_key: str, explicit_hash_key: str | None = None) -> Shard:
        """The open shard for a key: MD5 of the partition key, or the explicit hash key."""
        if explicit_hash_key is not None:
            if not explicit_hash_key.isdigit() or int(explicit_hash_key) > MAX_HASH_KEY:
                raise invalid(f"Invalid ExplicitHashKey: {explicit_hash_key}")
            value = int(explicit_hash_key)
        else:
            value = int.from_bytes(hashlib.md5(partition_key.encode(), usedforsecurity=False).digest())
        return self._open[bisect_right(self._starts, value) - 1]

    def append(self, shard: Shard, data: str, partition_key: str, now_ms: float, sequence: int | None = None) -> int:
        """Store one record (``data`` in base64); returns its sequence number."""
        self._sequence = sequence or self._sequence + 1
        arrival = max(now_ms, shard.arrivals_ms[-1]) if shard.arrivals_ms else now_ms
        # Serialised once, at put: GetRecords only joins these bytes. Base64 needs no escaping.
        fragment = b'{"SequenceNumber":"%d","ApproximateArrivalTimestamp":%.3f,"PartitionKey":%b,"Data":"%b"}' % (
            self._sequence, arrival / 1000, orjson.dumps(partition_key), data.encode(),
        )  # fmt: skip
        shard.sequences.append(self._sequence)
        shard.arrivals_ms.append(arrival)
        shard.fragments.append(fragment)
        return self._sequence

    def split(self, shard_id: str, new_start: int, now_ms: float) -> None:
        """Close a shard and open two in its place; raises InvalidArgumentException where that makes no sense."""
        parent = self._closing(shard_id)
        if not parent.start_hash < new_start <= parent.end_hash:
            raise invalid(f"NewStartingHashKey {new_start} is not inside shard {shard_id}")
        self._close(parent, now_ms)
        self._add(parent.start_hash, new_start - 1, parent)
        self._add(new_start, parent.end_hash, parent)

    def merge(self, shard_id: str, adjacent_id: str, now_ms: float) -> None:
        """Close two adjacent shards and open one; raises InvalidArgumentException where they are not adjacent."""
        first, second = self._closing(shard_id), self._closing(adjacent_id)
        if first.end_hash + 1 != second.start_hash and second.end_hash + 1 != first.start_hash:
            raise invalid(f"Shards {shard_id} and {adjacent_id} are not adjacent")
        self._close(first, now_ms)
        self._close(second, now_ms)
        low, high = min(first.start_hash, second.start_hash), max(first.end_hash, second.end_hash)
        self._add(low, high, first, second)

    def resize(self, target: int, now_ms: float) -> None:
        """Split and merge uniformly until ``target`` shards are open (doubling and halving, as the API does)."""
        while len(self._open) < target:
            widest = max(self._open, key=lambda s: s.end_hash - s.start_hash)
            self.split(widest.shard_id, (widest.start_hash + widest.end_hash + 1) // 2, now_ms)
        while len(self._open) > target:
            pairs = zip(self._open, self._open[1:], strict=False)
            left, right = min(pairs, key=lambda p: p[1].end_hash - p[0].start_hash)
            self.merge(left.shard_id, right.shard_id, now_ms)

    def _closing(self, shard_id: str) -> Shard:
        shard = self.shard(shard_id)
        if not shard.open:
            raise invalid(f"Shard {shard_id} in stream {self.name} is closed")
        return shard

    def _close(self, shard: Shard, now_ms: float) -> None:
        self._sequence += 1
        shard.end_sequence = self._sequence
        shard.closed_ms = now_ms
        self._reindex()

    def _add(self, low: int, high: int, parent: Shard | None = None, adjacent: Shard | None = None) -> None:
        self._sequence += 1
        shard = Shard(
            f"shardId-{len(self.shards):012d}", low, high, self._sequence,
            parent.shard_id if parent else None, adjacent.shard_id if adjacent else None,
        )  # fmt: skip
        for one in (parent, adjacent):
            if one:
                one.children.append(shard.shard_id)
        self.shards[shard.shard_id] = shard
        self._reindex()

    def _reindex(self) -> None:
        self._open = sorted((s for s in self.shards.values() if s.open), key=lambda s: s.start_hash)
        self._starts = [shard.start_hash for shard in self._open]


def check_write(shard: Shard, size: int, now: float) -> None:
    """Raise ProvisionedThroughputExceededException beyond 1 MiB/s or 1,000 records/s (Kinesis quotas page)."""
    if shard.write_records.would_exceed(now, 1, WRITE_RECORDS_PER_SECOND) or shard.write_bytes.would_exceed(
        now, size, WRITE_BYTES_PER_SECOND
    ):
        raise throttled(shard.shard_id)
    shard.write_records.use(now, 1)
    shard.write_bytes.use(now, size)


def check_read(shard: Shard, now: float) -> None:
    """Raise ProvisionedThroughputExceededException beyond 5 calls/s or 2 MiB/s (Kinesis quotas page)."""
    if shard.read_calls.would_exceed(now, 1, READ_CALLS_PER_SECOND) or shard.read_bytes.would_exceed(
        now, 0, READ_BYTES_PER_SECOND
    ):
        raise throttled(shard.shard_id)
    shard.read_calls.use(now, 1)


def base64_size(text: str) -> int:
    """Length of the bytes that a base64 text stands for; raises SerializationException where it is none."""
    try:
        return len(base64.b64decode(text, validate=True))
    except ValueError as error:
        raise KinesisError("SerializationException", "Data is not valid base64") from error
