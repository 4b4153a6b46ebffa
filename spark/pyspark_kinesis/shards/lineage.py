"""Which shards the streams of a query have, and which streams were made again.

ListShards may be incomplete or late while a stream is resharded. So what a list leaves out, and what is known or named
as a parent, is asked for by GetShardIterator, and counts as gone only where that says so too.
"""

import logging
import math
import time
from collections.abc import Mapping
from concurrent.futures import Executor

from pyspark_kinesis.api.client import KinesisClient
from pyspark_kinesis.api.positions import SHARD_END, Shard, parts_of
from pyspark_kinesis.errors import DataLossError, EndpointError, StreamNotFoundError
from pyspark_kinesis.options.stream import Options

# How often it is asked whether a drained shard that no list names is gone.
_ASKED_SECONDS = 600.0
# DescribeStreamSummary is limited to 20 calls a second of a whole account.
_IDENTITY_SECONDS = 30.0


class Lineage:
    """The shards of one query, as of the last ``refresh``."""

    def __init__(self, client: KinesisClient, options: Options, pool: Executor) -> None:
        self._client = client
        self._options = options
        self._pool = pool
        self.shards: list[Shard] = []
        # When each stream was made (epoch seconds).
        self.created: dict[str, float] = {}
        # Streams that do not exist now.
        self.absent: set[str] = set()
        self._listed_at = -math.inf
        self._identified_at = -math.inf
        self._closed: set[str] = set()
        # Parents that no list names and that are gone.
        self._gone: set[str] = set()
        self._asked_at: dict[str, float] = {}

    def is_due(self) -> bool:
        """Whether the shards have not been listed for as long as the options say."""
        return time.monotonic() - self._listed_at >= self._options.shard_refresh_seconds

    def outdate(self) -> None:
        """Have the shards listed again before they are used next."""
        self._listed_at = -math.inf

    def is_closed(self, key: str) -> bool:
        """Whether a list has said already that nothing is put into a shard any more."""
        return key in self._closed

    def refresh(self, positions: Mapping[str, str]) -> None:
        """List the shards, and look for those that the list leaves out.

        Raises StreamNotFoundError for a stream of which no position is known, else DataLossError or a warning.
        """
        listed: list[Shard] = []
        absent: set[str] = set()
        for stream in self._options.streams:
            try:
                listed += [shard.of(stream.name) for shard in self._client.shards(stream.arguments)]
            except StreamNotFoundError as error:
                if not any(parts_of(key)[0] == stream.name for key in positions):
                    raise
                self._stream_gone(stream.name, error)
                absent.add(stream.name)
        if self.absent - absent:
            self._identified_at = -math.inf
        self.absent = absent
        names = {shard.shard_id for shard in listed}
        known = {shard.shard_id: shard for shard in self.shards}
        unfinished = {
            key for key, position in positions.items() if position != SHARD_END and parts_of(key)[0] not in absent
        }
        parents = {parent for shard in listed if shard.shard_id not in positions for parent in shard.parents}
        missing = sorted((unfinished | (parents - positions.keys() - self._gone)) - names)
        for key, there in zip(missing, self._pool.map(self._is_there, missing), strict=True):
            if there:
                listed.append(known.get(key, Shard(key)))
            elif key not in unfinished:
                self._gone.add(key)
        self.shards = listed
        self._closed |= {shard.shard_id for shard in listed if shard.closed}
        self._listed_at = time.monotonic()

    def forgettable(self, positions: Mapping[str, str]) -> list[str]:
        """Drained shards that are gone: no list names them, and GetShardIterator, asked now and then, denies them."""
        listed, now = {shard.shard_id for shard in self.shards}, time.monotonic()
        unlisted = {key for key, position in positions.items() if position == SHARD_END and key not in listed}
        unlisted = {key for key in unlisted if parts_of(key)[0] not in self.absent}
        known = {key: at for key, at in self._asked_at.items() if key in unlisted and now - at < _ASKED_SECONDS}
        asked = sorted(unlisted - known.keys())
        gone = [key for key, there in zip(asked, self._pool.map(self._is_there, asked), strict=True) if not there]
        self._asked_at = known | dict.fromkeys(set(asked) - set(gone), now)
        return gone

    def made_again(self, *, anew: bool = False) -> set[str]:
        """Streams that were made at another time than ``created`` says, which is corrected: namesakes of those.

        Nothing that a checkpoint says holds for them. Raises DataLossError or warns, as failOnDataLoss says. Asks now
        and again only, unless ``anew``.
        """
        if not anew and time.monotonic() - self._identified_at < _IDENTITY_SECONDS:
            return set()
        found: dict[str, float] = {}
        for stream in self._options.streams:
            try:
                found[stream.name] = self._client.summary(stream.arguments, anew=True).created_at
            except StreamNotFoundError as error:
                if stream.name not in self.created:
                    raise
                self._stream_gone(stream.name, error)
                self.absent = self.absent | {stream.name}
            except EndpointError as error:  # limited to 20 calls a second of an account: reading goes on meanwhile
                if anew:
                    raise
                logging.getLogger(__name__).warning(
                    "whether %s is still the same stream is asked later: %s", stream.name, error
                )
        again = {name for name, at in found.items() if self.created.get(name, at) != at}
        self.created = {**self.created, **found}
        self._identified_at = time.monotonic()
        if again:
            names = ", ".join(sorted(again))
            lose(
                self._options,
                f"{names} was deleted and made again since the checkpoint was written: what was unread is gone",
                "Set failOnDataLoss=false to read the new one from its oldest record on",
                "reading the new one from its oldest record on",
            )
            self._closed = {key for key in self._closed if parts_of(key)[0] not in again}
            self.outdate()
        return again

    def _is_there(self, key: str) -> bool:
        name, shard_id = parts_of(key)
        return self._client.has_shard(self._options.stream_named(name).arguments, shard_id)

    def _stream_gone(self, name: str, error: StreamNotFoundError) -> None:
        lose(
            self._options,
            f"the stream {name}, in which the checkpoint holds positions, is gone ({error})",
            "Set failOnDataLoss=false to wait until it is made again, and read that one from its oldest record on",
            "nothing is read of it until it is made again",
        )


def lose(options: Options, what: str, remedy: str, going_on: str) -> None:
    """Raise DataLossError, or warn, as failOnDataLoss says."""
    if options.fail_on_data_loss:
        raise DataLossError(
            f"{what}. {remedy}, or start over with a new checkpoint location; to be safe next time, raise the stream's "
            "retention period"
        )
    logging.getLogger(__name__).warning("%s; %s", what, going_on)
