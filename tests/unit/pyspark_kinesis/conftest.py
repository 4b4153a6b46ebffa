"""One emulator for the tests of the source that need no Spark session."""

import os
from collections.abc import Iterator

import pytest

from kinesis_emulator import running_emulator
from pyspark_kinesis.api.client import KinesisClient

os.environ.setdefault("AWS_ACCESS_KEY_ID", "test")
os.environ.setdefault("AWS_SECRET_ACCESS_KEY", "test")


@pytest.fixture(scope="session")
def kinesis_url() -> Iterator[str]:
    with running_emulator(arguments=("--create-milliseconds", "0")) as url:
        yield url


@pytest.fixture(scope="module")
def client(kinesis_url: str) -> KinesisClient:
    return KinesisClient("us-east-1", kinesis_url)
