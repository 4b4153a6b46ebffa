"""Fixtures for pytest, which finds this module by its entry point: a running emulator, and how boto3 reaches it:

    def test_a_record_comes_back(kinesis_emulator_client_arguments):
        kinesis = boto3.client("kinesis", **kinesis_emulator_client_arguments)

Nothing else of the package imports it, so that the package does not need pytest.
"""

from collections.abc import Iterator
from typing import Any

import pytest

from kinesis_emulator.runner import running_emulator

_OPTIONS = "kinesis_emulator_options"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let pytest's configuration give the emulator's options: ``kinesis_emulator_options = "--limits"``."""
    parser.addini(
        _OPTIONS, "Options of the emulator of the fixture kinesis_emulator (kinesis-emulator --help).", "args"
    )


@pytest.fixture(scope="session")
def kinesis_emulator_endpoint(pytestconfig: pytest.Config) -> Iterator[str]:
    """The endpoint URL of an emulator that runs in a process of its own, on a free port, until the session ends.

    It is one for all tests of a process, so a test takes names of its own for its streams.

    Raises:
        RuntimeError: it did not start; the message is the emulator's own.
    """
    with running_emulator(arguments=tuple(pytestconfig.getini(_OPTIONS))) as endpoint:
        yield endpoint


@pytest.fixture(scope="session")
def kinesis_emulator_client_arguments(kinesis_emulator_endpoint: str) -> dict[str, Any]:
    """Keyword arguments with which ``boto3.client("kinesis", …)`` reaches it, whatever AWS configuration there is.

    Options for TLS or for other keys need ``verify``, or these keys, beside them.
    """
    return {
        "endpoint_url": kinesis_emulator_endpoint,
        "region_name": "us-east-1",
        "aws_access_key_id": "test",
        "aws_secret_access_key": "test",
    }
