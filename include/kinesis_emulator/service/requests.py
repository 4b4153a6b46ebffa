"""Requests are held against the model of the service before they do anything."""

import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from kinesis_emulator.errors import violated
from kinesis_emulator.service.constraints import Check, check_of

_MODEL: dict[str, Any] = json.loads((files("kinesis_emulator.service") / "model.json").read_bytes())
OPERATIONS: frozenset[str] = frozenset(_MODEL["operations"])
_CHECKS: dict[str, Check] = {name: check_of(shape, _MODEL["shapes"]) for name, shape in _MODEL["operations"].items()}


def values_of(shape: str) -> list[str]:
    """The values of a shape that is an enum."""
    values: list[str] = _MODEL["shapes"][shape]["enum"]
    return values


def check_request(operation: str, request: Mapping[str, object]) -> None:
    """Pass a request (JSON: blobs in base64, times in epoch seconds) whose members are as the model has them.

    Members that the model does not know are ignored, and null is as good as absent, as in the service.

    Raises:
        KinesisError: SerializationException for a value of a wrong type; ValidationException with all violations, at
            most ten, for lengths, ranges, patterns, enums and missing members.
    """
    if violations := _CHECKS[operation](request):
        raise violated(violations)
