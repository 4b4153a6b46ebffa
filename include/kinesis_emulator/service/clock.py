"""The emulator's clock: the machine's, ahead or behind by a number of seconds that can be changed while it runs."""

import time
from email.utils import formatdate

MAX_OFFSET_SECONDS = 1_000_000_000


class Clock:
    """Epoch seconds. With an offset, clients have a clock that differs from the service's."""

    def __init__(self, offset_seconds: float = 0.0) -> None:
        self.offset_seconds = offset_seconds

    def __call__(self) -> float:
        return time.time() + self.offset_seconds

    def http_date(self) -> str:
        """The time as in a Date header, by which clients tell that their clock is off."""
        return formatdate(self(), usegmt=True)
