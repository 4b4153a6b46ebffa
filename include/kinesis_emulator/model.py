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
    """A shard with its records: parallel lists, in order of sequence number and of arrival (milliseconds).

    A record's index counts from the shard's first record ever; the first ``trimmed`` ones have aged out.
    """

    shard_id: str
    start_hash: int
    end_hash: int
    start_sequence: int
    created_ms: float = 0
    parent: str | None = None
    adjacent_parent: str | None = None
    end_sequence: int | None = None
    closed_ms: float | None = None
    children: list[str] = field(default_factory=list)
    sequences: list[int] = field(default_factory=list)
    arrivals_ms: list[float] = field(default_factory=list)
    fragments: list[bytes] = field(default_factory=list)
    trimmed: int = 0
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

    @property
    def end(self) -> int:
        """Index after the last record."""
        return self.trimmed + len(self.sequences)

    def index_after(self, sequence: int) -> int:
        """Index of the first record after a sequence number."""
        return self.trimmed + bisect_right(self.sequences, sequence)

    def index_at(self, sequence: int) -> int:
        """Index of the record with a sequence number, or of the first after it."""
        return self.trimmed + bisect_left(self.sequences, sequence)

    def index_at_time(self, milliseconds: float) -> int:
        """Index of the first record that arrived at or after a time."""
        return self.trimmed + bisect_left(self.arrivals_ms, milliseconds)

    def read(self, index: int, limit: int) -> tuple[list[bytes], int]:
        """At most ``limit`` records and 10 MiB from an index on (or from the oldest left), and the index after them."""
        start = max(0, index - self.trimmed)
        fragments = self.fragments[start : start + limit]
        size = 0
        for taken, fragment in enumerate(fragments):
            size += len(fragment)
            if size > MAX_RESPONSE_BYTES and taken:
                fragments = fragments[:taken]
                break
        return fragments, self.trimmed + start + len(fragments)

    def behind_ms(self, index: int, now_ms: float) -> int:
        """How long ago the record at an index arrived, at least 1; 0 where there is none yet."""
        return 0 if index >= self.end else max(1, int(now_ms - self.arrivals_ms[index - self.trimmed]))

    def trim(self, horizon_ms: float) -> None:
        """Forget the records that arrived before a time."""
        count = bisect_left(self.arrivals_ms, horizon_ms)
        if count:
            del self.sequences[:count], self.arrivals_ms[:count], self.fragments[:count]
            self.trimmed += count


class Stream:
    """A stream. Sequence numbers grow over the whole stream, so children begin above their parents' end."""

    def __init__(
        self, name: str, arn: str, shards: int, created_ms: float, active_ms: float, mode: str = "PROVISIONED"
    ) -> None:
        self.name = name
        self.arn = arn
        self.created_ms = created_ms
        self.active_ms = active_ms
        self.mode = mode
        self.retention_hours = 24
        self.hour_ms = 3_600_000.0
        self.tags: dict[str, str] = {}
        self.shards: dict[str, Shard] = {}
        self._sequence = _FIRST_SEQUENCE_NUMBER
        self._shards_ever = 0
        self._trimmed_ms = 0.0
        self._open: list[Shard] = []
        self._starts: list[int] = []
        width = (MAX_HASH_KEY + 1) // shards
        for n in range(shards):
            self._add(n * width, MAX_HASH_KEY if n == shards - 1 else (n + 1) * width - 1, created_ms)

    def status(self, now_ms: float) -> str:
        """CREATING until its time has come, then ACTIVE."""
        return "CREATING" if now_ms < self.active_ms else "ACTIVE"

    @property
    def open_shards(self) -> list[Shard]:
        """Open shards by hash key."""
        return list(self._open)

    @property
    def next_sequence(self) -> int:
        """The sequence number of the next record."""
        return self._sequence + 1

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
        self._add(parent.start_hash, new_start - 1, now_ms, parent)
        self._add(new_start, parent.end_hash, now_ms, parent)

    def merge(self, shard_id: str, adjacent_id: str, now_ms: float) -> None:
        """Close two adjacent shards and open one; raises InvalidArgumentException where they are not adjacent."""
        first, second = self._closing(shard_id), self._closing(adjacent_id)
        if first.end_hash + 1 != second.start_hash and second.end_hash + 1 != first.start_hash:
            raise invalid(f"Shards {shard_id} and {adjacent_id} are not adjacent")
        self._close(first, now_ms)
        self._close(second, now_ms)
        low, high = min(first.start_hash, second.start_hash), max(first.end_hash, second.end_hash)
        self._add(low, high, now_ms, first, second)

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

    def horizon_ms(self, now_ms: float) -> float:
        """The oldest time of which the stream knows anything."""
        return max(self.created_ms, now_ms - self.retention_hours * self.hour_ms)

    def trim(self, now_ms: float) -> None:
        """Forget records beyond retention, and shards that closed before; looks once a second, so that it is cheap."""
        if now_ms - self._trimmed_ms < 1000:
            return
        self._trimmed_ms = now_ms
        horizon = self.horizon_ms(now_ms)
        for shard in list(self.shards.values()):
            shard.trim(horizon)
            if shard.closed_ms is not None and shard.closed_ms < horizon:
                del self.shards[shard.shard_id]

    def filtered(self, kind: str | None, milliseconds: float, shard_id: str, now_ms: float) -> list[Shard]:
        """The shards of a ShardFilter, by id (API reference, ShardFilter); raises InvalidArgumentException."""
        horizon = self.horizon_ms(now_ms)
        at = horizon if kind == "AT_TRIM_HORIZON" else max(milliseconds, horizon)
        match kind:
            case None | "FROM_TRIM_HORIZON":
                chosen = list(self.shards.values())
            case "AT_LATEST":
                chosen = self._open
            case "AFTER_SHARD_ID":
                chosen = [shard for shard in self.shards.values() if shard.shard_id > shard_id]
            case "AT_TRIM_HORIZON" | "AT_TIMESTAMP":
                chosen = [s for s in self.shards.values() if s.created_ms <= at and (s.closed_ms or at + 1) > at]
            case "FROM_TIMESTAMP":
                chosen = [s for s in self.shards.values() if s.closed_ms is None or s.closed_ms >= at]
            case _:
                raise KinesisError("ValidationException", f"ShardFilter type {kind!r} is not one of the enum values")
        return sorted(chosen, key=lambda shard: shard.shard_id)

    def _add(
        self, low: int, high: int, now_ms: float, parent: Shard | None = None, adjacent: Shard | None = None
    ) -> None:
        self._sequence += 1
        shard = Shard(
            f"shardId-{self._shards_ever:012d}", low, high, self._sequence, now_ms,
            parent.shard_id if parent else None, adjacent.shard_id if adjacent else None,
        )  # fmt: skip
        self._shards_ever += 1
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
