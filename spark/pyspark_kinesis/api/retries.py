"""Repeating what a repetition may cure: throttles, 5xx, broken connections.

A process that has had no answer yet waits as long as any other: a new Python worker, or a query that is started while
the service is busy, is not a reason to end a query. What is waited for is said, so that nobody waits for a typing error
in an address without knowing.
"""

import logging
from collections.abc import Callable
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_before_delay, wait_random_exponential

_Answer = TypeVar("_Answer")
# Longer waits than this are said.
_QUIET_SECONDS = 3.0


class TransientError(Exception):
    """A failure that a repetition may cure."""


def patiently(attempt: Callable[[], _Answer], seconds: float, what: str) -> _Answer:
    """What ``attempt`` returns, repeated with jitter while it raises TransientError.

    ``what``: for the log, who is asked for what.

    Raises:
        TransientError: the last one, when ``seconds`` are over.
    """
    said = False

    def say(state: RetryCallState) -> None:
        nonlocal said
        if not said and (state.seconds_since_start or 0.0) > _QUIET_SECONDS and state.outcome is not None:
            said = True
            logging.getLogger(__name__).warning(
                "%s keeps failing, and is repeated for %.0f s: %s", what, seconds, state.outcome.exception()
            )

    retrying = Retrying(
        retry=retry_if_exception_type(TransientError),
        stop=stop_before_delay(seconds),
        wait=wait_random_exponential(multiplier=0.1, max=5.0),
        before_sleep=say,
        reraise=True,
    )
    return retrying(attempt)
