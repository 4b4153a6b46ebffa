"""The Kinesis API: its operations by name, over one state."""

import time
from collections.abc import Callable
from typing import Any, NoReturn

from kinesis_emulator.errors import KinesisError
from kinesis_emulator.operations.account import AccountOperations
from kinesis_emulator.operations.consumers import ConsumerOperations
from kinesis_emulator.operations.policies import PolicyOperations
from kinesis_emulator.operations.records import RecordOperations
from kinesis_emulator.operations.settings import SettingOperations
from kinesis_emulator.operations.shards import ShardOperations
from kinesis_emulator.operations.streams import StreamOperations
from kinesis_emulator.operations.subscriptions import Subscriptions
from kinesis_emulator.operations.tags import TagOperations
from kinesis_emulator.service import OPERATIONS, check_request
from kinesis_emulator.state import Options, Request, State

__all__ = ["REFUSED", "Kinesis", "Options", "operations_text"]

Answer = dict[str, Any] | bytes
Operation = Callable[[Request], Answer]

_CHANNELS = "channels deliver to S3 and S3 Tables, which the emulator does not have; read the stream instead"
REFUSED = {
    "CreateChannel": _CHANNELS,
    "DeleteChannel": _CHANNELS,
    "DescribeChannel": _CHANNELS,
    "ListChannels": _CHANNELS,
    "UpdateChannel": _CHANNELS,
}
"""The operations of the service that are refused on purpose, with UnknownOperationException, and why."""


class Kinesis:
    """All operations. One of ``operations`` answers at once; ``subscriptions`` has the one that answers with a stream.

    Each request is held against the model of the service first (``kinesis_emulator.service``): an operation sees only
    requests whose members have the types, lengths, patterns and ranges that AWS documents.

    Not thread-safe: one event loop calls it.

    Raises:
        DataFolderError: the data folder cannot be used.
    """

    def __init__(self, options: Options, clock: Callable[[], float] = time.time) -> None:
        self.state = State(options, clock)
        self.subscriptions = Subscriptions(self.state)
        answered: dict[str, Operation] = {
            **StreamOperations(self.state).operations,
            **RecordOperations(self.state).operations,
            **ConsumerOperations(self.state).operations,
            **ShardOperations(self.state).operations,
            **SettingOperations(self.state).operations,
            **TagOperations(self.state).operations,
            **PolicyOperations(self.state).operations,
            **AccountOperations(self.state).operations,
        }
        self.operations: dict[str, Operation] = {
            **{name: _checked(name, operation) for name, operation in answered.items()},
            **{name: _refusal(name, why) for name, why in REFUSED.items()},
        }

    def close(self) -> None:
        """End all subscriptions, and let go of the data folder."""
        self.subscriptions.close()
        self.state.close()


def operations_text() -> str:
    """Which operations are answered, and which are refused."""
    answered, refused = sorted(OPERATIONS - REFUSED.keys()), "; ".join(f"{name} ({why})" for name, why in _reasons())
    return f"Answered: {', '.join(answered)}.\n\nRefused with UnknownOperationException: {refused}."


def _reasons() -> list[tuple[str, str]]:
    """The refused operations, those of one reason together."""
    reasons = dict.fromkeys(REFUSED.values())
    return [(", ".join(sorted(name for name in REFUSED if REFUSED[name] == why)), why) for why in reasons]


def _checked(name: str, operation: Operation) -> Operation:
    def answer(request: Request) -> Answer:
        check_request(name, request)
        return operation(request)

    return answer


def _refusal(name: str, why: str) -> Operation:
    def refuse(_: Request) -> NoReturn:
        raise KinesisError("UnknownOperationException", f"{name} is not emulated: {why}")

    return refuse
