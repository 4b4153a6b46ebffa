"""``tidemark up``: a platform that continues where it stopped, and leaves nothing behind when it is killed."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from airflow_world import free_port

from tidemark.core.processes import members
from tidemark.core.settings import get_settings
from tidemark.core.waiting import wait_for
from tidemark.embedded.record import Record

COMMAND = str(Path(sys.executable).with_name("tidemark"))
AIRFLOW = str(Path(sys.executable).with_name("airflow"))


class World:
    """A home for a platform, and the commands that are typed there."""

    def __init__(self, home: Path) -> None:
        self.record = Record(home)
        self.log = home.parent / "up.log"
        self._home = home
        self._environment = {
            **os.environ, "TIDEMARK_HOME": str(home), "TIDEMARK_JARS_DIR": str(get_settings().jars_dir),
            "COLUMNS": "200",
        }  # fmt: skip
        self._ports = ["--kinesis-port", str(free_port()), "--airflow-port", str(free_port())]
        self.main: subprocess.Popen[bytes] | None = None

    def check(self) -> None:
        assert self.main is not None
        assert self.main.poll() is None, self.log.read_text()[-3000:]

    def up(self) -> None:
        with self.log.open("ab") as output:
            command = [COMMAND, "up", "clickstream", *self._ports]
            self.main = subprocess.Popen(command, stdout=output, stderr=output, env=self._environment)
        wait_for(self.ready, "all parts are ready", depends_on=[self], moves=lambda: self.log.stat().st_size)

    def ready(self) -> bool:
        parts = self.record.parts()
        return bool(parts) and all(part.state in ("ready", "done") for part in parts)

    def run(self, *command: str, shell: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        environment = {**self._environment, **(shell or {})}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    def shell(self) -> dict[str, str]:
        """The variables that `tidemark env` has another shell set."""
        script = f'eval "$({COMMAND} env)"; {sys.executable} -c "import os, json; print(json.dumps(dict(os.environ)))"'
        return dict(json.loads(self.run("bash", "-c", script).stdout))

    def rows(self, shell: dict[str, str]) -> int:
        asked = self.run(COMMAND, "sql", "--json", "SELECT count(*) AS n FROM clickstream.bronze", shell=shell)
        return int(json.loads(asked.stdout)[0]["n"]) if asked.returncode == 0 else 0


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path / "home")
    yield made
    if made.main is not None and made.main.poll() is None:
        made.main.send_signal(signal.SIGINT)
        made.main.wait(timeout=60)


def test_it_continues_after_a_kill_and_leaves_nothing_behind(world: World) -> None:
    world.up()
    shell = world.shell()
    assert not any("JWT" in name for name in shell), "no secret is printed"
    assert "300 records" in world.run(COMMAND, "produce", "clickstream", "--limit", "300", shell=shell).stdout
    wait_for(lambda: world.rows(shell) == 300, "the records are in bronze", depends_on=[world])
    second = world.run(COMMAND, "up")
    assert second.returncode == 1
    assert world.main is not None
    assert f"runs already: process {world.main.pid}" in second.stderr
    assert "clickstream-streams" in world.run(COMMAND, "status", "clickstream").stdout
    listed = world.run(AIRFLOW, "dags", "list", "-o", "json", shell=shell)
    assert "clickstream.reprocess" in listed.stdout, listed.stderr[-2000:]

    family = members([part.session for part in world.record.parts() if part.session is not None])
    assert len(family) > 8
    world.main.kill()
    world.main.wait()
    assert psutil.wait_procs(family, timeout=20)[1] == []

    world.up()
    assert world.rows(world.shell()) == 300, "lake and stream are those of before"
    family = members([part.session for part in world.record.parts() if part.session is not None])
    down = world.run(COMMAND, "down")
    assert down.returncode == 0, down.stderr
    assert "waiting for" in down.stderr
    assert world.main.wait(timeout=10) == 130
    assert psutil.wait_procs(family, timeout=1)[1] == []
    assert world.run(COMMAND, "down").returncode == 1, "nothing runs any more"
