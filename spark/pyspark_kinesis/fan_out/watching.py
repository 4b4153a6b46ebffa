"""Subscriptions that the planner keeps open, so that what arrives near the tip is there before it is asked for.

A consumer may subscribe to a shard once in 5 s, which is not a pace for micro-batches; so where there is little to
read, one subscription outlives many of them. Its records travel to the tasks inside their partitions, as a hint like
any other: a task records how far it read before it hands on a row, and a replay that has no such hint reads the same
records by GetRecords. Shards that are further behind are read in the tasks, each by a subscription of its own.
"""

import logging
import random
import threading
import time
from contextlib import suppress
from dataclasses import dataclass

from pyspark_kinesis.api.client import KinesisClient, Tally
from pyspark_kinesis.api.decoding import Page, Records, joined
from pyspark_kinesis.api.positions import SHARD_END, parts_of
from pyspark_kinesis.errors import KinesisSourceError, StreamNotFoundError, SubscriptionError
from pyspark_kinesis.fan_out.consumers import Consumers
from pyspark_kinesis.fan_out.subscription import Pushed, Subscription, cut
from pyspark_kinesis.offsets.ledger import Ledger
from pyspark_kinesis.options.stream import Options

# A shard that is further behind is read in a task.
FAR_BEHIND_MS = 10_000
# What all shards together may hold of unread records, in bytes, and each of them at most; a message more is possible.
_HELD_BYTES = 64 * 1024 * 1024
_HELD_BYTES_A_SHARD = 4 * 1024 * 1024
# Idle subscriptions get an event every few seconds: one that is quiet for so long is not relied on, and then given up.
_QUIET_SECONDS = 12.0
_EVENT_SECONDS = 35.0


@dataclass(frozen=True)
class Sight:
    """How a shard stands behind a position."""

    has_data: bool
    behind_ms: int
    ended: bool
    at: float


