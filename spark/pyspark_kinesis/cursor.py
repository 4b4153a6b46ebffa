"""A place in one shard, and reading on from it."""

import logging
import time
from collections.abc import Callable

from pyspark_kinesis.client import KinesisClient, Tally
from pyspark_kinesis.decoding import Page
from pyspark_kinesis.errors import DataLossError, IteratorExpiredError, RequestRefusedError
from pyspark_kinesis.options import Options
from pyspark_kinesis.pace import Pace
from pyspark_kinesis.positions import SHARD_END, TRIM_HORIZON, parts_of

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
        if self.iterator is None:
            self._renew()
        for _ in range(_RENEWALS):
            try:
                return self._call(limit)
            except IteratorExpiredError:
                self._renew()
        return self._call(limit)

    def _call(self, limit: int) -> Page:
        if wait := self.pace.wait_seconds():
            self._sleep(wait)
        self.pace.note()
        return self._client.records(str(self.iterator), limit, self._stream.arn, self.tally)

    def _renew(self) -> None:
        stream, (_, shard_id) = self._stream.arguments, parts_of(self._shard_id)
        try:
            self.iterator = self._client.iterator(stream, shard_id, self.position)
        except RequestRefusedError as error:
            message = (
                f"position {self.position} of {self._shard_id} is refused ({error}): its records have aged out, or the "
                "stream was deleted and created again"
            )
            if self._options.fail_on_data_loss:
                raise DataLossError(
                    f"{message}. Set failOnDataLoss=false to go on from the oldest record there is, or start over "
                    "with a new checkpoint location"
                ) from error
            logging.getLogger(__name__).warning("%s; going on from the oldest record there is", message)
            self.position = TRIM_HORIZON
            self.iterator = self._client.iterator(stream, shard_id, self.position)
        self.issued_at = time.time()
