"""Streams and consumers. Pure state: no HTTP, no clock of its own, no files."""

import hashlib
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from kinesis_emulator.errors import KinesisError, invalid
from kinesis_emulator.state.arns import ACCOUNT
from kinesis_emulator.state.changes import Mode, Strategy
from kinesis_emulator.state.sequence import SequenceNumbers
from kinesis_emulator.state.shard import Shard, data_size

MAX_HASH_KEY = 2**128 - 1
_LEAST_KIB, _MOST_KIB = 1024, 10240


@dataclass
class Consumer:
    """A registered consumer of a stream."""

    name: str
    arn: str
    created_seconds: int
    active_ms: float
    tags: dict[str, str] = field(default_factory=dict)
    policy: str | None = None

    def status(self, now_ms: float) -> str:
        """CREATING until its time has come, then ACTIVE."""
        return "CREATING" if now_ms < self.active_ms else "ACTIVE"


class Stream:
    """A stream. Sequence numbers grow over the whole stream, so children begin above their parents' end."""

    def __init__(
        self, name: str, arn: str, shards: int, created_ms: float, active_ms: float, creation: int, identity: int
    ) -> None:
        self.name = name
        self.arn = arn
        self.account = ACCOUNT
        self.created_ms = created_ms
        self.active_ms = active_ms
        self.identity = identity
        self.deleted = False
        self.consumers: dict[str, Consumer] = {}
        self.watchers: dict[str, set[Callable[[], None]]] = {}
        self.hour_ms = 3_600_000.0
        self.tags: dict[str, str] = {}
        self.policy: str | None = None
        self.mode: Mode = "PROVISIONED"
        self.retention_hours = 24
        self.default_record_bytes = _LEAST_KIB * 1024
        self.max_record_kib: int | None = None
        self.metrics: list[str] = []
        self.key_id: str | None = None
        self.strategy: Strategy = "USER_PARTITION_KEY"
        self.warm_mibps: int | None = None
        self.shards: dict[str, Shard] = {}
        self.numbers = SequenceNumbers(creation)
        self._place = 0
        self._turn = 0
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
    def max_record_bytes(self) -> int:
        """How large the data and the partition key of a record may be."""
        return self.default_record_bytes if self.max_record_kib is None else self.max_record_kib * 1024

    @property
    def record_kib(self) -> int:
        """The same as DescribeStreamSummary shows it, which knows 1 to 10 MiB only."""
        return min(max(self.max_record_bytes // 1024, _LEAST_KIB), _MOST_KIB)

    @property
    def encryption(self) -> dict[str, str]:
        """As in the descriptions of a stream."""
        return {"EncryptionType": "NONE"} if self.key_id is None else {"EncryptionType": "KMS", "KeyId": self.key_id}

    @property
    def warm_throughput(self) -> dict[str, int | None]:
        """As in the descriptions of a stream; what is aimed at is there at once."""
        return {"TargetMiBps": self.warm_mibps, "CurrentMiBps": self.warm_mibps}

    @property
    def open_shards(self) -> list[Shard]:
        """Open shards by hash key."""
        return list(self._open)

    @property
    def place(self) -> int:
        """The place of the latest sequence number; whatever comes, in any shard, has a later one."""
        return self._place

    def latest_sequence(self, shard: Shard) -> int:
        """The number from which a reader at the tip of a shard goes on: all that follows has a greater one."""
        return self.numbers.number(self._place, shard.number)

    def wake(self, shard_ids: Iterable[str] | None = None) -> None:
        """Call the watchers of some shards, or of all."""
        for shard_id in tuple(self.watchers if shard_ids is None else shard_ids):
            for watcher in self.watchers.get(shard_id, ()):
                watcher()

    def shard(self, shard_id: str) -> Shard:
        """A shard by its id; raises ResourceNotFoundException."""
        if shard_id not in self.shards:
            raise KinesisError(
                "ResourceNotFoundException",
                f"Could not find shard {shard_id} in stream {self.name} under account {ACCOUNT}.",
            )
        return self.shards[shard_id]

    def route(self, partition_key: str | None, explicit_hash_key: str | None = None) -> Shard:
        """The open shard for a record: by turns, by the explicit hash key, or by the MD5 of the partition key."""
        if self.strategy == "AUTO":
            self._turn += 1
            return self._open[self._turn % len(self._open)]
        if explicit_hash_key is not None:
            value = int(explicit_hash_key)
            if value > MAX_HASH_KEY:
                raise invalid(
                    "Invalid ExplicitHashKey. ExplicitHashKey must be in the range: [0, 2^128-1]. Specified value was "
                    f"{explicit_hash_key}"
                )
        elif len(self._open) == 1:
            return self._open[0]
        else:
            assert partition_key is not None
            value = int.from_bytes(hashlib.md5(partition_key.encode(), usedforsecurity=False).digest(), "big")
        return self._open[bisect_right(self._starts, value) - 1]

    def due(self, shards: Iterable[Shard]) -> list[int]:
        """The numbers that the next records have, given the shard of each."""
        number = self.numbers.number
        return [number(place, shard.number) for place, shard in enumerate(shards, self._place + 1)]

    def append(
        self, records: Sequence[tuple[Shard, Mapping[str, Any]]], sequences: Sequence[int], now_ms: float
    ) -> None:
        """Store records as requests have them (Data in base64, PartitionKey or none) under numbers that are due."""
        for (shard, record), sequence in zip(records, sequences, strict=True):
            data, key = record["Data"], record.get("PartitionKey")
            arrival = max(now_ms, shard.arrivals_ms[-1]) if shard.arrivals_ms else now_ms
            # Serialised once, at put: GetRecords only joins these bytes. Base64 needs no escaping.
            fragment = b'{"SequenceNumber":"%d","ApproximateArrivalTimestamp":%.3f,"PartitionKey":%b,"Data":"%b"}' % (
                sequence, arrival / 1000, orjson.dumps(key), data.encode(),
            )  # fmt: skip
            if key is None:
                fragment = fragment.replace(b'"PartitionKey":null,', b"", 1)
            if self.key_id is not None:
                fragment = fragment[:-1] + b',"EncryptionType":"KMS"}'
            shard.sequences.append(sequence)
            shard.arrivals_ms.append(arrival)
            shard.fragments.append(fragment)
            before = shard.data_ends[-1] if shard.data_ends else shard.trimmed_bytes
            shard.data_ends.append(before + data_size(data))
        if sequences:
            position = self.numbers.position(sequences[-1])
            assert position is not None
            self._place = position.place

    def splittable(self, shard_id: str, new_start: int) -> Shard:
        """The open shard that can be split at a hash key; raises InvalidArgumentException where that makes no sense."""
        parent = self._closing(shard_id)
        if not parent.start_hash < new_start <= parent.end_hash:
            raise invalid(
                f"NewStartingHashKey {new_start} used in SplitShard() on shard {shard_id} in stream {self.name} under "
                f"account {ACCOUNT} is not both greater than the shard's StartingHashKey {parent.start_hash} and at "
                f"most the shard's EndingHashKey {parent.end_hash}."
            )
        return parent

    def split(self, parent: Shard, new_start: int, now_ms: float) -> None:
        """Close a shard and open two in its place."""
        self._close(parent, now_ms)
        self._add(parent.start_hash, new_start - 1, now_ms, parent)
        self._add(new_start, parent.end_hash, now_ms, parent)

    def mergeable(self, shard_id: str, adjacent_id: str) -> tuple[Shard, Shard]:
        """The two open shards that can be merged; raises InvalidArgumentException where they are not adjacent."""
        first, second = self._closing(shard_id), self._closing(adjacent_id)
        if first.end_hash + 1 != second.start_hash and second.end_hash + 1 != first.start_hash:
            raise invalid(
                f"Shards {shard_id} and {adjacent_id} in stream {self.name} under account {ACCOUNT} are not an "
                "adjacent pair of shards eligible for merging"
            )
        return first, second

    def merge(self, first: Shard, second: Shard, now_ms: float) -> None:
        """Close two adjacent shards and open one."""
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
                self.split(self._open[at], wanted, now_ms)
        for start in sorted(set(self._starts[1:]).difference(bounds)):
            at = bisect_left(self._starts, start)
            self.merge(self._open[at - 1], self._open[at], now_ms)

    def _closing(self, shard_id: str) -> Shard:
        shard = self.shard(shard_id)
        if not shard.open:
            raise invalid(f"Shard {shard_id} in stream {self.name} under account {ACCOUNT} is closed")
        return shard

    def _close(self, shard: Shard, now_ms: float) -> None:
        at = bisect_left(self._starts, shard.start_hash)
        del self._open[at], self._starts[at]
        shard.end_sequence = self._next_sequence(shard.number)
        # Like arrivals, never back: neither before what the shard holds, nor before its parents' end.
        shard.closed_ms = max(now_ms, shard.created_ms, shard.arrivals_ms[-1] if shard.arrivals_ms else 0.0)
        self.wake((shard.shard_id,))

    def _next_sequence(self, shard_number: int) -> int:
        self._place += 1
        return self.numbers.number(self._place, shard_number)

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
        """The shards of a ShardFilter, by id (API reference, ShardFilter)."""
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
                raise AssertionError(f"not one of the enum values of the service's model: {kind}")
        return sorted(chosen, key=lambda shard: shard.shard_id)

    def _add(
        self, low: int, high: int, now_ms: float, parent: Shard | None = None, adjacent: Shard | None = None
    ) -> None:
        now_ms = max([now_ms, *(one.closed_ms or 0.0 for one in (parent, adjacent) if one)])
        shard = Shard(
            self._shards_ever, low, high, self._next_sequence(self._shards_ever), now_ms,
            parent.shard_id if parent else None, adjacent.shard_id if adjacent else None,
        )  # fmt: skip
        self._shards_ever += 1
        for one in (parent, adjacent):
            if one:
                one.children.append(shard.shard_id)
        self.shards[shard.shard_id] = shard
        at = bisect_left(self._starts, low)
        self._open.insert(at, shard)
        self._starts.insert(at, low)
