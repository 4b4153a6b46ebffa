"""A stack of this checkout under a project name of its own: up for the tests, and gone with its volumes after."""

import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice, takewhile
from pathlib import Path
from typing import Any

import pytest

from tidemark.core.settings import Settings
from tidemark.pipelines.flights import flights
from tidemark.pipelines.producers.flights import events
from tidemark.pipelines.producers.producer import Produced, kinesis_client, produce

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 600


class Stack:
    """What the tests say to ``docker compose``; engine and override files by its own variables, as for anybody."""

    def __init__(self, project: str) -> None:
        # Unless told otherwise by COMPOSE_PROFILES (core: fewer processes, for a small or busy machine).
        self.environment = {"COMPOSE_PROFILES": "full", **os.environ, "COMPOSE_PROJECT_NAME": project}
        self.put = 0
        """How many flights of the file were put so far; of those of a demo, some in broken records only."""

    def compose(self, *arguments: str, check: bool = True) -> str:
        command = ["docker", "compose", *arguments]
        done = subprocess.run(command, cwd=ROOT, env=self.environment, capture_output=True, text=True, check=False)
        assert not check or done.returncode == 0, f"{command}: {done.stdout[-6000:]}\n{done.stderr[-6000:]}"
        return done.stdout

    def up(self, *arguments: str) -> float:
        """Bring everything up; returns the seconds until all of it was healthy."""
        began = time.monotonic()
        self.compose("up", "--detach", "--wait", *arguments)
        return time.monotonic() - began

    def tidemark(self, *arguments: str) -> str:
        return self.compose("run", "--rm", "--no-TTY", "cli", "tidemark", *arguments)

    def sql(self, query: str) -> list[dict[str, Any]]:
        return list(json.loads(self.tidemark("sql", "--json", query)))

    def flights(self) -> int:
        """How many flights silver holds."""
        return int(self.sql("SELECT count(*) AS n FROM flights.silver")[0]["n"])

    @contextmanager
    def producing(self, rate: float) -> Iterator[Produced]:
        """Put the flights after those put before into the stream, in the background, for the length of the block."""
        enough, produced = threading.Event(), Produced()
        port = self.environment.get("KINESIS_PORT", "4567")
        client = kinesis_client(Settings(kinesis_endpoint_url=f"http://127.0.0.1:{port}"))
        chosen = takewhile(lambda _: not enough.is_set(), islice(events(), self.put, None))
        with ThreadPoolExecutor(1) as pool:
            put = pool.submit(produce, client, flights, chosen, records_per_second=rate, produced=produced)
            try:
                yield produced
            finally:
                enough.set()
                put.result()
                self.put += produced.records

    def kill(self, service: str) -> None:
        """SIGKILL to all processes of a container. Nobody asked for its end, so it is started again."""
        self.compose("exec", "--no-TTY", service, "bash", "-c", "kill -9 -1", check=False)

    def containers(self) -> dict[str, dict[str, Any]]:
        lines = self.compose("ps", "--all", "--format", "json").splitlines()
        return {found["Service"]: found for found in map(json.loads, lines) if found["Service"] != "cli"}

    def restarts(self, service: str) -> int:
        container = self.containers()[service]["ID"]
        command = ["docker", "inspect", "--format", "{{.RestartCount}}", container]
        shown = subprocess.run(command, capture_output=True, text=True, check=True)
        return int(shown.stdout)

    def healthy(self) -> bool:
        found = self.containers()
        return all(c["Health"] == "healthy" for name, c in found.items() if name != "init")

    def until(self, condition: Callable[[], object], what: str) -> float:
        """Wait for a condition; returns the seconds that it took."""
        began = time.monotonic()
        while not condition():
            assert time.monotonic() - began < PATIENCE_SECONDS, f"{what}: {self.compose('ps', '--all')}"
            time.sleep(1)
        return time.monotonic() - began


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    # The emulator takes any; boto3 wants some.
    os.environ.setdefault("AWS_ACCESS_KEY_ID", "emulator")
    os.environ.setdefault("AWS_SECRET_ACCESS_KEY", "emulator")
    stack = Stack("tidemark-test")
    stack.compose("--profile", "*", "down", "--volumes", "--remove-orphans")
    print(f"built and healthy after {stack.up('--build'):.0f} s")
    yield stack
    stack.compose("--profile", "*", "down", "--volumes", "--remove-orphans")
