"""A place in one shard, and reading on from it."""

import logging
import time
from collections.abc import Callable

from pyspark_kinesis.api.client import KinesisClient, Tally
from pyspark_kinesis.api.decoding import Page, shard_end
from pyspark_kinesis.api.positions import SHARD_END, TRIM_HORIZON, parts_of
from pyspark_kinesis.api.rate_limit import Pace
from pyspark_kinesis.errors import (
    DataLossError,
    IteratorExpiredError,
    RequestRefusedError,
    ShardGoneError,
    StreamNotFoundError,
)
from pyspark_kinesis.options.stream import FUTURE_SECONDS, Options

# Iterators live five minutes; a younger one than this is worth a try.
_ITERATOR_SECONDS = 280.0
MAX_RECORDS_A_CALL = 10_000
# A new iterator can expire, too, before it is used: the process stood still, or a call took all its retries.
_RENEWALS = 5


class Cursor:
    """Reads one shard forward, paced, renewing iterators as they expire.

    ``position`` is always exactly after the last record that ``fetch`` gave out.
    """

    def __init__(
        self,
        client: KinesisClient,
        options: Options,
        shard_id: str,
        position: str,
        *,
        pace: Pace,
        iterator: str | None = None,
        issued_at: float = 0.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.position = position
        self.iterator = iterator
        self.issued_at = issued_at
        self.pace = pace
        self._client = client
        self._options = options
        self._shard_id = shard_id
        self._stream = options.stream_of(shard_id)
        self._sleep = sleep
        self.tally = Tally()
        # There is nothing behind what was fetched that this cursor could give.
        self.exhausted = False

    def close(self) -> None:
        """Let go of what is held open."""

    def seen_at(self) -> float:
        """As of when (epoch seconds) the last page stood where it says."""
        return self._client.now()

    def continue_at(self, iterator: str) -> None:
        """Use an iterator at the position that was just issued."""
        self.iterator, self.issued_at = iterator, time.time()

    def fetch(self, limit: int) -> Page:
        """The next records, at most ``limit``, moving on behind them."""
        page = self._get(min(limit, MAX_RECORDS_A_CALL))
        self._move(page)
        return page

    def peek(self) -> Page:
        """What follows: at most one record, which stays unread. An empty answer moves the iterator on."""
        page = self._get(1)
        if not page.records:
            self._move(page)
        return page

    def _move(self, page: Page) -> None:
        if (last := page.records.last) is not None:
            self.position = last
        if page.closed:
            self.position = SHARD_END
        self.iterator, self.issued_at = page.following, time.time()

    def _get(self, limit: int) -> Page:
        if time.time() - self.issued_at > _ITERATOR_SECONDS:
            self.iterator = None
        refused: Exception | None = None
        for _ in range(_RENEWALS + 1):
            if self.iterator is None and not self._renew():
                return shard_end()
            try:
                return self._call(limit)
            except (IteratorExpiredError, StreamNotFoundError) as error:
                refused = error
                self.iterator = None
        assert refused is not None
        raise refused

    def _call(self, limit: int) -> Page:
        if wait := self.pace.wait_seconds():
            self._sleep(wait)
        self.pace.note()
        return self._client.records(str(self.iterator), limit, self._stream.arn, self.tally)

    def _renew(self) -> bool:
        """Have an iterator at the position; False where the shard is gone, and that may be."""
        stream, (_, shard_id) = self._stream.arguments, parts_of(self._shard_id)
        try:
            self.iterator = self._at_position(stream, shard_id)
        except (ShardGoneError, StreamNotFoundError) as error:
            self._lose(
                f"what follows position {self.position} of {self._shard_id} cannot be read any more ({error})",
                "without it",
                error,
            )
            if isinstance(error, StreamNotFoundError):  # it may come back, and its positions hold then
                raise
            return False
        except RequestRefusedError as error:
            if not error.of_position or self.position.startswith("@"):  # a time is never refused for its age
                raise
            self._lose(
                f"position {self.position} of {self._shard_id} is refused ({error}): its records have aged out, or the "
                "stream was deleted and created again",
                "from the oldest record there is",
                error,
            )
            self.position = TRIM_HORIZON
            self.iterator = self._client.iterator(stream, shard_id, self.position)
        self.issued_at = time.time()
        return True

    def _at_position(self, stream: dict[str, str], shard_id: str) -> str:
        try:
            return self._client.iterator(stream, shard_id, self.position)
        except RequestRefusedError:
            # A time that one of the service's machines has not reached yet, by less than their clocks differ.
            if not self.position.startswith("@") or not 0 < (wait := self._ahead()) <= FUTURE_SECONDS:
                raise
        self._sleep(wait)
        return self._client.iterator(stream, shard_id, self.position)

    def _ahead(self) -> float:
        return self._client.clock.seconds_until(float(self.position[1:]))

    def _lose(self, message: str, how: str, error: Exception) -> None:
        if self._options.fail_on_data_loss:
            raise DataLossError(
                f"{message}. Set failOnDataLoss=false to go on {how}, or start over with a new checkpoint location"
            ) from error
        logging.getLogger(__name__).warning("%s; going on %s", message, how)
