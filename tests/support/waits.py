"""The wait of the tests: for a condition, as long as a busy machine takes."""

from collections.abc import Callable
from typing import TypeVar

from tidemark.core.waiting import wait_for

T = TypeVar("T")


def until(condition: Callable[[], T | None], what: str, moves: Callable[[], object] = lambda: None) -> T:
    """What the condition gives once it holds; StalledError where nothing has moved for minutes (see ``wait_for``)."""
    return wait_for(condition, what, depends_on=[], moves=moves, every_seconds=0.02)
