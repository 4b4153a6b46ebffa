"""The operations on the registered consumers of streams, which read with SubscribeToShard."""

import re
from typing import Any

from kinesis_emulator.errors import KinesisError, invalid, not_found
from kinesis_emulator.model import Consumer, Stream
from kinesis_emulator.state import Request, State
from kinesis_emulator.tokens import decoded, encoded

Answer = dict[str, Any]
MAX_CONSUMERS = 20
MAX_CREATING = 5


def find_consumer(state: State, request: Request) -> tuple[Stream, Consumer]:
    """A consumer and its stream, by ConsumerARN or by StreamARN and ConsumerName.

    Raises:
        KinesisError: ResourceNotFoundException; InvalidArgumentException where neither is given, or they contradict.
    """
    arn, stream_arn, name = (request.get(key) for key in ("ConsumerARN", "StreamARN", "ConsumerName"))
    if not arn and not (stream_arn and name):
        raise invalid("Either ConsumerARN or both StreamARN and ConsumerName must be provided")
    for stream in state.streams.values():
        for consumer in stream.consumers.values():
            if consumer.arn == arn if arn else (stream.arn, consumer.name) == (stream_arn, name):
                if stream_arn not in (None, stream.arn) or name not in (None, consumer.name):
                    raise invalid(f"ConsumerARN {arn} is not consumer {name} of stream {stream_arn}")
                return stream, consumer
    raise not_found(f"Consumer {arn or name}")


class ConsumerOperations:
    """Consumers are registered, CREATING as long as a stream is, described, listed and deregistered at once."""

    def __init__(self, state: State) -> None:
        self._state = state
        self.operations = {
            "RegisterStreamConsumer": self.register_consumer,
            "DeregisterStreamConsumer": self.deregister_consumer,
            "DescribeStreamConsumer": self.describe_consumer,
            "ListStreamConsumers": self.list_consumers,
        }

    def register_consumer(self, request: Request) -> Answer:
        """RegisterStreamConsumer."""
        stream, name = self._state.active(request), str(request.get("ConsumerName") or "")
        if not re.fullmatch(r"[a-zA-Z0-9_.-]{1,128}", name):
            raise KinesisError("ValidationException", f"ConsumerName {name!r} must match [a-zA-Z0-9_.-]{{1,128}}")
        if name in stream.consumers:
            raise KinesisError("ResourceInUseException", f"Consumer {name} under stream {stream.arn} already exists")
        if len(stream.consumers) >= MAX_CONSUMERS:
            raise KinesisError("LimitExceededException", f"a stream has at most {MAX_CONSUMERS} consumers")
        now = self._state.ms()
        if sum(consumer.status(now) == "CREATING" for consumer in stream.consumers.values()) >= MAX_CREATING:
            raise KinesisError("LimitExceededException", f"at most {MAX_CREATING} consumers are created at a time")
        self._state.apply({"op": "register", "stream": stream.name, "consumer": name, "ms": now})
        return {"Consumer": self._described(stream.consumers[name])}

    def deregister_consumer(self, request: Request) -> Answer:
        """DeregisterStreamConsumer: its subscriptions end."""
        stream, consumer = find_consumer(self._state, request)
        self._state.apply({"op": "deregister", "stream": stream.name, "consumer": consumer.name})
        return {}

    def describe_consumer(self, request: Request) -> Answer:
        """DescribeStreamConsumer."""
        stream, consumer = find_consumer(self._state, request)
        return {"ConsumerDescription": {**self._described(consumer), "StreamARN": stream.arn}}

    def list_consumers(self, request: Request) -> Answer:
        """ListStreamConsumers, by name."""
        stream, after = self._state.stream(request), ""
        if token := request.get("NextToken"):
            (after,) = decoded(token, "ExpiredNextTokenException", 1)
        limit = int(request.get("MaxResults") or 100)
        consumers = [consumer for name, consumer in sorted(stream.consumers.items()) if name > after]
        answer: Answer = {"Consumers": [self._described(consumer) for consumer in consumers[:limit]]}
        if len(consumers) > limit:
            answer["NextToken"] = encoded([consumers[limit - 1].name])
        return answer

    def _described(self, consumer: Consumer) -> Answer:
        return {
            "ConsumerName": consumer.name,
            "ConsumerARN": consumer.arn,
            "ConsumerStatus": consumer.status(self._state.ms()),
            "ConsumerCreationTimestamp": consumer.created_seconds,
        }
