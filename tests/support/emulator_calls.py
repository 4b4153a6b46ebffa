"""Calls of the emulator: in this process with a clock that the test moves, or as boto3 makes them."""

import base64
from typing import Any

import boto3
import http_calls
import httpx
import orjson
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from kinesis_emulator.api import Kinesis, Options
from kinesis_emulator.errors import KinesisError

FIRST = "shardId-000000000000"


class HandClock:
    """Seconds since the epoch, moved by hand."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


def kinesis_of(clock: HandClock, **options: Any) -> Kinesis:
    return Kinesis(Options(create_milliseconds=0, **options), clock)


def call(kinesis: Kinesis, operation: str, **request: Any) -> dict[str, Any]:
    answer = kinesis.operations[operation](request)
    parsed: dict[str, Any] = orjson.loads(answer) if isinstance(answer, bytes) else answer
    return parsed


def error_in(kinesis: Kinesis, operation: str, **request: Any) -> KinesisError:
    with pytest.raises(KinesisError) as caught:
        call(kinesis, operation, **request)
    return caught.value


def code_of(kinesis: Kinesis, operation: str, **request: Any) -> str:
    return error_in(kinesis, operation, **request).code


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def put(kinesis: Kinesis, data: str | bytes, key: str = "k") -> str:
    data = data if isinstance(data, bytes) else data.encode()
    return str(call(kinesis, "PutRecord", StreamName="s", Data=encoded(data), PartitionKey=key)["SequenceNumber"])


def iterator(kinesis: Kinesis, shard: str = FIRST, **position: Any) -> str:
    request = {"StreamName": "s", "ShardId": shard, **(position or {"ShardIteratorType": "TRIM_HORIZON"})}
    return str(call(kinesis, "GetShardIterator", **request)["ShardIterator"])


def read(kinesis: Kinesis, token: str | None = None) -> list[str]:
    answer = call(kinesis, "GetRecords", ShardIterator=token or iterator(kinesis))
    return [base64.b64decode(record["Data"]).decode() for record in answer["Records"]]


def open_ranges(kinesis: Kinesis) -> list[tuple[int, int]]:
    """The hash ranges of the open shards, in order."""
    shards = call(kinesis, "ListShards", StreamName="s", ShardFilter={"Type": "AT_LATEST"})["Shards"]
    ranges = [shard["HashKeyRange"] for shard in shards]
    return sorted((int(one["StartingHashKey"]), int(one["EndingHashKey"])) for one in ranges)


def client_of(endpoint: str, access_key: str = "test") -> Any:
    return boto3.client(
        "kinesis",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=access_key,
        aws_secret_access_key="test",
        config=Config(retries={"total_max_attempts": 1}),
    )


def put_all(kinesis: Any, stream: str, *values: bytes, **more: Any) -> list[str]:
    """Put values by boto3; their sequence numbers."""
    answer = kinesis.put_records(StreamName=stream, Records=[{"Data": v, "PartitionKey": "k", **more} for v in values])
    assert answer["FailedRecordCount"] == 0
    return [record["SequenceNumber"] for record in answer["Records"]]


def read_all(kinesis: Any, stream: str, shard: str = FIRST, **position: Any) -> dict[str, Any]:
    """One GetRecords by boto3, from the shard's first record unless told otherwise."""
    position = position or {"ShardIteratorType": "TRIM_HORIZON"}
    token = kinesis.get_shard_iterator(StreamName=stream, ShardId=shard, **position)["ShardIterator"]
    answer: dict[str, Any] = kinesis.get_records(ShardIterator=token)
    return answer


def data(answer: dict[str, Any]) -> list[bytes]:
    return [record["Data"] for record in answer["Records"]]


def error_of(call: Any, **arguments: Any) -> str:
    """The code of the error that a call of boto3 raises."""
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    return str(caught.value.response["Error"]["Code"])


def control(endpoint: str, what: str, body: Any) -> httpx.Response:
    return http_calls.post(f"{endpoint}/_control/{what}", json=body)
