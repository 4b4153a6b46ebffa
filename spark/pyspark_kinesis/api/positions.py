"""Positions in a shard, and which shards may be read when.

A position is a plain string, so that offsets and ledger files stay readable JSON:

| position | where it is |
|---|---|
| `TRIM_HORIZON` | before the oldest record that the stream still holds |
| `@1700000000.123` | before the first record that arrived at or after that time (epoch seconds) |
| `4966…` | after the record of that sequence number |
| `=4966…` | at that record itself; only to see whether it is still there |
| `SHARD_END` | after the last record of a closed shard |
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

TRIM_HORIZON = "TRIM_HORIZON"
"""The position before the oldest record."""
SHARD_END = "SHARD_END"
"""The position after the last record of a closed shard."""
LATEST = "LATEST"
"""Where a query may ask to start: behind what is there. Not a position: it is pinned to one at the first start."""


@dataclass(frozen=True)
class Shard:
    """One shard as ListShards describes it.

    Shard ids repeat between streams, so where a query reads several, all go by ``<stream>/<shard id>``.
    """

    shard_id: str
    """Its id, or its key."""
    parents: tuple[str, ...] = ()
    """The shards that it came of: none, one (a split) or two (a merge)."""
    closed: bool = False
    """Whether nothing is put into it any more, because it was split or merged."""

    def of(self, stream: str) -> "Shard":
        """This shard by its key."""
        parents = tuple(key_of(stream, parent) for parent in self.parents)
        return Shard(key_of(stream, self.shard_id), parents, self.closed)


def key_of(stream: str, shard_id: str) -> str:
    """What a shard goes by in offsets, in the ledger and in messages."""
    return f"{stream}/{shard_id}"


def parts_of(key: str) -> tuple[str, str]:
    """Stream and shard id of a key; neither holds a slash."""
    stream, _, shard_id = key.partition("/")
    return stream, shard_id


def at_time(epoch_seconds: float) -> str:
    """The position before the first record that arrived at or after a time, rounded down to milliseconds."""
    return f"@{math.floor(epoch_seconds * 1000) / 1000:.3f}"


def is_position(text: str) -> bool:
    """Whether a string is a position."""
    if text in (TRIM_HORIZON, SHARD_END):
        return True
    if text.startswith("@"):
        return text[1:].replace(".", "", 1).isascii() and text[1:].replace(".", "", 1).isdigit()
    return text.isascii() and text.isdigit()


def iterator_arguments(position: str) -> dict[str, str | float]:
    """What GetShardIterator is asked for a position.

    Raises:
        ValueError: the position is ``SHARD_END``, which has no iterator.
    """
    if position == TRIM_HORIZON:
        return {"ShardIteratorType": "TRIM_HORIZON"}
    if position.startswith("@"):
        return {"ShardIteratorType": "AT_TIMESTAMP", "Timestamp": float(position[1:])}
    if position.startswith("="):
        return {"ShardIteratorType": "AT_SEQUENCE_NUMBER", "StartingSequenceNumber": position[1:]}
    if position == SHARD_END:
        raise ValueError("the end of a shard has no iterator")
    return {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "StartingSequenceNumber": position}


def readable(shards: Iterable[Shard], positions: Mapping[str, str]) -> list[str]:
    """Ids of the shards that may be read now: unfinished, and every parent that is still known is drained.

    A parent that the stream no longer lists has aged out with all its records, so it holds nobody back.
    """
    shards = list(shards)
    listed = {shard.shard_id for shard in shards}
    return [
        shard.shard_id
        for shard in shards
        if positions.get(shard.shard_id) not in (None, SHARD_END)
        and all(
            positions.get(parent) == SHARD_END for parent in shard.parents if parent in listed or parent in positions
        )
    ]


def advance(
    shards: Iterable[Shard], positions: Mapping[str, str], first: Mapping[str, str] | None = None
) -> tuple[dict[str, str], list[str]]:
    """Positions over the shards that exist now, and the ids of unfinished shards that vanished.

    Shards that are new start at TRIM_HORIZON, or where ``first`` says for their stream. A drained shard is remembered,
    so that it is not taken for a new one where a list leaves it out and the next one does not. An unfinished one that
    is no longer there counts as drained: it is in both results.
    """
    there = [shard.shard_id for shard in shards]
    listed = set(there)
    lost = [shard for shard, position in positions.items() if shard not in listed and position != SHARD_END]
    begun = {shard: positions.get(shard) or (first or {}).get(parts_of(shard)[0], TRIM_HORIZON) for shard in there}
    return {**positions, **begun, **dict.fromkeys(lost, SHARD_END)}, lost


def named_but_unread(shards: Iterable[Shard], named: Mapping[str, str]) -> list[str]:
    """Ids of named shards that are no longer listed and may have held records that were never read.

    Children are read after their parents only. So a vanished shard was drained if all its listed children are named
    too; without a listed child, all that followed it has aged out as well, and nothing can be said.
    """
    shards = list(shards)
    listed = {shard.shard_id for shard in shards}
    return sorted(
        {
            parent
            for shard in shards
            for parent in shard.parents
            if parent in named and parent not in listed and named[parent] != SHARD_END and shard.shard_id not in named
        }
    )
