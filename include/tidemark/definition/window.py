"""Windows over event time, and the panes that they are made of.

A tumbling window is one pane. A sliding window of length L that starts every S is made of L/S panes of length S
(Li et al., "No pane, no gain", SIGMOD Record 2005); tables keep panes, windows are made of them when read:

    panes    |--S--|--S--|--S--|--S--|
    windows  [-------- L = 3 S ------)
                   [-------- L ------------)

A session is as long as events follow one another. Tables keep the sessions that each part of the log, and each event
date, shows by itself; those that touch are one when read:

    parts     [x--x)gap)         [x-x-x)gap)
                    [x---x)gap)                   [x)gap)
    sessions  [--------------------------gap)     [--gap)
"""

import re
from datetime import timedelta
from typing import Annotated

from pydantic import BeforeValidator, ConfigDict, model_validator
from pydantic.dataclasses import dataclass

_DURATION = re.compile(r"^\s*(\d+)\s*(second|minute|hour|day)s?\s*$")


def parse_duration(value: object) -> timedelta:
    """Read a string such as ``"10 minutes"`` (seconds, minutes, hours, days); a timedelta passes through.

    Raises:
        ValueError: the string is not of that form, or the duration is not positive, or not of whole seconds.

    Examples:
        >>> from tidemark.definition.window import parse_duration
        >>> parse_duration("90 minutes")
        datetime.timedelta(seconds=5400)
        >>> parse_duration("a while")
        Traceback (most recent call last):
        ...
        ValueError: 'a while' is not a duration; write a number and a unit, such as '10 minutes'
    """
    if isinstance(value, str):
        match = _DURATION.match(value)
        if match is None:
            raise ValueError(f"{value!r} is not a duration; write a number and a unit, such as '10 minutes'")
        value = timedelta(**{f"{match[2]}s": int(match[1])})
    if not isinstance(value, timedelta):
        raise ValueError(f"{value!r} is not a duration; write a number and a unit, such as '10 minutes'")
    if value <= timedelta(0):
        raise ValueError(f"a duration must be positive, not {value}")
    if value % timedelta(seconds=1):
        raise ValueError(f"a duration must be of whole seconds, not {value}; round it up")
    return value


Duration = Annotated[timedelta, BeforeValidator(parse_duration)]
"""A timedelta above 0 of whole seconds, or a string that ``parse_duration`` reads, such as ``"10 minutes"``."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Window:
    """Half-open windows ``[start, start + length)``: tumbling, or with ``every`` sliding.

    Windows whose panes are whole days start at midnight in the pipeline's time zone, where a day has 23 or 25 hours
    when daylight saving time begins or ends; several days are counted from 1970-01-01. All others start at every
    multiple of ``every`` since the epoch, in UTC: also hours in a zone that is half an hour off.

    Raises:
        ValueError: a duration is malformed, or ``every`` does not divide ``length`` evenly. The message proposes a
            slide that does.

    Examples:
        Ten minutes, a new window every five: each event is in two windows.

        >>> from tidemark.definition import Window
        >>> window = Window("10 minutes", every="5 minutes")
        >>> window.panes, window.pane
        (2, datetime.timedelta(seconds=300))

        A tumbling window of a day, which starts at midnight in the pipeline's time zone:

        >>> Window("1 day").days
        1

        A slide must divide the length:

        >>> try:
        ...     Window("10 minutes", every="4 minutes")
        ... except ValueError as error:
        ...     print(error)
        1 validation error for Window
          Value error, a window of 0:10:00 cannot start every 0:04:00: the slide must divide the length evenly
          (try every=0:05:00) ...
    """

    length: Duration
    """How long a window is."""
    every: Duration | None = None
    """How far the start of each window is from that of the one before (the slide); None: the length, a tumbling one."""

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

    @property
    def days(self) -> int:
        """Length of a pane in days, 0 if it is not of whole days."""
        return 0 if self.pane % timedelta(days=1) else self.pane.days


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class SessionWindow:
    """Sessions of a key: events of which each is at most ``gap`` after the one before, as Spark's ``session_window``.

    ``window_start`` is the first event's time, ``window_end`` the last one's plus the gap. Exact whatever the order and
    the dates in which events come: a late one that closes a gap makes one session of two.

    Raises:
        ValueError: the gap is not a duration.

    Examples:
        >>> from tidemark.definition import SessionWindow
        >>> SessionWindow(gap="30 minutes").gap
        datetime.timedelta(seconds=1800)
    """

    gap: Duration
    """The longest time between two events of one session."""
