"""The options of ``spark.read.format("kinesis")``: those of a stream, with an end, without what only a stream has."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from pyspark_kinesis.api.positions import LATEST
from pyspark_kinesis.errors import OptionError
from pyspark_kinesis.options.stream import (
    KNOWN,
    Options,
    Stream,
    at_iso_time,
    named_positions,
    parse,
    refuse_unknown,
)
from pyspark_kinesis.options.values import boolean_of

# What a stream needs to go on from where it was, and in portions.
_STREAMS_ONLY = (
    "ledgerLocation",
    "ledgerEndpointUrl",
    "maxRecordsPerTrigger",
    "maxRecordsPerShardPerTrigger",
    "maxBytesPerTrigger",
    "maxBytesPerShardPerTrigger",
    "maxFetchSeconds",
    "shardRefreshSeconds",
    "consumerName",
    "consumerARN",
)
KNOWN_TO_BATCH = (
    *(name for name in KNOWN if name not in _STREAMS_ONLY),
    "endingPosition",
    "endingTimestamp",
    "filterPushdown",
)
"""Names of the options of ``read``."""


@dataclass(frozen=True)
class BatchOptions:
    """What a batch read asks for."""

    source: Options
    """What it shares with a stream: streams, region, credentials, where to start."""
    until: float = math.inf
    """``endingTimestamp``: records that arrived later (epoch seconds) are not wanted; without ``ends``, neither are
    those that come after the planning."""
    ends: Mapping[str, str] = field(default_factory=dict)
    """``endingPosition``: by key of a shard, the last sequence number wanted; if given, other shards are not read."""
    filter_pushdown: bool = False
    """``filterPushdown``: take filters of the query, which Spark allows only with
    ``spark.sql.python.filterPushdown.enabled``."""

    @property
    def streams(self) -> tuple[Stream, ...]:
        """The streams to read."""
        return self.source.streams


def parse_batch(options: Mapping[str, str]) -> BatchOptions:
    """Options of a batch read.

    Raises:
        OptionError: as ``options.stream.parse`` says, or an option is a stream's only, or nothing would be read.
        AccessError: as ``options.stream.parse`` says.
    """
    given = {name.lower(): str(value) for name, value in options.items()}
    if wrong := [name for name in _STREAMS_ONLY if name.lower() in given]:
        raise OptionError(f"{', '.join(wrong)}: for readStream, with ledgerLocation; a batch read keeps nothing")
    refuse_unknown(given, KNOWN_TO_BATCH)
    position, timestamp = given.pop("endingposition", LATEST), given.pop("endingtimestamp", None)
    pushdown = boolean_of("filterPushdown", given.pop("filterpushdown", None), False)
    # No ledger is ever opened: the location only satisfies the parser.
    source = parse({**given, "ledgerLocation": "unused"})
    if source.starting_position == LATEST:
        raise OptionError(f"from {LATEST} on there is nothing to read yet: choose a startingPosition in the past")
    until, ends = math.inf, {}
    if timestamp is not None:
        if position.upper() != LATEST:
            raise OptionError("endingPosition and endingTimestamp contradict each other: set one")
        # A record of the very millisecond is still wanted.
        until = float(at_iso_time("endingTimestamp", timestamp)[1:])
        if source.starting_position.startswith("@") and until < float(source.starting_position[1:]):
            raise OptionError("endingTimestamp is before startingTimestamp: exchange them")
    elif position.upper() != LATEST:
        ends = named_positions("endingPosition", position, source.streams, LATEST)
        if not ends:
            raise OptionError("endingPosition names no shard, so there is nothing to read: name some, or leave it out")
        if not_numbers := [key for key, at in ends.items() if not at.isdigit()]:
            raise OptionError(f"endingPosition of {', '.join(not_numbers)}: sequence numbers, the last ones wanted")
    return BatchOptions(source, until, ends, pushdown)
