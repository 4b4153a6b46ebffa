"""Telling whether records aged out before they were read.

Kinesis does not say so: asked for what follows a record that has aged out, it begins with the oldest that there is. But
what follows a position arrived after the time as of which the position was complete. While that time is within the
stream's retention period, nothing can have aged out, and nothing is asked. Beyond it, the record at the position is
asked for: as long as it is there, so is all that follows.
"""

import logging

from pyspark_kinesis.client import KinesisClient
from pyspark_kinesis.errors import DataLossError, RequestRefusedError
from pyspark_kinesis.options import Options
from pyspark_kinesis.positions import parts_of

# The shortest that Kinesis has, less an hour for clocks and for the time until the first read.
_SAFE_SECONDS = 23 * 3600.0
_MARGIN_SECONDS = 3600.0
_PAGES = 50


class Aging:
    """Checks positions of one query."""

    def __init__(self, client: KinesisClient, options: Options) -> None:
        self._client = client
        self._options = options
        self._retention_seconds: dict[str, float] = {}

    def check(self, key: str, position: str, as_of: float) -> str | None:
        """An iterator after the position if one came for free; None otherwise, also where nothing had to be asked.

        ``as_of``: epoch seconds, 0 if not known. Raises DataLossError if records after the position may be gone, or
        warns, as failOnDataLoss says.
        """
        age = self._client.now() - as_of
        if not position.isdigit() or age < _SAFE_SECONDS:
            return None
        stream = self._options.stream_of(key)
        if as_of:
            if stream.name not in self._retention_seconds:
                self._retention_seconds[stream.name] = self._client.retention_seconds(stream.arguments)
            if age < self._retention_seconds[stream.name] - _MARGIN_SECONDS:
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
                page = self._client.records(iterator, 1, stream.arn)
                if page.records.last == position:
                    return page.following
                if page.records.last is not None:
                    found = f"{page.records.last} as the oldest"
                    break
                if not page.behind_ms:
                    break
                iterator = page.following
        except RequestRefusedError as error:
            found = f"a refusal ({error})"
        since = f"complete as of {as_of:.0f} (epoch seconds)" if as_of else "of unknown age"
        message = (
            f"the record at position {position} of {key}, {since}, is no longer in the stream, which has {found}: what "
            "came after it may have aged out unread"
        )
        if self._options.fail_on_data_loss:
            raise DataLossError(
                f"{message}. Set failOnDataLoss=false to go on from the oldest record there is, or start over with a "
                "new checkpoint location; to be safe next time, raise the stream's retention period"
            )
        logging.getLogger(__name__).warning("%s; going on from the oldest record there is", message)
        return None
