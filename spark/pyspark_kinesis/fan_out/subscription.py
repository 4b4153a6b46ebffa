"""Reading a shard by SubscribeToShard (enhanced fan-out), with GetRecords to fall back on.

A subscription pushes what follows a position for five minutes. A consumer has one a shard at a time, and gets another
no sooner than 5 s after the last (API reference, SubscribeToShard). So it is never waited for: a position is exact, and
by which of the two calls its records come makes no difference to what they are.
"""

import contextlib
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import urllib3
from botocore.eventstream import EventStreamBuffer, ParserError

from pyspark_kinesis.api.client import KinesisClient, Tally
from pyspark_kinesis.api.decoding import Page, decode
from pyspark_kinesis.api.positions import parts_of
from pyspark_kinesis.errors import ConsumerError, RequestRefusedError, StreamNotFoundError, SubscriptionError
from pyspark_kinesis.shards.cursor import Cursor

_CHUNK_BYTES = 64 * 1024
# Idle subscriptions get an event every few seconds. A task falls back on GetRecords sooner than the planner gives up.
_TASK_WAIT_SECONDS = 8.0


class Subscription:
    """One SubscribeToShard call, and the pages that it pushes.

    For one thread, but for ``wake``. Raises ConsumerError where the consumer is gone, and SubscriptionError where there
    is no subscription to be had now.
    """

    def __init__(
        self,
        client: KinesisClient,
        consumer_arn: str,
        shard_key: str,
        position: str,
        *,
        wait_seconds: float,
        tally: Tally | None = None,
    ) -> None:
        self._tally = tally or Tally()
        try:
            self._answer = client.subscribe(consumer_arn, parts_of(shard_key)[1], position, wait_seconds, self._tally)
        except StreamNotFoundError as error:
            self._check_consumer(client, consumer_arn)
            raise SubscriptionError(str(error)) from error
        except RequestRefusedError as error:
            # A position, most likely; GetRecords says what is wrong with it in its own words.
            raise SubscriptionError(str(error)) from error

    def pages(self) -> Iterator[Page]:
        """What follows, event by event, each after the one before; some hold no record.

        The last page of a closed shard is ``closed``. Otherwise they end with the subscription's time, or with
        SubscriptionError; to go on from the last page's ``following`` or last record is exact either way.
        """
        buffer = EventStreamBuffer()
        try:
            for chunk in self._answer.stream(_CHUNK_BYTES):
                self._tally.bytes += len(chunk)
                buffer.add_data(chunk)
                for message in buffer:
                    if (page := self._page(message)) is not None:
                        yield page
                        if page.closed:
                            return
        except (urllib3.exceptions.HTTPError, OSError, ParserError, ValueError, KeyError, TypeError) as error:
            raise SubscriptionError(f"the subscription broke: {error!r}") from error
        finally:
            self._answer.close()

    def wake(self) -> None:
        """From another thread: have the reader find that it has ended."""
        shutdown = getattr(self._answer, "shutdown", None)  # urllib3 has it since 2.3; else the next event wakes it
        if shutdown is not None:
            with contextlib.suppress(ValueError, RuntimeError, OSError):  # it has ended already
                shutdown()

    def close(self) -> None:
        """Let go of it. The consumer may subscribe again 5 s after this one began."""
        self._answer.close()

    def _page(self, message: Any) -> Page | None:
        headers = message.headers
        if headers.get(":message-type") != "event":
            code = headers.get(":exception-type") or headers.get(":error-code")
            raise SubscriptionError(f"the subscription ended with {code}: {message.payload[:300]!r}")
        if headers.get(":event-type") != "SubscribeToShardEvent":
            return None
        self._tally.events += 1
        page = decode(message.payload)
        # A shard's end has both marks; one without the other is taken for none, as the KCL does.
        if page.closed is not page.children:
            raise SubscriptionError("an event names child shards and a number to go on from, or neither")
        return page

    @staticmethod
    def _check_consumer(client: KinesisClient, consumer_arn: str) -> None:
        """Raise ConsumerError if it is the consumer that does not exist, rather than the shard."""
        try:
            client.call("DescribeStreamConsumer", {"ConsumerARN": consumer_arn})
        except StreamNotFoundError as error:
            raise ConsumerError(
                f"the consumer {consumer_arn} is gone: somebody deregistered it while the query ran. Restart the "
                "query, which registers consumerName again; with consumerARN, register it before"
            ) from error


@dataclass(frozen=True, eq=False)
class Pushed:
    """What was pushed behind a position, and as of when (epoch seconds) that was so."""

    page: Page
    at: float


def cut(page: Page, limit: int) -> tuple[Page, Page | None]:
    """The first ``limit`` records of a page, and the rest if there is any."""
    if len(page.records) <= limit:
        return page, None
    head = page.records.part(0, limit)
    first = Page(head, max(1, page.behind_ms), head.last or page.following or "")
    return first, replace(page, records=page.records.part(limit))


class SubscribedCursor(Cursor):
    """A cursor that reads by SubscribeToShard, and by GetRecords while no subscription is to be had."""

    def __init__(self, *place: Any, consumer_arn: str, **how: Any) -> None:
        super().__init__(*place, **how)
        self._consumer_arn = consumer_arn
        self._subscription: Subscription | None = None
        self._pages: Iterator[Page] = iter(())
        self._rest: Page | None = None
        self._next_try = 0.0

    def fetch(self, limit: int) -> Page:
        page = self._rest or self._pushed()
        if page is None:
            return super().fetch(limit)
        first, self._rest = cut(page, limit)
        self._move(first)
        self.iterator = None  # what follows an event is a number
        return first

    def close(self) -> None:
        if self._subscription is not None:
            self._subscription.close()
            self._subscription, self._pages = None, iter(())

    def _pushed(self) -> Page | None:
        """The next event's page, or None if GetRecords is to be asked for now."""
        try:
            if self._subscription is None:
                if time.monotonic() < self._next_try:
                    return None
                # The API allows one call a second; two attempts of a task are not to keep in step.
                self._next_try = time.monotonic() + random.uniform(1.0, 2.0)
                self._subscription = Subscription(
                    self._client,
                    self._consumer_arn,
                    self._shard_id,
                    self.position,
                    wait_seconds=_TASK_WAIT_SECONDS,
                    tally=self.tally,
                )
                self._pages = self._subscription.pages()
            if (page := next(self._pages, None)) is not None:
                return page
        except SubscriptionError:
            pass
        self.close()
        return None


class PushedCursor(Cursor):
    """A cursor over one page, which was pushed to the planner. What the limits leave of it is for the next batch."""

    def __init__(self, *place: Any, page: Page, pushed_at: float, **how: Any) -> None:
        super().__init__(*place, **how)
        self._page = page
        self._pushed_at = pushed_at

    def fetch(self, limit: int) -> Page:
        first, _ = cut(self._page, limit)
        self._move(first)
        self.iterator = None
        self.exhausted = True
        return first

    def seen_at(self) -> float:
        return self._pushed_at
