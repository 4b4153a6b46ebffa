"""The Kinesis API: its operations by name, over one state."""

import time
from collections.abc import Callable
from typing import Any

from kinesis_emulator.consumers import ConsumerOperations
from kinesis_emulator.records import RecordOperations
from kinesis_emulator.state import Options, Request, State
from kinesis_emulator.streams import StreamOperations
from kinesis_emulator.subscriptions import Subscriptions

__all__ = ["Kinesis", "Options"]

Answer = dict[str, Any] | bytes


class Kinesis:
    """All operations. One of ``operations`` answers at once; ``subscriptions`` has the one that answers with a stream.

    Not thread-safe: one event loop calls it.

    Raises:
        DataFolderError: the data folder cannot be used.
    """

    def __init__(self, options: Options, clock: Callable[[], float] = time.time) -> None:
        self.state = State(options, clock)
        self.subscriptions = Subscriptions(self.state)
        self.operations: dict[str, Callable[[Request], Answer]] = {
            **StreamOperations(self.state).operations,
            **RecordOperations(self.state).operations,
            **ConsumerOperations(self.state).operations,
        }

    def close(self) -> None:
        """End all subscriptions, and let go of the data folder."""
        self.subscriptions.close()
        self.state.close()
