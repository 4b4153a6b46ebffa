"""Shards and their records."""

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field

from kinesis_emulator.state.limits import ShardLimits

MAX_RESPONSE_BYTES = 10 * 1024 * 1024
MAX_RECORDS = 10_000


def shard_id(number: int) -> str:
    """The id of a stream's shard of a number, which counts from 0."""
    return f"shardId-{number:012d}"


@dataclass
class Shard:
    """A shard with its records: parallel lists, in order of sequence number and of arrival (milliseconds).

    ``fragments`` are the records as answers show them; ``data_ends`` the bytes of data from the shard's first record
    ever through each. A record's index counts from that first one, too; the first ``trimmed`` ones have aged out.
    """

    number: int
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
        self.shard_id = shard_id(self.number)
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


def data_size(text: str) -> int:
    """Length of the bytes that a base64 text stands for."""
    return len(text) // 4 * 3 - (text[-1:] == "=") - (text[-2:] == "==")
