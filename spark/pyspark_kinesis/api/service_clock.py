"""What time it is at the service, whose clock may differ from this machine's by some minutes."""

import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime

# A Date header has whole seconds (RFC 9110, 5.6.7), so the service's clock is somewhere within the one that it names.
_TICK_SECONDS = 1.0


class ServiceClock:
    """Learns from the Date of each answer within which bounds the service's clock is ahead of this machine's.

    Answers that agree narrow the bounds; one that does not replaces them, as a clock was set then. Where the bounds
    allow it, the two are taken to be the same. Safe to share between threads. Times are epoch seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        # How many seconds the service's clock is ahead, at least and at most; None before a first answer.
        self._ahead: tuple[float, float] | None = None

    def learn(self, date: str | None, sent_at: float, received_at: float) -> None:
        """Note an answer's Date header, and this machine's time before the request and after the answer."""
        try:
            told = parsedate_to_datetime(date).timestamp() if date else None
        except (TypeError, ValueError):
            return
        if told is None or received_at < sent_at:
            return
        low, high = told - received_at, told + _TICK_SECONDS - sent_at
        if self._ahead is not None:
            both = max(low, self._ahead[0]), min(high, self._ahead[1])
            if both[0] < both[1]:
                low, high = both
        self._ahead = low, high

    def now(self) -> float:
        """This machine's time, or the earliest that the service's may be where the two differ for sure."""
        low, high = self._ahead or (0.0, 0.0)
        return self._clock() + (0.0 if low <= 0.0 <= high else low)

    def now_at_most(self) -> float:
        """As ``now``, but the latest that the service's may be where the two differ for sure.

        Not before this machine's where they differ by less than a tick: servers that are busy renew their Date late.
        """
        low, high = self._ahead or (0.0, 0.0)
        return self._clock() + (0.0 if low <= 0.0 and high >= -_TICK_SECONDS else high)

    def seconds_until(self, moment: float) -> float:
        """How long until the service's clock has passed a time for sure; 0 if it has."""
        low, _ = self._ahead or (0.0, 0.0)
        return max(0.0, moment - self._clock() - low)
