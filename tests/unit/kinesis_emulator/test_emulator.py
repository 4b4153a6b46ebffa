"""The emulator as boto3 sees it."""

import signal
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, EndpointConnectionError

from kinesis_emulator import running_emulator, start_emulator


def client_of(endpoint: str, access_key: str = "test") -> Any:
    return boto3.client(
        "kinesis",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=access_key,
        aws_secret_access_key="test",
        config=Config(retries={"total_max_attempts": 1}),
    )


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with running_emulator(arguments=("--create-milliseconds", "0")) as url:
        yield url


@pytest.fixture
def kinesis(endpoint: str) -> Any:
    return client_of(endpoint)


@pytest.fixture
def stream(kinesis: Any, request: pytest.FixtureRequest) -> str:
    name: str = request.node.name[:100].replace("[", "-").replace("]", "-").replace("/", "-")
    kinesis.create_stream(StreamName=name, ShardCount=1)
    kinesis.get_waiter("stream_exists").wait(StreamName=name, WaiterConfig={"Delay": 1})
    return name


def put(kinesis: Any, stream: str, *values: bytes, **more: Any) -> list[str]:
    answer = kinesis.put_records(StreamName=stream, Records=[{"Data": v, "PartitionKey": "k", **more} for v in values])
    assert answer["FailedRecordCount"] == 0
    return [record["SequenceNumber"] for record in answer["Records"]]


def read(kinesis: Any, stream: str, shard: str = "shardId-000000000000", **iterator: Any) -> dict[str, Any]:
    iterator = iterator or {"ShardIteratorType": "TRIM_HORIZON"}
    token = kinesis.get_shard_iterator(StreamName=stream, ShardId=shard, **iterator)["ShardIterator"]
    answer: dict[str, Any] = kinesis.get_records(ShardIterator=token)
    return answer


def data(answer: dict[str, Any]) -> list[bytes]:
    return [record["Data"] for record in answer["Records"]]


def error_of(call: Any, **arguments: Any) -> str:
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    return str(caught.value.response["Error"]["Code"])


def test_records_come_back_as_they_were_put_in_order(kinesis: Any, stream: str) -> None:
    sequences = put(kinesis, stream, b"\x00\xff", b"two", b"")
    answer = read(kinesis, stream)
    assert data(answer) == [b"\x00\xff", b"two", b""]
    assert [record["SequenceNumber"] for record in answer["Records"]] == sequences == sorted(sequences, key=int)
    assert answer["MillisBehindLatest"] == 0
    assert all(record["ApproximateArrivalTimestamp"].tzinfo for record in answer["Records"])


def test_each_iterator_type_starts_where_it_says(kinesis: Any, stream: str) -> None:
    _, second, _ = put(kinesis, stream, b"1", b"2", b"3")
    at = {"ShardIteratorType": "AT_SEQUENCE_NUMBER", "StartingSequenceNumber": second}
    after = {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "StartingSequenceNumber": second}
    assert data(read(kinesis, stream, **at)) == [b"2", b"3"]
    assert data(read(kinesis, stream, **after)) == [b"3"]
    assert data(read(kinesis, stream, ShardIteratorType="LATEST")) == []
    assert data(
        read(kinesis, stream, ShardIteratorType="AT_TIMESTAMP", Timestamp=datetime(2000, 1, 1, tzinfo=UTC))
    ) == [b"1", b"2", b"3"]
    assert (
        data(read(kinesis, stream, ShardIteratorType="AT_TIMESTAMP", Timestamp=datetime(2999, 1, 1, tzinfo=UTC))) == []
    )


def test_a_limited_read_says_how_far_behind_it_is(kinesis: Any, stream: str) -> None:
    put(kinesis, stream, b"1", b"2")
    token = kinesis.get_shard_iterator(
        StreamName=stream, ShardId="shardId-000000000000", ShardIteratorType="TRIM_HORIZON"
    )
    answer = kinesis.get_records(ShardIterator=token["ShardIterator"], Limit=1)
    assert data(answer) == [b"1"]
    assert answer["MillisBehindLatest"] > 0
    assert data(kinesis.get_records(ShardIterator=answer["NextShardIterator"])) == [b"2"]


