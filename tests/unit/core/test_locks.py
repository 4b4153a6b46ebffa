"""Locks between processes: disjoint ranges go together, the dead hold nothing, and who holds is named."""

import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

from tidemark.core.errors import BusyError, TidemarkError
from tidemark.core.locks import FileLock, claim_dates, refuse_claimed
from tidemark.core.settings import Settings
from tidemark.core.stream_locks import running_streams, stop_file, stream_lock

JANUARY = (date(2013, 1, 1), date(2013, 2, 1))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(state_uri=str(tmp_path))


def test_overlapping_ranges_are_held_one_at_a_time_and_the_holder_is_named(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIDEMARK_RUN", "flights.reprocess, run daily")
    with claim_dates("flights", *JANUARY, settings):
        with pytest.raises(
            BusyError, match=r"\[2013-01-01, 2013-02-01\) is being done by flights.reprocess, run daily"
        ):
            claim_dates("flights", date(2013, 1, 31), date(2013, 3, 1), settings)
        with pytest.raises(BusyError):
            refuse_claimed("flights", *JANUARY, settings)
        with claim_dates("flights", date(2013, 2, 1), date(2013, 3, 1), settings):
            pass
        with claim_dates("clickstream", *JANUARY, settings):
            pass
    with claim_dates("flights", date.min, date.max, settings):
        pass
    refuse_claimed("flights", *JANUARY, settings)


def test_a_killed_holder_holds_nothing(settings: Settings, tmp_path: Path) -> None:
    program = (
        "import sys, signal; from datetime import date; from tidemark.core.locks import claim_dates; "
        "from tidemark.core.settings import Settings; "
        "held = claim_dates('flights', date(2013, 1, 1), date(2013, 2, 1), Settings(state_uri=sys.argv[1])); "
        "print('held', flush=True); signal.pause()"
    )
    holder = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(BusyError, match=f"process {holder.pid}"):
        claim_dates("flights", *JANUARY, settings)
    holder.kill()
    holder.wait()
    with claim_dates("flights", *JANUARY, settings):
        pass


def test_an_object_store_has_no_locks(settings: Settings) -> None:
    remote = Settings(state_uri="s3://bucket/state")
    with claim_dates("flights", *JANUARY, remote), claim_dates("flights", *JANUARY, remote):
        refuse_claimed("flights", *JANUARY, remote)


def test_a_lock_says_what_its_holder_is_at(tmp_path: Path) -> None:
    with FileLock(tmp_path / "lock", "it") as lock:
        lock.note(batch=7)
        assert '"batch": 7' in lock.path.read_text()


def test_who_runs_a_stream_is_read_from_its_lock(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEMARK_RUN", "flights.stream, run 7")
    path = stream_lock("flights", "refine", settings)
    assert path is not None
    assert running_streams("flights", settings) == {}
    with FileLock(path, "the refine stream of flights") as lock:
        lock.note(heartbeat="now")
        found = running_streams("flights", settings)
        assert found.keys() == {"refine"}
        assert found["refine"]["run"] == "flights.stream, run 7"
        assert found["refine"]["heartbeat"] == "now"
    assert running_streams("flights", settings) == {}


def test_a_planned_stop_needs_state_on_a_disk() -> None:
    with pytest.raises(TidemarkError, match="mark the task stream as failed"):
        stop_file("flights", Settings(state_uri="s3://bucket/state"))
