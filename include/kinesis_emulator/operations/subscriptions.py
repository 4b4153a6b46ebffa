"""SubscribeToShard: records are pushed to a registered consumer as they arrive (enhanced fan-out)."""

import asyncio
import math
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Any

import orjson

from kinesis_emulator.errors import KinesisError, dry_run, in_use, not_found
from kinesis_emulator.operations.positions import start_index
from kinesis_emulator.operations.records import child_described
from kinesis_emulator.operations.resources import active_consumer
from kinesis_emulator.service import check_request
from kinesis_emulator.service.timeouts import timeout
from kinesis_emulator.state import Request, State
from kinesis_emulator.state.limits import READ_BYTES_PER_SECOND
from kinesis_emulator.state.shard import MAX_RECORDS, Shard
from kinesis_emulator.state.stream import Consumer, Stream

_MAX_EVENT_BYTES = 1024 * 1024


class Subscription:
    """A consumer's subscription to a shard, from an index on. Its events are one after the other, for one reader."""

    def __init__(
        self, owner: "Subscriptions", state: State, stream: Stream, consumer: Consumer, shard: Shard, index: int
    ) -> None:
        self.started = state.clock()
        self.finished = False
        self._owner = owner
        self._state = state
        self._stream = stream
        self._consumer = consumer
        self._shard = shard
        self._index = index
        self._woken = asyncio.Event()

    @property
    def key(self) -> tuple[str, str]:
        """The consumer's ARN and the shard."""
        return self._consumer.arn, self._shard.shard_id

    def wake(self) -> None:
        """Have it look for what is new: records, the shard's end, its own end."""
        self._woken.set()

    async def events(self) -> AsyncGenerator[bytes, None]:
        """Events as JSON, each as soon as there is something to say, until the shard ends.

        An event without records comes first where there are none yet, and then after each idle heartbeat, so that a
        reader always has a sequence number to continue from. Its length of life is for the caller to end.

        Raises:
            KinesisError: stream or consumer are gone, or another subscription took over.
        """
        watchers = self._stream.watchers.setdefault(self._shard.shard_id, set())
        watchers.add(self.wake)
        try:
            due = True
            while not self._owner.closed:
                self._woken.clear()
                if error := self._refusal():
                    raise error
                if due or self._has_news():
                    payload, size, ended = self._event()
                    yield payload
                    if ended:
                        return
                    if self._state.options.limits:
                        await asyncio.sleep(size / READ_BYTES_PER_SECOND)
                due = not self._has_news() and not await self._woken_in_time()
        finally:
            watchers.discard(self.wake)
            if not watchers:
                self._stream.watchers.pop(self._shard.shard_id, None)

    def _has_news(self) -> bool:
        return self._index < self._shard.end or not self._shard.open

    async def _woken_in_time(self) -> bool:
        """Whether something happened before the next heartbeat was due."""
        with suppress(asyncio.TimeoutError):
            async with timeout(self._state.options.heartbeat_seconds):
                await self._woken.wait()
        return self._woken.is_set()

    def _refusal(self) -> KinesisError | None:
        if self._stream.deleted:
            return not_found(f"Stream {self._stream.name} under account {self._stream.account}")
        if self._stream.consumers.get(self._consumer.name) is not self._consumer:
            return not_found(f"Consumer {self._consumer.arn}")
        if not self._owner.holds(self):
            return in_use("Another subscription of this consumer took over the shard.")
        return None

    def _event(self) -> tuple[bytes, int, bool]:
        """The next event, its bytes of data, and whether the shard ends with it."""
        now, shard = self._state.ms(), self._shard
        self._stream.trim(now)
        fragments, self._index, size = shard.read(self._index, MAX_RECORDS, _MAX_EVENT_BYTES)
        self._state.records_out += len(fragments)
        answer: dict[str, Any] = {"MillisBehindLatest": shard.behind_ms(self._index, now)}
        ended = not shard.open and self._index >= shard.end
        if ended:
            # With no number to continue from: so does the API tell a shard's end, and the KCL knows it by that.
            answer["ChildShards"] = [
                child_described(self._stream.shards[child]) for child in shard.children if child in self._stream.shards
            ]
        else:
            # At the tip of a shard, the stream's latest number: all that follows has a greater one.
            answer["ContinuationSequenceNumber"] = str(
                shard.sequence_before(self._index) if fragments else self._stream.latest_sequence(shard)
            )
        payload = b'{"Records":[' + b",".join(fragments) + b"]," + orjson.dumps(answer)[1:]
        return payload, size, ended


class Subscriptions:
    """At most one subscription for a consumer and a shard."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._latest: dict[tuple[str, str], Subscription] = {}
        self.closed = False

    def subscribe(self, request: Request) -> Subscription:
        """SubscribeToShard: whoever subscribes later than 5 s after another takes over from it.

        A subscription that ended by itself (its time was up, or its shard ended) makes room at once; one whose reader
        went away does so after those 5 s, which count from the last successful call, as the API reference says.

        Raises:
            KinesisError: ResourceInUseException within 5 s, or while the consumer is CREATING, and others.
        """
        check_request("SubscribeToShard", request)
        arn = {"ConsumerARN": request["ConsumerARN"]}
        stream, consumer = active_consumer(self._state, arn, "SubscribeToShard")
        shard = stream.shard(request["ShardId"])
        position = request["StartingPosition"]
        number, timestamp = position.get("SequenceNumber"), position.get("Timestamp")
        now = math.ceil(self._state.clock() * 1000)
        index = start_index(stream, shard, position["Type"], number, timestamp, now, "SubscribeToShard")
        subscription = Subscription(self, self._state, stream, consumer, shard, index)
        self._drop_old()
        previous = self._latest.get(subscription.key)
        if previous and 0 <= subscription.started - previous.started < self._state.options.takeover_seconds:
            raise in_use(f"Another active subscription exists for this consumer: {consumer.arn} on {shard.shard_id}")
        if request.get("DryRun"):
            raise dry_run()
        self._latest[subscription.key] = subscription
        if previous:
            previous.wake()
        return subscription

    def holds(self, subscription: Subscription) -> bool:
        """Whether no other has taken over from it."""
        return self._latest.get(subscription.key) is subscription

    def finish(self, subscription: Subscription, by_reader: bool) -> None:
        """A subscription is over; its place is free at once unless its reader went away."""
        subscription.finished = True
        if self.holds(subscription) and not by_reader:
            del self._latest[subscription.key]

    @property
    def active(self) -> int:
        """How many there are."""
        return sum(not subscription.finished for subscription in self._latest.values())

    def close(self) -> None:
        """End them all."""
        self.closed = True
        for subscription in self._latest.values():
            subscription.wake()

    def _drop_old(self) -> None:
        oldest = self._state.clock() - self._state.options.takeover_seconds
        self._latest = {k: one for k, one in self._latest.items() if not one.finished or one.started > oldest}