def test_a_split_closes_the_parent_keeps_its_tail_and_names_its_children(kinesis: Any, stream: str) -> None:
    put(kinesis, stream, b"before")
    kinesis.split_shard(StreamName=stream, ShardToSplit="shardId-000000000000", NewStartingHashKey=str(2**127))
    put(kinesis, stream, b"low", ExplicitHashKey="0")
    put(kinesis, stream, b"high", ExplicitHashKey=str(2**127))
    parent = read(kinesis, stream)
    assert data(parent) == [b"before"]
    assert "NextShardIterator" not in parent
    assert [child["ShardId"] for child in parent["ChildShards"]] == ["shardId-000000000001", "shardId-000000000002"]
    assert data(read(kinesis, stream, "shardId-000000000001")) == [b"low"]
    assert data(read(kinesis, stream, "shardId-000000000002")) == [b"high"]
    shards = {shard["ShardId"]: shard for shard in kinesis.list_shards(StreamName=stream)["Shards"]}
    assert "EndingSequenceNumber" in shards["shardId-000000000000"]["SequenceNumberRange"]
    assert shards["shardId-000000000002"]["ParentShardId"] == "shardId-000000000000"
    latest = kinesis.list_shards(StreamName=stream, ShardFilter={"Type": "AT_LATEST"})["Shards"]
    assert [shard["ShardId"] for shard in latest] == ["shardId-000000000001", "shardId-000000000002"]


def test_a_merge_has_two_parents(kinesis: Any, stream: str) -> None:
    kinesis.update_shard_count(StreamName=stream, TargetShardCount=2, ScalingType="UNIFORM_SCALING")
    low, high = (
        s["ShardId"] for s in kinesis.list_shards(StreamName=stream, ShardFilter={"Type": "AT_LATEST"})["Shards"]
    )
    kinesis.merge_shards(StreamName=stream, ShardToMerge=low, AdjacentShardToMerge=high)
    merged = kinesis.list_shards(StreamName=stream, ShardFilter={"Type": "AT_LATEST"})["Shards"]
    assert [(s["ParentShardId"], s["AdjacentParentShardId"]) for s in merged] == [(low, high)]


@pytest.mark.parametrize(
    ("call", "arguments", "code"),
    [
        ("describe_stream", {"StreamName": "none"}, "ResourceNotFoundException"),
        ("put_record", {"StreamName": "none", "Data": b"", "PartitionKey": "k"}, "ResourceNotFoundException"),
        ("get_records", {"ShardIterator": "nonsense"}, "InvalidArgumentException"),
        (
            "list_stream_consumers",
            {"StreamARN": "arn:aws:kinesis:us-east-1:000000000000:stream/x"},
            "ResourceNotFoundException",
        ),
        ("describe_account_settings", {}, "UnknownOperationException"),
        ("create_stream", {"StreamName": "without-a-shard-count"}, "ValidationException"),
    ],
)
def test_errors_have_the_names_that_boto3_knows(kinesis: Any, call: str, arguments: dict[str, Any], code: str) -> None:
    assert error_of(getattr(kinesis, call), **arguments) == code


def test_a_stream_cannot_be_created_twice(kinesis: Any, stream: str) -> None:
    assert error_of(kinesis.create_stream, StreamName=stream, ShardCount=1) == "ResourceInUseException"


def test_a_record_beyond_a_mebibyte_is_refused_and_one_just_within_is_not(kinesis: Any, stream: str) -> None:
    assert error_of(kinesis.put_record, StreamName=stream, Data=b"x" * 2**20, PartitionKey="k") == "ValidationException"
    kinesis.put_record(StreamName=stream, Data=b"x" * (2**20 - 1), PartitionKey="k")


