"""Registered consumers of streams: they are listed and described; SubscribeToShard itself is not served."""

from collections.abc import Callable
from typing import Any

from kinesis_emulator.errors import KinesisError, invalid, not_found

MAX_CONSUMERS = 20


class Consumers:
    """The consumers of all streams, by stream ARN and name. They do not outlive the process."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._of: dict[str, dict[str, dict[str, Any]]] = {}

    def of(self, stream_arn: str) -> dict[str, dict[str, Any]]:
        """The consumers of a stream by name."""
        return self._of.setdefault(stream_arn, {})

    def forget(self, stream_arn: str) -> None:
        """Drop a deleted stream's consumers."""
        self._of.pop(stream_arn, None)

    def register(self, stream_arn: str, name: str) -> dict[str, Any]:
        """Add a consumer.

        Raises:
            KinesisError: ResourceInUseException for a name that is taken, LimitExceededException beyond 20.
        """
        consumers = self.of(stream_arn)
        if name in consumers:
            raise KinesisError("ResourceInUseException", f"Consumer {name} under stream {stream_arn} already exists")
        if len(consumers) >= MAX_CONSUMERS:
            raise KinesisError("LimitExceededException", f"a stream has at most {MAX_CONSUMERS} consumers")
        created = int(self._clock())
        arn = f"{stream_arn}/consumer/{name}:{created}"
        consumers[name] = {
            "ConsumerName": name,
            "ConsumerARN": arn,
            "ConsumerStatus": "ACTIVE",
            "ConsumerCreationTimestamp": created,
        }
        return consumers[name]

    def find(self, request: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """A consumer and its stream's ARN, by ConsumerARN or by StreamARN and ConsumerName.

        Raises:
            KinesisError: ResourceNotFoundException; InvalidArgumentException where neither is given.
        """
        arn, stream_arn, name = (request.get(key) for key in ("ConsumerARN", "StreamARN", "ConsumerName"))
        if not arn and not (stream_arn and name):
            raise invalid("Either ConsumerARN or both StreamARN and ConsumerName must be provided")
        for one_stream, consumers in self._of.items():
            for consumer in consumers.values():
                if consumer["ConsumerARN"] == arn or (one_stream, consumer["ConsumerName"]) == (stream_arn, name):
                    return one_stream, consumer
        raise not_found(f"Consumer {arn or name}")
