"""Injected faults: which calls fail, and how."""

import random
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from kinesis_emulator.errors import KinesisError


class Fault(BaseModel):
    """A fault to inject: into the next ``calls`` calls of an operation, or into each with a probability."""

    model_config = ConfigDict(extra="forbid")

    operation: str
    kind: Literal["throttle", "error", "hang", "close", "expire"]
    calls: int | None = Field(default=None, ge=0)
    probability: float = Field(default=1.0, ge=0, le=1)
    seed: int = 0
    seconds: float = Field(default=30.0, ge=0)


_RULES = TypeAdapter(list[Fault])


@dataclass
class _Armed:
    fault: Fault
    left: int | None
    randomness: random.Random

    def strikes(self, operation: str) -> bool:
        if self.fault.operation not in (operation, "*") or self.left == 0:
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
            if fault.operation not in ("*", *self._operations):
                known = ", ".join(sorted(self._operations))
                raise KinesisError(
                    "ValidationException", f"operation {fault.operation!r} is neither '*' nor of: {known}"
                )
        self._armed = [_Armed(fault, fault.calls, random.Random(fault.seed)) for fault in faults]
        return len(faults)

    def strike(self, operation: str) -> Fault | None:
        """The fault that this call meets."""
        return next((armed.fault for armed in self._armed if armed.strikes(operation)), None)