def test_limits_throttle_the_sixth_read_within_a_second() -> None:
    with running_emulator(arguments=("--limits",)) as endpoint:
        kinesis = client_of(endpoint)
        kinesis.create_stream(StreamName="limited", ShardCount=1)
        kinesis.get_waiter("stream_exists").wait(StreamName="limited", WaiterConfig={"Delay": 1})
        token = kinesis.get_shard_iterator(
            StreamName="limited", ShardId="shardId-000000000000", ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        codes = []
        for _ in range(8):
            try:
                kinesis.get_records(ShardIterator=token)
            except ClientError as error:
                codes.append(error.response["Error"]["Code"])
        assert set(codes) == {"ProvisionedThroughputExceededException"}


def test_an_iterator_expires() -> None:
    with running_emulator(arguments=("--iterator-seconds", "0")) as endpoint:
        kinesis = client_of(endpoint)
        kinesis.create_stream(StreamName="s", ShardCount=1)
        token = kinesis.get_shard_iterator(StreamName="s", ShardId="shardId-000000000000", ShardIteratorType="LATEST")
        assert error_of(kinesis.get_records, ShardIterator=token["ShardIterator"]) == "ExpiredIteratorException"


def test_another_access_key_is_refused() -> None:
    with running_emulator(arguments=("--access-key", "right")) as endpoint:
        assert client_of(endpoint, "right").list_streams()["StreamNames"] == []
        assert error_of(client_of(endpoint, "wrong").list_streams) == "UnrecognizedClientException"


def test_a_signature_of_another_secret_is_refused() -> None:
    with running_emulator(arguments=("--access-key", "test", "--secret-key", "test")) as endpoint:
        assert client_of(endpoint).list_streams()["StreamNames"] == []
    with running_emulator(arguments=("--access-key", "test", "--secret-key", "other")) as endpoint:
        assert error_of(client_of(endpoint).list_streams) == "InvalidSignatureException"


def test_acknowledged_records_survive_a_kill_with_a_torn_last_line(tmp_path: Path) -> None:
    process, endpoint = start_emulator(data_dir=tmp_path)
    kinesis = client_of(endpoint)
    kinesis.create_stream(StreamName="s", ShardCount=1)
    kinesis.get_waiter("stream_exists").wait(StreamName="s", WaiterConfig={"Delay": 1})
    sequences = put(kinesis, "s", b"1", b"2")
    process.send_signal(signal.SIGKILL)
    process.wait()
    with (tmp_path / "journal.jsonl").open("ab") as file:
        file.write(b'{"op": "put", "str')
    with running_emulator(data_dir=tmp_path) as endpoint:
        kinesis = client_of(endpoint)
        assert data(read(kinesis, "s")) == [b"1", b"2"]
        assert int(put(kinesis, "s", b"3")[0]) > int(sequences[-1])
    with running_emulator(data_dir=tmp_path) as endpoint:
        assert data(read(client_of(endpoint), "s")) == [b"1", b"2", b"3"]


def test_injected_faults_strike_as_often_as_told(kinesis: Any, stream: str, endpoint: str) -> None:
    for kind, code in (("throttle", "ProvisionedThroughputExceededException"), ("error", "InternalFailure")):
        httpx.post(f"{endpoint}/_control/faults", json=[{"operation": "ListStreams", "kind": kind, "calls": 1}])
        assert error_of(kinesis.list_streams) == code
        assert stream in kinesis.list_streams()["StreamNames"]
    assert httpx.get(f"{endpoint}/_control/stats").json()["calls"]["ListStreams"] >= 4


def test_a_taken_port_is_said_with_the_remedy(endpoint: str) -> None:
    port = int(endpoint.rpartition(":")[2])
    with pytest.raises(RuntimeError, match=r"cannot be bound .* choose --port"):
        start_emulator(port)


def test_it_ends_when_told() -> None:
    process, endpoint = start_emulator()
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=10) == 0
    with pytest.raises(EndpointConnectionError):
        client_of(endpoint).list_streams()


def test_an_answer_is_cut_in_the_middle_after_its_call_took_effect(kinesis: Any, stream: str, endpoint: str) -> None:
    httpx.post(f"{endpoint}/_control/faults", json=[{"operation": "PutRecord", "kind": "close", "calls": 1}])
    request = {"StreamName": stream, "Data": "AAAA", "PartitionKey": "k"}
    # Not through boto3: it takes the short answer for an empty one, and raises nothing.
    with pytest.raises(httpx.RemoteProtocolError, match="without sending complete"):
        httpx.post(endpoint, json=request, headers={"X-Amz-Target": "Kinesis_20131202.PutRecord"})
    assert data(read(kinesis, stream)) == [b"\0\0\0"]


def test_an_injected_expiry_strikes_get_records(kinesis: Any, stream: str, endpoint: str) -> None:
    httpx.post(f"{endpoint}/_control/faults", json=[{"operation": "GetRecords", "kind": "expire", "calls": 1}])
    token = kinesis.get_shard_iterator(
        StreamName=stream, ShardId="shardId-000000000000", ShardIteratorType="TRIM_HORIZON"
    )["ShardIterator"]
    assert error_of(kinesis.get_records, ShardIterator=token) == "ExpiredIteratorException"
    assert data(kinesis.get_records(ShardIterator=token)) == []
