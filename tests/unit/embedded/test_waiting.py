"""A wait follows what moves, and never waits for something that has ended."""

import itertools
import os
import time

import pytest

from tidemark.core import waiting
from tidemark.core.errors import JobError, StalledError, UnavailableError
from tidemark.core.waiting import MOST_BUSY, busyness, wait_for


class Lives:
    def check(self) -> None:
        """It lives."""


class Dies:
    def __init__(self, after: int) -> None:
        self._left = after

    def check(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise JobError("the scheduler ended: out of memory")


def test_a_wait_gives_the_value_of_its_condition() -> None:
    answers = iter([None, "", "done"])
    assert wait_for(lambda: next(answers), "it", depends_on=[Lives()], every_seconds=0) == "done"


def test_a_wait_ends_with_the_cause_when_what_it_depends_on_ends() -> None:
    with pytest.raises(JobError, match="out of memory"):
        wait_for(lambda: None, "it", depends_on=[Lives(), Dies(3)], every_seconds=0)


def test_as_long_as_something_moves_a_wait_goes_on() -> None:
    rows = itertools.count()
    looks = iter([None] * 60)
    done = wait_for(
        lambda: next(looks, "done"), "it", depends_on=[], moves=lambda: next(rows), quiet_seconds=0.02,
        every_seconds=0.005,
    )  # fmt: skip
    assert done == "done"


def test_when_nothing_moves_it_ends_and_says_what_stood() -> None:
    with pytest.raises(StalledError, match=r"for: the reprocess ends\. Nothing has moved for 0 s \(rows 7\)"):
        wait_for(
            lambda: None, "the reprocess ends", depends_on=[], moves=lambda: {"rows": 7}, quiet_seconds=0.02,
            every_seconds=0.005,
        )  # fmt: skip


def test_an_answer_that_cannot_be_had_is_no_answer_yet() -> None:
    asked = itertools.count()

    def condition() -> bool:
        if next(asked) < 3:
            raise UnavailableError("Airflow answers 500")
        return True

    assert wait_for(condition, "it", depends_on=[], every_seconds=0)
    with pytest.raises(StalledError, match="Airflow answers 500"):
        wait_for(
            lambda: (_ for _ in ()).throw(UnavailableError("Airflow answers 500")), "it", depends_on=[],
            quiet_seconds=0.02, every_seconds=0.005,
        )  # fmt: skip


def test_on_a_busy_machine_more_time_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    for load, times in ((0.1, 1), (2, 1), (10, 5), (400, MOST_BUSY)):
        monkeypatch.setattr(os, "getloadavg", lambda load=load: (load, 0, 0))
        assert busyness() == times
    monkeypatch.setattr(waiting, "QUIET_SECONDS", 0.02)
    began = time.monotonic()
    with pytest.raises(StalledError):
        wait_for(lambda: None, "it", depends_on=[], every_seconds=0.005)
    assert time.monotonic() - began >= 0.02 * MOST_BUSY
    with pytest.raises(StalledError, match="waited 0 s"):
        wait_for(lambda: None, "what somebody gave a limit", depends_on=[], quiet_seconds=0.02, every_seconds=0.005)
