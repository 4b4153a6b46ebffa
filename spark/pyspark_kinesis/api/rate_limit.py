"""Staying inside the calls a second that the API allows for each shard."""

import time
from collections import deque
from collections.abc import Callable, Iterable


class Pace:
    """At most ``per_second`` calls in any second, over the calls noted here and those of ``history`` (epoch seconds).

    Planner and tasks read the same shard from different processes, so each is told of the other's last calls.
    """

    def __init__(
        self, per_second: float, history: Iterable[float] = (), clock: Callable[[], float] = time.time
    ) -> None:
        self._per_second = per_second
        self._clock = clock
        # Under one call a second, the window grows instead of the number.
        self._number = max(1, int(per_second))
        self._window_seconds = self._number / per_second if per_second else 0.0
        self._calls = deque(sorted(history), maxlen=self._number)

    def wait_seconds(self) -> float:
        """How long until the next call is allowed; 0 if it is now."""
        if not self._per_second or len(self._calls) < self._number:
            return 0.0
        # A clock that was set back must not stop the stream.
        return min(max(0.0, self._calls[0] + self._window_seconds - self._clock()), self._window_seconds)

    def note(self) -> None:
        """A call is made now."""
        self._calls.append(self._clock())

    def learn(self, calls: Iterable[float]) -> None:
        """Calls that another process made."""
        self._calls = deque(sorted({*self._calls, *calls}), maxlen=self._number)

    @property
    def calls(self) -> list[float]:
        """The last calls, oldest first."""
        return list(self._calls)
