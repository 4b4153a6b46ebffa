"""Parts are started in order, started again when they end, given up when that goes on, and leave nothing behind."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tidemark.core.errors import BusyError, JobError
from tidemark.core.processes import members
from tidemark.core.waiting import wait_for
from tidemark.embedded.parts import MAX_ENDS, Backoff, Part
from tidemark.embedded.record import Record
from tidemark.embedded.supervisor import PartError, Supervisor

SLEEPS = "import time; time.sleep(600)"
LEAVES_A_CHILD = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {SLEEPS!r}]); {SLEEPS}"
MakeSupervisor = Callable[..., Supervisor]


def part(name: str, code: str, folder: Path, **options: object) -> Part:
    command = [sys.executable, "-c", code]
    return Part(name, lambda: command, lambda: os.environ, folder / f"{name}.log", **options)  # type: ignore[arg-type]


@pytest.fixture
def supervise() -> Iterator[MakeSupervisor]:
    made: list[Supervisor] = []

    def make(*parts: Part) -> Supervisor:
        made.append(Supervisor(parts))
        made[-1].start()
        return made[-1]

    yield make
    for supervisor in made:
        supervisor.kill_all()


def test_parts_start_in_the_order_of_their_needs(supervise: MakeSupervisor, tmp_path: Path) -> None:
    first = part("first", "", tmp_path, once=True)
    second = part("second", SLEEPS, tmp_path, needs=("first",))
    supervisor = supervise(second, first)
    wait_for(supervisor.is_ready, "both", depends_on=[supervisor])
    assert supervisor.parts["first"].state == "done"
    assert supervisor.parts["second"].state == "ready"


def test_a_part_that_is_killed_comes_back_and_what_it_started_is_ended(
    supervise: MakeSupervisor, tmp_path: Path
) -> None:
    earlier = "print('Traceback (most recent call last):', 'ValueError: long ago', sep=chr(10), flush=True)"
    supervisor = supervise(part("it", f"{earlier}\n{LEAVES_A_CHILD}", tmp_path))
    running = supervisor.parts["it"]
    wait_for(lambda: running.session and len(members([running.session])) == 2, "it and its child", depends_on=[])
    session = running.session
    assert session is not None
    left = members([session])
    os.kill(session, signal.SIGKILL)
    wait_for(lambda: running.restarts == 1 and running.state == "ready", "it is back", depends_on=[supervisor])
    assert psutil.wait_procs(left, timeout=5)[1] == []
    assert running.cause == "was ended by SIGKILL"
    assert "it was ended by SIGKILL; it is started again" in supervisor.events[0]


def test_a_part_that_ends_too_often_is_given_up_with_its_own_error(
    supervise: MakeSupervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidemark.embedded.parts.LONGEST_PAUSE", 0.05)
    supervisor = supervise(part("it", "raise ValueError('the port is gone')", tmp_path))
    with pytest.raises(PartError, match=rf"it ended {MAX_ENDS + 1} times, .*: ValueError: the port is gone \(log: "):
        wait_for(lambda: None, "nothing", depends_on=[supervisor])


def test_a_part_that_refuses_is_given_up_at_once(supervise: MakeSupervisor, tmp_path: Path) -> None:
    code = "import sys; print('error: another definition', file=sys.stderr); sys.exit(65)"
    supervisor = supervise(part("it", code, tmp_path))
    with pytest.raises(PartError, match="it ended with exit code 65: another definition"):
        wait_for(lambda: None, "nothing", depends_on=[supervisor])
    assert supervisor.parts["it"].restarts == 0


def test_a_part_that_hangs_is_killed_and_started_again_and_one_that_works_is_not(
    supervise: MakeSupervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidemark.embedded.parts.HUNG_SECONDS", 1.0)
    monkeypatch.setattr("tidemark.embedded.parts.WORKING_CPU_SECONDS", 0.1)
    monkeypatch.setattr("tidemark.embedded.supervisor.LIFE_SECONDS", 0.2)
    hangs = part("hangs", SLEEPS, tmp_path, lives=lambda: False)
    works = part("works", "while True: pass", tmp_path, lives=lambda: False)
    supervisor = supervise(hangs, works)
    wait_for(lambda: supervisor.parts["hangs"].restarts, "it is killed", depends_on=[supervisor])
    assert "showed no sign of life" in supervisor.parts["hangs"].cause
    assert supervisor.parts["works"].restarts == 0


def test_a_part_that_is_not_essential_ends_nothing_else(supervise: MakeSupervisor, tmp_path: Path) -> None:
    refuses = part("it", "import sys; sys.exit(65)", tmp_path, essential=False)
    supervisor = supervise(refuses, part("other", SLEEPS, tmp_path))
    wait_for(lambda: supervisor.parts["it"].state == "given up", "it is given up", depends_on=[supervisor])
    supervisor.check()
    assert supervisor.parts["other"].state == "ready"


def test_pauses_grow_and_end() -> None:
    backoff = Backoff()
    pauses = [backoff.pause(0.0) for _ in range(MAX_ENDS + 1)]
    assert pauses == [0.5, 1, 2, 4, 8, 16, None]
    assert backoff.pause(10_000.0) == 0.5, "old ends are forgotten"


PLATFORM = f"""
import os, sys, time
from pathlib import Path
from tidemark.embedded.parts import Part
from tidemark.embedded.record import Record
from tidemark.embedded.supervisor import Supervisor

