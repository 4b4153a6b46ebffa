"""The operations on the policies of streams and consumers, which are kept and not enforced: there is one account."""

from typing import Any

import orjson

from kinesis_emulator.errors import invalid, not_found
from kinesis_emulator.operations.resources import named_resource
from kinesis_emulator.state import Request, State
from kinesis_emulator.state.changes import PolicySet

Answer = dict[str, Any]


class PolicyOperations:
    """One policy for a stream or a consumer."""

    def __init__(self, state: State) -> None:
        self._state = state
        self.operations = {
            "PutResourcePolicy": self.put_policy,
            "GetResourcePolicy": self.get_policy,
            "DeleteResourcePolicy": self.delete_policy,
        }

    def put_policy(self, request: Request) -> Answer:
        """PutResourcePolicy."""
        try:
            is_policy = isinstance(orjson.loads(request["Policy"]), dict)
        except orjson.JSONDecodeError:
            is_policy = False
        if not is_policy:
            raise invalid("Policy is not a JSON document of a resource-based policy.")
        self._set(request, "PutResourcePolicy", request["Policy"])
        return {}

    def get_policy(self, request: Request) -> Answer:
        """GetResourcePolicy; an empty one where there is none."""
        stream, consumer = named_resource(self._state, request, "GetResourcePolicy")
        return {"Policy": (consumer or stream).policy or "{}"}

    def delete_policy(self, request: Request) -> Answer:
        """DeleteResourcePolicy."""
        stream, consumer = named_resource(self._state, request, "DeleteResourcePolicy")
        if (consumer or stream).policy is None:
            raise not_found(f"Resource policy of {request['ResourceARN']}")
        self._set(request, "DeleteResourcePolicy", None)
        return {}

    def _set(self, request: Request, action: str, policy: str | None) -> None:
        stream, consumer = named_resource(self._state, request, action, active=True)
        name = consumer.name if consumer else None
        self._state.apply(PolicySet(stream=stream.name, consumer=name, policy=policy))
