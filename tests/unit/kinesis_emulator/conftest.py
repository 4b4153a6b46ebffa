"""An emulator in a process of its own, and one in this process."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from emulator_calls import HandClock, call, client_of, control, kinesis_of

from kinesis_emulator import running_emulator
from kinesis_emulator.api import Kinesis


@pytest.fixture(scope="session")
def shared_endpoint() -> Iterator[str]:
    with running_emulator(arguments=("--create-milliseconds", "0", "--heartbeat-seconds", "0.2")) as url:
        yield url


@pytest.fixture
def endpoint(shared_endpoint: str) -> Iterator[str]:
    """Without faults, and with the machine's clock, when a test begins and when it ends."""
    yield shared_endpoint
    control(shared_endpoint, "faults", [])
    control(shared_endpoint, "clock", {"offset_seconds": 0})


@pytest.fixture
def kinesis(endpoint: str) -> Any:
    """As boto3 sees it."""
    return client_of(endpoint)


@pytest.fixture
def stream(kinesis: Any, request: pytest.FixtureRequest) -> str:
    name = re.sub(r"[^a-zA-Z0-9_.-]", "-", request.node.name)[:100]
    kinesis.create_stream(StreamName=name, ShardCount=1)
    return name


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def here(clock: HandClock) -> Kinesis:
    """In this process, with the stream ``s`` of one shard."""
    one = kinesis_of(clock)
    call(one, "CreateStream", StreamName="s", ShardCount=1)
    return one
