"""An answer that is pushed: the event stream of SubscribeToShard."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Protocol

from kinesis_emulator.errors import KinesisError, own_fault
from kinesis_emulator.operations.subscriptions import Subscription
from kinesis_emulator.service.timeouts import timeout
from kinesis_emulator.wire.encodings import Encoding
from kinesis_emulator.wire.eventstream import CONTENT_TYPE, event, exception

_LOG = logging.getLogger(__name__)
_END_SECONDS = 1


class Stream(Protocol):
    """The open answer of one request, in one version of HTTP."""

    async def begin(self, headers: Mapping[str, str]) -> None:
        """Send status 200 and the headers; raises ConnectionError where nobody listens any more."""
        ...

    async def write(self, data: bytes) -> None:
        """Send, as soon as the reader's flow control lets it; raises ConnectionError as ``begin``."""
        ...

    async def end(self) -> None:
        """Say that all is sent; raises ConnectionError as ``begin``."""
        ...

    def abort(self) -> None:
        """Break off, so that the reader sees that something is missing."""
        ...


@dataclass(frozen=True)
class Push:
    """A subscription's events until it ends, its time is up or its reader is gone; ``cut``: break off in an event."""

    subscription: Subscription
    encoding: Encoding
    seconds: float
    cut: bool
    headers: Mapping[str, str]
    finish: Callable[[Subscription, bool], None]

    async def run(self, stream: Stream) -> None:
        """Send all of it. However that ends, ``finish`` is told whether the reader ended it."""
        by_reader = True
        try:
            await stream.begin({**self.headers, "Content-Type": CONTENT_TYPE})
            try:
                # Around the writes, too: a reader that takes nothing must not outlive its subscription.
                async with timeout(self.seconds), aclosing(self._messages()) as messages:
                    await stream.write(event("initial-response", self.encoding, {}))
                    async for message in messages:
                        if self.cut:
                            await stream.write(message[: len(message) // 2])
                            break
                        await stream.write(message)
            except asyncio.TimeoutError:
                pass
            by_reader = False
            if not self.cut:
                async with timeout(_END_SECONDS):
                    await stream.end()
                return
        except (ConnectionError, asyncio.TimeoutError):
            pass
        finally:
            self.finish(self.subscription, by_reader)
        stream.abort()

    async def _messages(self) -> AsyncGenerator[bytes, None]:
        try:
            async with aclosing(self.subscription.events()) as events:
                async for payload in events:
                    yield event("SubscribeToShardEvent", self.encoding, payload)
        except KinesisError as error:
            yield exception(error, self.encoding)
        except Exception as error:
            _LOG.exception("the subscription of %s to %s failed", *self.subscription.key)
            yield exception(own_fault("InternalFailureException", error), self.encoding)
