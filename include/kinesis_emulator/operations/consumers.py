"""The operations on the registered consumers of streams, which read with SubscribeToShard."""

from typing import Any

from kinesis_emulator.errors import over_limit
from kinesis_emulator.operations.resources import named_consumer
from kinesis_emulator.operations.shards import check_creation
from kinesis_emulator.operations.streams import MAX_PAGE
from kinesis_emulator.operations.tags import check_characters
from kinesis_emulator.service.tokens import decoded_page, encoded
from kinesis_emulator.state import Request, State
from kinesis_emulator.state.changes import ConsumerDeregistered, ConsumerRegistered
from kinesis_emulator.state.stream import Consumer

Answer = dict[str, Any]
MAX_CONSUMERS = 20
MAX_CREATING = 5


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
        stream, name = self._state.changeable(request, "RegisterStreamConsumer"), request["ConsumerName"]
        tags = request.get("Tags") or {}
        check_characters(tags)
        change = ConsumerRegistered(stream=stream.name, consumer=name, ms=self._state.ms(), tags=tags)
        if name not in stream.consumers and len(stream.consumers) >= MAX_CONSUMERS:
            raise over_limit(f"A stream has at most {MAX_CONSUMERS} consumers.")
        creating = sum(consumer.status(change.ms) == "CREATING" for consumer in stream.consumers.values())
        if name not in stream.consumers and creating >= MAX_CREATING:
            raise over_limit(f"At most {MAX_CREATING} consumers are created at a time.")
        self._state.apply(change)
        return {"Consumer": self._described(stream.consumers[name])}

    def deregister_consumer(self, request: Request) -> Answer:
        """DeregisterStreamConsumer: its subscriptions end."""
        stream, consumer = named_consumer(self._state, request, "DeregisterStreamConsumer")
        self._state.apply(ConsumerDeregistered(stream=stream.name, consumer=consumer.name))
        return {}

    def describe_consumer(self, request: Request) -> Answer:
        """DescribeStreamConsumer."""
        stream, consumer = named_consumer(self._state, request, "DescribeStreamConsumer")
        return {"ConsumerDescription": {**self._described(consumer), "StreamARN": stream.arn}}

    def list_consumers(self, request: Request) -> Answer:
        """ListStreamConsumers, by name."""
        stream, after = self._state.stream(request, "ListStreamConsumers"), ""
        check_creation(stream, request)
        if token := request.get("NextToken"):
            (after,) = decoded_page(token, str)
        limit = min(int(request.get("MaxResults") or MAX_PAGE), MAX_PAGE)
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
