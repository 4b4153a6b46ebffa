"""Streams, shards and records. Pure state: no HTTP, no clock of its own, no files."""

import base64
import hashlib
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import orjson

from kinesis_emulator.errors import KinesisError, invalid, not_found
from kinesis_emulator.limits import ShardLimits

MAX_HASH_KEY = 2**128 - 1
_FIRST_SEQUENCE_NUMBER = 495 * 10**53
MAX_RESPONSE_BYTES = 10 * 1024 * 1024
MAX_RECORDS = 10_000


@dataclass
class Consumer:
    """A registered consumer of a stream."""

    name: str
    arn: str
    created_seconds: int
    active_ms: float

    def status(self, now_ms: float) -> str:
        """CREATING until its time has come, then ACTIVE."""
        return "CREATING" if now_ms < self.active_ms else "ACTIVE"


@dataclass
class Shard:
    """A shard with its records: parallel lists, in order of sequence number and of arrival (milliseconds).

    ``fragments`` are the records as answers show them; ``data_ends`` the bytes of data from the shard's first record
    ever through each. A record's index counts from that first one, too; the first ``trimmed`` ones have aged out.
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
    data_ends: list[int] = field(default_factory=list)
    trimmed: int = 0
    trimmed_bytes: int = 0

    def __post_init__(self) -> None:
        self.limits = ShardLimits(self.shard_id)

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

    def sequence_before(self, index: int) -> int:
        """Sequence number of the record before an index."""
        return self.sequences[index - 1 - self.trimmed]

    def read(self, index: int, limit: int, max_bytes: int) -> tuple[list[bytes], int, int]:
        """Records from an index on (or from the oldest left), the index after them, and their bytes of data.

        They are at most ``limit`` and ``max_bytes``; a first one that is larger comes alone.
        """
        start = min(max(0, index - self.trimmed), len(self.fragments))
        before = self.data_ends[start - 1] if start else self.trimmed_bytes
        fitting = bisect_right(self.data_ends, before + max_bytes, start)
        stop = min(max(fitting, start + 1), start + limit, len(self.fragments))
        size = self.data_ends[stop - 1] - before if stop > start else 0
        return self.fragments[start:stop], self.trimmed + stop, size

    def behind_ms(self, index: int, now_ms: float) -> int:
        """How long ago the record at an index arrived, at least 1; 0 where there is none yet."""
        return 0 if index >= self.end else max(1, int(now_ms - self.arrivals_ms[index - self.trimmed]))

    def trim(self, horizon_ms: float) -> None:
        """Forget the records that arrived before a time."""
        count = bisect_left(self.arrivals_ms, horizon_ms)
        if count:
            self.trimmed_bytes = self.data_ends[count - 1]
            del self.sequences[:count], self.arrivals_ms[:count], self.fragments[:count], self.data_ends[:count]
            self.trimmed += count


class Stream:
    """A stream. Sequence numbers grow over the whole stream, so children begin above their parents' end."""

    def __init__(
        self,
        name: str,
        arn: str,
        shards: int,
        created_ms: float,
        active_ms: float,
        mode: str = "PROVISIONED",
        generation: int = 0,
    ) -> None:
        self.name = name
        self.arn = arn
        self.created_ms = created_ms
        self.active_ms = active_ms
        self.mode = mode
        self.generation = generation
        self.deleted = False
        self.consumers: dict[str, Consumer] = {}
        self.watchers: dict[str, set[Callable[[], None]]] = {}
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

    def settle(self, now_ms: float) -> None:
        """Stay ACTIVE, with the consumers that are, whatever the clock says later."""
        if self.status(now_ms) == "ACTIVE":
            self.active_ms = 0.0
        for consumer in self.consumers.values():
            if consumer.status(now_ms) == "ACTIVE":
                consumer.active_ms = 0.0

    @property
    def open_shards(self) -> list[Shard]:
        """Open shards by hash key."""
        return list(self._open)

    @property
    def next_sequence(self) -> int:
        """The sequence number of the next record."""
        return self._sequence + 1

    @property
    def latest_sequence(self) -> int:
        """The greatest sequence number so far; whatever comes, in any shard, has a greater one."""
        return self._sequence

    def wake(self, shard_ids: Iterable[str] | None = None) -> None:
        """Call the watchers of some shards, or of all."""
        for shard_id in tuple(self.watchers if shard_ids is None else shard_ids):
            for watcher in self.watchers.get(shard_id, ()):
                watcher()

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
        before = shard.data_ends[-1] if shard.data_ends else shard.trimmed_bytes
        shard.data_ends.append(before + len(data) // 4 * 3 - data.count("=", -2))
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
        """Split and merge until ``target`` shards of equal hash ranges are open; some that it makes are short-lived.

        Ranges that differ from equal ones by no more than rounding are left as they are.
        """
        width = (MAX_HASH_KEY + 1) // target
        bounds = []
        for wanted in (n * width for n in range(1, target)):
            at = bisect_right(self._starts, wanted) - 1
            near = [start for start in self._starts[at : at + 2] if abs(start - wanted) <= target]
            bounds.append(near[0] if near else wanted)
            if not near:
                self.split(self._open[at].shard_id, wanted, now_ms)
        for start in sorted(set(self._starts[1:]).difference(bounds)):
            at = self._starts.index(start)
            self.merge(self._open[at - 1].shard_id, self._open[at].shard_id, now_ms)

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
        self.wake((shard.shard_id,))

    def horizon_ms(self, now_ms: float) -> float:
        """The oldest time of which the stream knows anything."""
        return max(self.created_ms, now_ms - self.retention_hours * self.hour_ms)

    def trim(self, now_ms: float) -> None:
        """Forget records beyond retention, and shards that closed before; looks once a second, so that it is cheap."""
        if 0 <= now_ms - self._trimmed_ms < 1000:
            return
        self._trimmed_ms = now_ms
        # Not from the stream's creation on: where the clock was set back, that is in the future.
        horizon = now_ms - self.retention_hours * self.hour_ms
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


def base64_size(text: str) -> int:
    """Length of the bytes that a base64 text stands for; raises SerializationException where it is none."""
    try:
        return len(base64.b64decode(text, validate=True))
    except ValueError as error:
        raise KinesisError("SerializationException", "Data is not valid base64") from error
