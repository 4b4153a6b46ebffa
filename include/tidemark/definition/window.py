"""Windows over event time, and the panes that they are made of.

A tumbling window is one pane. A sliding window of length L that starts every S is made of L/S panes of length S
(Li et al., "No pane, no gain", SIGMOD Record 2005); tables keep panes, windows are made of them when read::

    panes    |--S--|--S--|--S--|--S--|
    windows  [-------- L = 3 S ------)
                   [-------- L ------------)
"""

import re
from datetime import timedelta
from typing import Annotated

from pydantic import BeforeValidator, ConfigDict, model_validator
from pydantic.dataclasses import dataclass

_DURATION = re.compile(r"^\s*(\d+)\s*(second|minute|hour|day)s?\s*$")


def parse_duration(value: object) -> timedelta:
    """Read ``"10 minutes"``-like text (seconds, minutes, hours, days); a timedelta passes through.

    Raises:
        ValueError: the text is not of that form, or the duration is not positive.
    """
    if isinstance(value, str):
        match = _DURATION.match(value)
        if match is None:
            raise ValueError(f"{value!r} is no duration; write a number and a unit, such as '10 minutes'")
        value = timedelta(**{f"{match[2]}s": int(match[1])})
    if not isinstance(value, timedelta):
        raise ValueError(f"{value!r} is no duration; write a number and a unit, such as '10 minutes'")
    if value <= timedelta(0):
        raise ValueError(f"a duration must be positive, not {value}")
    return value


Duration = Annotated[timedelta, BeforeValidator(parse_duration)]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Window:
    """Half-open windows ``[start, start + length)``, starting at every multiple of ``every`` since the epoch (UTC)."""

    length: Duration
    every: Duration | None = None

    @model_validator(mode="after")
    def _slide_divides_length(self) -> "Window":
        if self.length % self.pane:
            raise ValueError(
                f"a window of {self.length} cannot start every {self.pane}: the slide must divide the length evenly "
                f"(try every={self.length / max(1, round(self.length / self.pane))})"
            )
        return self

    @property
    def pane(self) -> timedelta:
        """Length of a pane: the slide of a sliding window, the whole of a tumbling one."""
        return self.length if self.every is None else self.every

    @property
    def panes(self) -> int:
        """How many panes make one window."""
        return self.length // self.pane