class Watch:
    """One shard, subscribed to for as long as it is wanted, by a thread of its own; and what came and is unread."""

    def __init__(self, client: KinesisClient, consumer_arn: str, shard_key: str, position: str, tally: Tally) -> None:
        self.room_bytes = _HELD_BYTES_A_SHARD
        self._client = client
        self._consumer_arn = consumer_arn
        self._shard_key = shard_key
        # The records held are all that follow this position, up to where the subscription is.
        self._position = position
        self._held: list[Records] = []
        self._next = position
        self._behind_ms = 0
        self._at = 0.0
        # Since when a page has waited for room; what is behind it may be further behind than anybody knows.
        self._full_since: float | None = None
        self._ended = False
        self._live = False
        self._stopped = False
        self._error: KinesisSourceError | None = None
        self._tally = tally
        self._subscription: Subscription | None = None
        self._changed = threading.Condition()
        threading.Thread(target=self._run, name=f"watch {shard_key}", daemon=True).start()

    def come_to(self, position: str) -> bool:
        """Forget what is held up to a position. False if this watch cannot tell what follows it."""
        with self._changed:
            if position == self._position:
                return True
            if not position.isdigit() or (self._position.isdigit() and int(position) < int(self._position)):
                return False
            left = [records.after_number(int(position)) for records in self._held]
            self._held = [records for records in left if records]
            self._position = position
            self._changed.notify_all()
            return True

    def sight(self) -> Sight | None:
        """How the shard stands; None where nobody knows now. Raises what makes subscribing impossible."""
        with self._changed:
            if self._error is not None:
                raise self._error
            fresh = self._live and (self._ended or self._client.now() - self._at < _QUIET_SECONDS)
            if not fresh and not self._held:
                return None
            return Sight(bool(self._held), self._behind(), self._ended, self._at)

    def pushed(self, limit: int | None) -> Pushed | None:
        """What is held, at most so many records; None if nothing is."""
        with self._changed:
            if not self._held:
                return None
            records = joined(self._held)
            page = Page(records, self._behind(), None if self._ended else records.last, self._ended)
            first, rest = cut(page, len(records) if limit is None else limit)
            # Cut off from what follows, so that no more than that travels.
            return Pushed(page if rest is None else _alone(first), self._at)

    def stop(self) -> None:
        """End the subscription."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
            if self._subscription is not None:
                self._subscription.wake()

    def _run(self) -> None:
        try:
            while not self._stopped and not self._ended:
                earliest_next = time.monotonic() + random.uniform(1.0, 2.0)  # the API allows one call a second
                try:
                    self._subscribe()
                except SubscriptionError as error:
                    if self._live and not self._stopped:
                        logging.getLogger(__name__).info(
                            "reading %s by GetRecords until it is subscribed to again: %s", self._shard_key, error
                        )
                    self._live = False
                with self._changed:
                    self._changed.wait_for(lambda: self._stopped, max(0.0, earliest_next - time.monotonic()))
        except KinesisSourceError as error:
            with self._changed:
                self._error = error
        except Exception as error:
            with self._changed:
                self._error = KinesisSourceError(f"reading {self._shard_key} failed: {error!r}; restart the query")

    def _subscribe(self) -> None:
        subscription = Subscription(
            self._client,
            self._consumer_arn,
            self._shard_key,
            self._next,
            wait_seconds=_EVENT_SECONDS,
            tally=self._tally,
        )
        try:
            with self._changed:
                self._subscription = subscription
            for page in subscription.pages():
                if not self._take(page):
                    return
        finally:
            with self._changed:
                self._subscription = None
            subscription.close()

    def _take(self, page: Page) -> bool:
        """Hold a page, once there is room; False if nothing more is wanted."""
        at = self._client.now()
        with self._changed:
            if not self._has_room():
                self._full_since = at
                self._changed.wait_for(lambda: self._stopped or self._has_room())
                self._full_since = None
            records = page.records
            if self._position.isdigit():
                records = records.after_number(int(self._position))
            if records:
                self._held.append(records)
            self._next = page.following or self._next
            self._behind_ms, self._at, self._ended, self._live = page.behind_ms, at, page.closed, True
            return not self._stopped

    def _has_room(self) -> bool:
        return bool(sum(records.data.nbytes for records in self._held) < self.room_bytes)

    def _behind(self) -> int:
        if self._full_since is None:
            return self._behind_ms
        return max(1, self._behind_ms, round((self._client.now() - self._full_since) * 1000))


class FanOut:
    """The consumers of a query, and the watches that its planner keeps by them."""

    def __init__(self, client: KinesisClient, ledger: Ledger, options: Options) -> None:
        self._client = client
        self._options = options
        self._consumers = Consumers(client, ledger, options)
        self._watches: dict[str, Watch] = {}
        self._tallies: dict[str, Tally] = {}

    def register(self) -> None:
        """Have a consumer for every stream that is there. Raises ConsumerError or AccessError."""
        for stream in self._options.streams:
            with suppress(StreamNotFoundError):  # said once the checkpoint is known, as failOnDataLoss has it
                self._consumers.arn(stream.name)

    def consumer(self, shard_key: str) -> str:
        """The ARN of the consumer that reads a shard."""
        return self._consumers.arn(parts_of(shard_key)[0])

    def sight(self, shard_key: str, position: str) -> Sight | None:
        """How a shard stands behind a position, without a call; None if that is not known, or not yet."""
        watch = self._watches.get(shard_key)
        if watch is None or not watch.come_to(position):
            self.drop(shard_key)
            if position == SHARD_END:
                return None
            tally = self._tallies.setdefault(shard_key, Tally())
            watch = Watch(self._client, self.consumer(shard_key), shard_key, position, tally)
            self._watches[shard_key] = watch
            self._share_room()
        return watch.sight()

    def pushed(self, shard_key: str, position: str, limit: int | None) -> Pushed | None:
        """What was pushed of a shard behind a position, for a task to take along."""
        watch = self._watches.get(shard_key)
        return watch.pushed(limit) if watch is not None and watch.come_to(position) else None

    def calls(self, shard_key: str) -> dict[str, int]:
        """How often the planner subscribed to a shard so far, and how many events came."""
        tally = self._tallies.get(shard_key, Tally())
        return {"subscribeToShardCalls": tally.subscriptions, "events": tally.events}

    def keep_only(self, shard_keys: set[str]) -> None:
        """Drop the watches of all other shards."""
        for key in set(self._watches) - shard_keys:
            self.drop(key)

    def drop(self, shard_key: str) -> None:
        """End the watch of a shard, if there is one."""
        if (watch := self._watches.pop(shard_key, None)) is not None:
            watch.stop()
            self._share_room()

    def stop(self) -> None:
        """End all subscriptions. The consumers stay."""
        self.keep_only(set())

    def close(self) -> None:
        """End all subscriptions, and deregister the consumers that this query registered."""
        self.stop()
        self._consumers.close()

    def _share_room(self) -> None:
        for watch in self._watches.values():
            watch.room_bytes = min(_HELD_BYTES_A_SHARD, _HELD_BYTES // len(self._watches))


def _alone(page: Page) -> Page:
    return Page(joined([page.records]), page.behind_ms, page.following, page.children)
