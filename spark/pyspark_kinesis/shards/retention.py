"""Telling whether records aged out before they were read.

Kinesis does not say so: asked for what follows a record that has aged out, it begins with the oldest that there is. But
what follows a position arrived after the time as of which the position was complete. While that time is within the
stream's retention period, nothing can have aged out, and nothing is asked. Beyond it, the record at the position is
asked for: as long as it is there, so is all that follows. Positions without a record, such as a pinned LATEST or the
start of a child shard, cannot be told: beyond the retention period they count as lost.
"""

import logging
from datetime import datetime, timezone

from pyspark_kinesis.api.client import KinesisClient
from pyspark_kinesis.api.positions import SHARD_END, parts_of
from pyspark_kinesis.errors import (
    DataLossError,
    IteratorExpiredError,
    RequestRefusedError,
    ShardGoneError,
    StreamNotFoundError,
)
from pyspark_kinesis.options.stream import Options

# The shortest that Kinesis has, less an hour for clocks and for the time until the first read.
SAFE_SECONDS = 23 * 3600.0
_MARGIN_SECONDS = 3600.0
_PAGES = 50


class Aging:
    """Checks positions of one query."""

    def __init__(self, client: KinesisClient, options: Options) -> None:
        self._client = client
        self._options = options

    def check(self, key: str, position: str, as_of: float) -> str | None:
        """An iterator after the position if one came for free; None otherwise, also where nothing had to be asked.

        ``as_of``: epoch seconds, 0 if not known. Raises DataLossError if records after the position may be gone, or
        warns, as failOnDataLoss says.
        """
        age = self._client.now() - as_of
        if age < SAFE_SECONDS or position == SHARD_END or not (position.isdigit() or as_of):
            return None
        if as_of:
            retention = self._client.retention_seconds(self._options.stream_of(key).arguments)
            if not position.isdigit():
                # Kinesis keeps records at least that long, so there is no need of a margin.
                if age >= retention:
                    self._lose(
                        f"{key} at {position} has not been read since {_iso(as_of)}, which is longer than the "
                        f"retention period of {retention / 3600:.0f} hours: what came then may have aged out unread"
                    )
                return None
            if age < retention - _MARGIN_SECONDS:
                return None
        return self._look(key, position, as_of)

    def _look(self, key: str, position: str, as_of: float) -> str | None:
        stream, (_, shard_id) = self._options.stream_of(key), parts_of(key)
        found = "no record at all"
        try:
            iterator: str | None = self._client.iterator(stream.arguments, shard_id, f"={position}")
            for _ in range(_PAGES):  # an answer may be empty before the record comes
                if iterator is None:
                    break
                try:
                    page = self._client.records(iterator, 1, stream.arn)
                except IteratorExpiredError:
                    iterator = self._client.iterator(stream.arguments, shard_id, f"={position}")
                    continue
                if page.records.last == position:
                    return page.following
                if page.records.last is not None:
                    found = f"{page.records.last} as the oldest"
                    break
                if not page.behind_ms:
                    break
                iterator = page.following
        except (RequestRefusedError, ShardGoneError, StreamNotFoundError) as error:
            if isinstance(error, RequestRefusedError) and not error.of_position:
                raise
            found = f"a refusal ({error})"
        since = f"complete as of {_iso(as_of)}" if as_of else "of unknown age"
        self._lose(
            f"the record at position {position} of {key}, {since}, is no longer in the stream, which has {found}: what "
            "came after it may have aged out unread"
        )
        return None

    def _lose(self, message: str) -> None:
        if self._options.fail_on_data_loss:
            raise DataLossError(
                f"{message}. Set failOnDataLoss=false to go on from the oldest record there is, or start over with a "
                "new checkpoint location; to be safe next time, raise the stream's retention period"
            )
        logging.getLogger(__name__).warning("%s; going on from the oldest record there is", message)


def _iso(epoch_seconds: float) -> str:
    return datetime.fromtimestamp(epoch_seconds, timezone.utc).isoformat(timespec="seconds")
