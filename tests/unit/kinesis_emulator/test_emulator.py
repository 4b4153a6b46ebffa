"""The emulator as boto3 sees it."""

import signal
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from emulator_calls import client_of, data, error_of, put_all, read_all

from kinesis_emulator import running_emulator, start_emulator


def test_records_come_back_as_they_were_put_in_order(kinesis: Any, stream: str) -> None:
    sequences = put_all(kinesis, stream, b"\x00\xff", b"two", b"")
    answer = read_all(kinesis, stream)
    assert data(answer) == [b"\x00\xff", b"two", b""]
    assert [record["SequenceNumber"] for record in answer["Records"]] == sequences == sorted(sequences, key=int)
    assert answer["MillisBehindLatest"] == 0
    assert all(record["ApproximateArrivalTimestamp"].tzinfo for record in answer["Records"])


def test_each_iterator_type_starts_where_it_says(kinesis: Any, stream: str) -> None:
    _, second, _ = put_all(kinesis, stream, b"1", b"2", b"3")
    at = {"ShardIteratorType": "AT_SEQUENCE_NUMBER", "StartingSequenceNumber": second}
    after = {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "StartingSequenceNumber": second}
    assert data(read_all(kinesis, stream, **at)) == [b"2", b"3"]
    assert data(read_all(kinesis, stream, **after)) == [b"3"]
    assert data(read_all(kinesis, stream, ShardIteratorType="LATEST")) == []
    assert data(
        read_all(kinesis, stream, ShardIteratorType="AT_TIMESTAMP", Timestamp=datetime(2000, 1, 1, tzinfo=UTC))
    ) == [b"1", b"2", b"3"]


def test_an_answer_has_an_id_as_those_of_aws(kinesis: Any, stream: str) -> None:
    answers = [kinesis.list_streams()["ResponseMetadata"] for _ in range(2)]
    assert len({answer["RequestId"] for answer in answers}) == 2
    assert all(answer["HTTPHeaders"]["x-amz-id-2"] for answer in answers)
    with pytest.raises(ClientError) as caught:
        kinesis.describe_stream(StreamName="none")
    assert caught.value.response["ResponseMetadata"]["RequestId"]


def test_a_limited_read_says_how_far_behind_it_is(kinesis: Any, stream: str) -> None:
    put_all(kinesis, stream, b"1", b"2")
    token = kinesis.get_shard_iterator(
        StreamName=stream, ShardId="shardId-000000000000", ShardIteratorType="TRIM_HORIZON"
    )
    answer = kinesis.get_records(ShardIterator=token["ShardIterator"], Limit=1)
    assert data(answer) == [b"1"]
    assert answer["MillisBehindLatest"] > 0
    assert data(kinesis.get_records(ShardIterator=answer["NextShardIterator"])) == [b"2"]


def test_a_split_closes_the_parent_keeps_its_tail_and_names_its_children(kinesis: Any, stream: str) -> None:
    put_all(kinesis, stream, b"before")
    kinesis.split_shard(StreamName=stream, ShardToSplit="shardId-000000000000", NewStartingHashKey=str(2**127))
    put_all(kinesis, stream, b"low", ExplicitHashKey="0")
    put_all(kinesis, stream, b"high", ExplicitHashKey=str(2**127))
    parent = read_all(kinesis, stream)
    assert data(parent) == [b"before"]
    assert "NextShardIterator" not in parent
    assert [child["ShardId"] for child in parent["ChildShards"]] == ["shardId-000000000001", "shardId-000000000002"]
    assert data(read_all(kinesis, stream, "shardId-000000000001")) == [b"low"]
    assert data(read_all(kinesis, stream, "shardId-000000000002")) == [b"high"]
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
        ("list_channels", {}, "UnknownOperationException"),
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


def test_it_ends_when_told() -> None:
    process, endpoint = start_emulator()
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=10) == 0
    with pytest.raises(EndpointConnectionError):
        client_of(endpoint).list_streams()
