"""What the stack's demo and healthchecks rest on: the stream's contents, a login, locks that are held."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import http_calls
import orjson
import pytest
from scripted_http import scripted_server

from kinesis_emulator import running_emulator
from tidemark.airflow.client import AirflowClient
from tidemark.core.errors import JobError, PreconditionError
from tidemark.core.locks import FileLock
from tidemark.core.settings import Settings
from tidemark.embedded.demo.disturbances import Disturbances, Expected
from tidemark.embedded.demo.stack import run_in_stack
from tidemark.pipelines.flights import flights
from tidemark.pipelines.producers.producer import ensure_stream, kinesis_client, produce, stream_data

ROOT = Path(__file__).resolve().parents[3]


def test_a_streams_data_is_read_whole_from_all_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "any")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "any")
    events = [{"carrier": "AA", "flight": n % 700, "origin": "JFK", "scheduled_departure": "t"} for n in range(1_200)]
    with running_emulator() as endpoint:
        client = kinesis_client(Settings(kinesis_endpoint_url=endpoint))
        ensure_stream(client, flights)
        assert list(stream_data(client, "flights")) == []
        produce(client, flights, [*events, b""])
        assert Counter(stream_data(client, "flights")) == Counter([*map(orjson.dumps, events), b""])


def test_records_whose_acknowledgement_was_lost_are_expected_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "any")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "any")
    lost = [
        {"operation": "PutRecords", "kind": "close", "calls": 1},
        {"operation": "GetRecords", "kind": "close", "calls": 1},
    ]
    with running_emulator() as endpoint:
        client = kinesis_client(Settings(kinesis_endpoint_url=endpoint))
        ensure_stream(client, flights)
        assert http_calls.post(f"{endpoint}/_control/faults", json=lost).is_success
        planned, disturbances = Expected(), Disturbances()
        produced = produce(client, flights, disturbances.events(0, 1_000, planned))
        expected = disturbances.expected_of(stream_data(client, "flights"), 1_000)
    assert (produced.records, produced.repeated) == (planned.records, 1)
    assert expected.records == planned.records + 500
    assert expected.arrivals == planned.arrivals
    assert expected.duplicates + expected.quarantined == planned.duplicates + planned.quarantined + 500


def test_a_client_with_a_login_gets_its_token_by_it_and_says_when_it_is_refused() -> None:
    seen: list[str] = []
    with scripted_server((201, b'{"access_token": "abc"}'), (401, b"{}"), seen=seen) as url:
        assert AirflowClient(url, ("admin", "right")).headers() == {"Authorization": "Bearer abc"}
        with pytest.raises(JobError, match="check the password"):
            AirflowClient(url, ("admin", "wrong")).headers()
    assert seen == ["POST /auth/token", "POST /auth/token"]


def test_without_docker_the_stacks_demo_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PreconditionError, match="install Docker Engine"):
        run_in_stack([], ROOT)


def healthy(home: Path) -> tuple[int, str]:
    command = [sys.executable, ROOT / "docker" / "health.py", "stream", "flights"]
    environment = {**os.environ, "TIDEMARK_HOME": str(home)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


def test_streams_are_healthy_while_a_driver_holds_both_locks_and_both_queries_have_begun(tmp_path: Path) -> None:
    state = tmp_path / "state" / "flights"
    assert healthy(tmp_path)[0] == 1
    with FileLock(state / "ingest.lock", "ingest") as ingest, FileLock(state / "refine.lock", "refine") as refine:
        assert healthy(tmp_path) == (1, "the ingest stream is starting\n")
        ingest.note(heartbeat="now")
        refine.note(heartbeat="now")
        assert healthy(tmp_path) == (0, "")
        refine.close()
        assert healthy(tmp_path) == (1, "nobody runs the refine stream\n")