home = Path(sys.argv[1])
record = Record(home)
record.take("the platform")
command = [sys.executable, "-c", {LEAVES_A_CHILD!r}]
supervisor = Supervisor([Part("it", lambda: command, lambda: os.environ, home / "it.log")])
supervisor.start()
while True:
    record.write(list(supervisor.parts.values()), {{}})
    time.sleep(0.1)
"""


def started_platform(home: Path) -> tuple[subprocess.Popen[bytes], int]:
    main = subprocess.Popen([sys.executable, "-c", PLATFORM, str(home)])

    def session() -> int | None:
        found = [part.session for part in Record(home).parts() if part.session is not None]
        return found[0] if found and len(members(found)) == 2 else None

    return main, wait_for(session, "the part and its child run", depends_on=[])


def test_after_a_kill_of_the_main_process_nothing_is_left(tmp_path: Path) -> None:
    main, session = started_platform(tmp_path)
    left = members([session])
    main.kill()
    main.wait()
    assert psutil.wait_procs(left, timeout=20)[1] == []


def test_the_next_one_ends_what_is_left_when_the_guardian_was_killed_too(tmp_path: Path) -> None:
    main, session = started_platform(tmp_path)
    with pytest.raises(BusyError, match=rf"runs already: process {main.pid}, since"):
        Record(tmp_path).take("the platform")
    for child in psutil.Process(main.pid).children():
        if "tidemark.embedded.guardian" in child.cmdline():
            main.send_signal(signal.SIGSTOP)  # or it would start another
            child.kill()
    main.kill()
    main.wait()
    left = members([session])
    assert len(left) == 2
    record = Record(tmp_path)
    record.take("the platform")
    ended = record.end_leftovers()
    assert len(ended) == 2
    assert f"process {session}" in " ".join(ended)
    assert psutil.wait_procs(left, timeout=5)[1] == []


def test_a_number_that_belongs_to_another_process_by_now_is_left_alone(tmp_path: Path) -> None:
    other = subprocess.Popen([sys.executable, "-c", SLEEPS], start_new_session=True)
    try:
        record = Record(tmp_path)
        row = {
            "name": "it", "state": "ready", "since": 0, "restarts": 0, "cause": "", "session": other.pid,
            "started": psutil.Process(other.pid).create_time() + 3600, "log": "",
        }  # fmt: skip
        (tmp_path / "platform.json").write_text(json.dumps({"parts": [row]}))
        assert record.end_leftovers() == []
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_a_child_that_ended_says_why(tmp_path: Path) -> None:
    from tidemark.core.processes import Child

    child = Child("it", [sys.executable, "-c", "raise KeyError('x')"], tmp_path / "it.log", os.environ)
    child.process.wait()
    with pytest.raises(JobError, match=r"it ended with exit code 1: KeyError: 'x' \(log: "):
        child.check()
