"""Injected faults: which calls fail or are answered oddly, and how."""

import random
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from kinesis_emulator.errors import KinesisError
from kinesis_emulator.service.tokens import decoded

Request = dict[str, Any]
Answer = dict[str, Any] | bytes

# What can expire in a request of an operation, and how its answer says so.
_EXPIRING = {
    "GetRecords": ("ShardIterator", "ExpiredIteratorException"),
    "ListShards": ("NextToken", "ExpiredNextTokenException"),
    "ListStreamConsumers": ("NextToken", "ExpiredNextTokenException"),
    "ListStreams": ("NextToken", "ExpiredNextTokenException"),
}


# Answers that AWS gives at times, and the operation that gives them.
_ODD = {"omit": "ListShards", "empty": "GetRecords", "unending": "GetRecords"}


class Fault(BaseModel):
    """A fault to inject: into the next ``calls`` calls of an operation, or into each with a probability.

    One of kind ``expire`` meets the calls only that hand in an iterator or the token of a page. ``omit`` leaves
    ``shards`` out of a list; ``empty`` gives no records though there are some, ``seconds`` behind the tip, and the same
    iterator again; ``unending`` gives an iterator behind the last record of a closed shard.
    """

    model_config = ConfigDict(extra="forbid")

    operation: str
    kind: Literal["throttle", "error", "hang", "close", "expire", "omit", "empty", "unending"]
    calls: int | None = Field(default=None, ge=0)
    probability: float = Field(default=1.0, ge=0, le=1)
    seed: int = 0
    seconds: float = Field(default=30.0, ge=0)
    shards: list[str] = []


_RULES = TypeAdapter(list[Fault])


@dataclass
class _Armed:
    fault: Fault
    left: int | None
    randomness: random.Random

    def strikes(self, operation: str, request: Mapping[str, object]) -> bool:
        if self.fault.operation not in (operation, "*") or self.left == 0:
            return False
        if self.fault.kind == "expire" and not request.get(_EXPIRING.get(operation, ("", ""))[0]):
            return False
        if _ODD.get(self.fault.kind, operation) != operation:
            return False
        if self.randomness.random() >= self.fault.probability:
            return False
        if self.left is not None:
            self.left -= 1
        return True


class Faults:
    """The rules in force, in order: the first that strikes counts."""

    def __init__(self, operations: Collection[str]) -> None:
        self._operations = operations
        self._armed: list[_Armed] = []

    def set(self, body: bytes) -> int:
        """Replace the rules by those of a JSON list, all or none; returns how many.

        Raises:
            KinesisError: ValidationException, which says what is wrong with which rule.
        """
        try:
            faults = _RULES.validate_python(orjson.loads(body))
        except orjson.JSONDecodeError as error:
            raise KinesisError("ValidationException", f"the rules are not JSON: {error}") from error
        except ValidationError as error:
            wrong = "; ".join(f"{'.'.join(map(str, one['loc'])) or 'rules'}: {one['msg']}" for one in error.errors())
            raise KinesisError("ValidationException", f"expected a list of rules: {wrong}") from error
        for fault in faults:
            operations = _EXPIRING.keys() if fault.kind == "expire" else self._operations
            if fault.kind in _ODD:
                operations = {_ODD[fault.kind]}
            if fault.operation not in ("*", *operations):
                known = ", ".join(sorted(operations))
                raise KinesisError(
                    "ValidationException",
                    f"operation {fault.operation!r} of kind {fault.kind} is neither '*' nor of: {known}",
                )
        self._armed = [_Armed(fault, fault.calls, random.Random(fault.seed)) for fault in faults]
        return len(faults)

    def strike(self, operation: str, request: Mapping[str, object]) -> Fault | None:
        """The fault that this call meets."""
        return next((armed.fault for armed in self._armed if armed.strikes(operation, request)), None)


def refusal(kind: str, operation: str) -> KinesisError | None:
    """How the service refuses a call that meets a fault of this kind; None where it does not refuse it."""
    match kind:
        case "throttle":
            return KinesisError("ProvisionedThroughputExceededException", "Rate exceeded (injected)")
        case "error":
            return KinesisError("InternalFailure", "an injected failure", 500)
        case "expire":
            what, code = _EXPIRING[operation]
            return KinesisError(code, f"{what} expired (injected)")
        case _:
            return None


def odd(fault: Fault, request: Mapping[str, Any], answer: Answer, iterator_at: Callable[[Request], Answer]) -> Answer:
    """The answer to a call that meets a fault, where the service gives an odd one; the right one for other faults.

    ``iterator_at``: GetShardIterator.
    """
    if fault.kind not in _ODD:
        return answer
    told: dict[str, Any] = orjson.loads(answer) if isinstance(answer, bytes) else answer
    match fault.kind:
        case "omit":
            return {**told, "Shards": [one for one in told["Shards"] if one["ShardId"] not in fault.shards]}
        case "empty" if told["Records"]:
            behind = round(fault.seconds * 1000)
            return {"Records": [], "NextShardIterator": request["ShardIterator"], "MillisBehindLatest": behind}
        case "unending" if "NextShardIterator" not in told:
            following = request["ShardIterator"]
            if told["Records"]:
                malformed = KinesisError("InvalidArgumentException", f"Invalid ShardIterator {following}.")
                name, _, shard_id, _, _ = decoded(following, malformed, str, int, str, int, float)
                place = {"StreamName": name, "ShardId": shard_id, "ShardIteratorType": "AFTER_SEQUENCE_NUMBER"}
                last = {"StartingSequenceNumber": told["Records"][-1]["SequenceNumber"]}
                described = iterator_at({**place, **last})
                assert isinstance(described, dict)
                following = described["ShardIterator"]
            return {"Records": told["Records"], "NextShardIterator": following, "MillisBehindLatest": 0}
    return answer
