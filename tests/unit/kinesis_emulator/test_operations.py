"""The operations with a clock that the test moves: retention, expiry, filters by time, consumers, a full disk."""

import base64
from pathlib import Path
from typing import Any

import orjson
import pytest

from kinesis_emulator.api import Kinesis, Options
from kinesis_emulator.errors import KinesisError
from kinesis_emulator.journal import Journal

HOUR = 3600.0


class Clock:
    """Seconds since the epoch, moved by hand."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def kinesis_of(clock: Clock, **options: Any) -> Kinesis:
    return Kinesis(Options(create_milliseconds=0, **options), clock)


@pytest.fixture
def kinesis(clock: Clock) -> Kinesis:
    one = kinesis_of(clock)
    call(one, "CreateStream", StreamName="s", ShardCount=1)
    return one


def call(kinesis: Kinesis, operation: str, **request: Any) -> dict[str, Any]:
    answer = kinesis.operations[operation](request)
    parsed: dict[str, Any] = orjson.loads(answer) if isinstance(answer, bytes) else answer
    return parsed


def put(kinesis: Kinesis, data: str) -> None:
    call(kinesis, "PutRecord", StreamName="s", Data=base64.b64encode(data.encode()).decode(), PartitionKey="k")


def iterator(kinesis: Kinesis) -> str:
    request = {"StreamName": "s", "ShardId": "shardId-000000000000", "ShardIteratorType": "TRIM_HORIZON"}
    return str(call(kinesis, "GetShardIterator", **request)["ShardIterator"])


def read(kinesis: Kinesis, token: str | None = None) -> list[str]:
    answer = call(kinesis, "GetRecords", ShardIterator=token or iterator(kinesis))
    return [base64.b64decode(record["Data"]).decode() for record in answer["Records"]]


def shard_ids(kinesis: Kinesis, **chosen: Any) -> list[int]:
    shards = call(kinesis, "ListShards", StreamName="s", ShardFilter=chosen)["Shards"]
    return [int(shard["ShardId"][-12:]) for shard in shards]


def code_of(kinesis: Kinesis, operation: str, **request: Any) -> str:
    with pytest.raises(KinesisError) as caught:
        call(kinesis, operation, **request)
    return caught.value.code


def test_records_age_out_after_retention_and_an_iterator_goes_on_with_the_oldest_left(
    kinesis: Kinesis, clock: Clock
) -> None:
    put(kinesis, "old")
    clock.now += 23 * HOUR
    put(kinesis, "new")
    clock.now += 1.1 * HOUR - 100
    token = iterator(kinesis)
    clock.now += 100
    assert read(kinesis, token) == ["new"]


def test_a_longer_retention_keeps_records_and_a_restart_keeps_the_retention(clock: Clock, tmp_path: Path) -> None:
    first = kinesis_of(clock, data_dir=tmp_path)
    call(first, "CreateStream", StreamName="s", ShardCount=1)
    call(first, "IncreaseStreamRetentionPeriod", StreamName="s", RetentionPeriodHours=48)
    put(first, "kept")
    first.close()
    clock.now += 30 * HOUR
    assert read(kinesis_of(clock, data_dir=tmp_path)) == ["kept"]


def test_a_closed_shard_is_listed_until_its_last_record_aged_out(kinesis: Kinesis, clock: Clock) -> None:
    clock.now += 1
    call(kinesis, "SplitShard", StreamName="s", ShardToSplit="shardId-000000000000", NewStartingHashKey=str(2**127))
    assert shard_ids(kinesis) == [0, 1, 2]
    clock.now += 25 * HOUR
    assert shard_ids(kinesis) == [1, 2]


def test_shard_filters_choose_by_the_time_at_which_shards_were_open(kinesis: Kinesis, clock: Clock) -> None:
    start = clock.now
    clock.now += 10
    call(kinesis, "SplitShard", StreamName="s", ShardToSplit="shardId-000000000000", NewStartingHashKey=str(2**127))
    assert shard_ids(kinesis, Type="AT_TRIM_HORIZON") == [0]
    assert shard_ids(kinesis, Type="FROM_TRIM_HORIZON") == [0, 1, 2]
    assert shard_ids(kinesis, Type="AT_LATEST") == [1, 2]
    assert shard_ids(kinesis, Type="AT_TIMESTAMP", Timestamp=start + 5) == [0]
    assert shard_ids(kinesis, Type="AT_TIMESTAMP", Timestamp=start + 10) == [1, 2]
    assert shard_ids(kinesis, Type="FROM_TIMESTAMP", Timestamp=start + 5) == [0, 1, 2]
    assert shard_ids(kinesis, Type="FROM_TIMESTAMP", Timestamp=start + 11) == [1, 2]
    assert shard_ids(kinesis, Type="AFTER_SHARD_ID", ShardId="shardId-000000000001") == [2]


def test_an_iterator_expires_after_five_minutes(kinesis: Kinesis, clock: Clock) -> None:
    token = iterator(kinesis)
    clock.now += 300
    assert read(kinesis, token) == []
    clock.now += 1
    assert code_of(kinesis, "GetRecords", ShardIterator=token) == "ExpiredIteratorException"


def test_a_consumer_is_registered_once_described_and_forgotten(kinesis: Kinesis) -> None:
    arn = call(kinesis, "DescribeStreamSummary", StreamName="s")["StreamDescriptionSummary"]["StreamARN"]
    consumer = call(kinesis, "RegisterStreamConsumer", StreamARN=arn, ConsumerName="c")["Consumer"]
    assert code_of(kinesis, "RegisterStreamConsumer", StreamARN=arn, ConsumerName="c") == "ResourceInUseException"
    described = call(kinesis, "DescribeStreamConsumer", ConsumerARN=consumer["ConsumerARN"])["ConsumerDescription"]
    assert (described["ConsumerName"], described["StreamARN"]) == ("c", arn)
    other = f"{arn}-other"
    contradiction = {"ConsumerARN": consumer["ConsumerARN"], "StreamARN": other}
    assert code_of(kinesis, "DescribeStreamConsumer", **contradiction) == "InvalidArgumentException"
    call(kinesis, "DeregisterStreamConsumer", StreamARN=arn, ConsumerName="c")
    assert call(kinesis, "ListStreamConsumers", StreamARN=arn)["Consumers"] == []


@pytest.mark.parametrize(
    ("operation", "request_", "code"),
    [
        ("UpdateShardCount", {"StreamName": "s", "TargetShardCount": 3}, "LimitExceededException"),
        (
            "IncreaseStreamRetentionPeriod",
            {"StreamName": "s", "RetentionPeriodHours": 9000},
            "InvalidArgumentException",
        ),
        (
            "PutRecords",
            {"StreamName": "s", "Records": [{"Data": "", "PartitionKey": "k"}] * 501},
            "ValidationException",
        ),
        ("PutRecord", {"StreamName": "s", "Data": "not base64", "PartitionKey": "k"}, "SerializationException"),
        ("ListShards", {"NextToken": "nonsense"}, "ExpiredNextTokenException"),
        ("CreateStream", {"StreamName": "a b", "ShardCount": 1}, "ValidationException"),
    ],
)
def test_what_the_api_refuses_has_its_code(
    kinesis: Kinesis, operation: str, request_: dict[str, Any], code: str
) -> None:
    assert code_of(kinesis, operation, **request_) == code


def test_a_write_that_the_disk_refuses_leaves_nothing_to_read(
    clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinesis = kinesis_of(clock, data_dir=tmp_path)
    call(kinesis, "CreateStream", StreamName="s", ShardCount=1)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Journal, "add", full)
        with pytest.raises(OSError, match="No space"):
            put(kinesis, "lost")
    put(kinesis, "kept")
    assert read(kinesis) == ["kept"]


def test_a_split_between_two_pages_hides_no_open_shard(kinesis: Kinesis, clock: Clock) -> None:
    call(kinesis, "CreateStream", StreamName="paged", ShardCount=4)
    clock.now += 60
    latest = {"Type": "AT_LATEST"}
    first = call(kinesis, "ListShards", StreamName="paged", MaxResults=2, ShardFilter=latest)
    call(kinesis, "SplitShard", StreamName="paged", ShardToSplit="shardId-000000000000", NewStartingHashKey="1")
    second = call(kinesis, "ListShards", NextToken=first["NextToken"])
    listed = [shard["ShardId"][-1] for shard in first["Shards"] + second["Shards"]]
    assert listed == ["0", "1", "2", "3", "4", "5"]


def test_streams_are_listed_page_by_page(kinesis: Kinesis) -> None:
    for n in range(3):
        call(kinesis, "CreateStream", StreamName=f"page-{n}", ShardCount=1)
    everything = call(kinesis, "ListStreams")["StreamNames"]
    page = call(kinesis, "ListStreams", Limit=1)
    listed = page["StreamNames"]
    while page["HasMoreStreams"]:
        page = call(kinesis, "ListStreams", Limit=1, NextToken=page["NextToken"])
        listed += page["StreamNames"]
    assert listed == everything
    assert {"page-0", "page-1", "page-2"} <= set(listed)


def test_consumers_are_created_in_time_listed_in_pages_and_kept_over_a_restart(clock: Clock, tmp_path: Path) -> None:
    kinesis = Kinesis(Options(create_milliseconds=500, data_dir=tmp_path), clock)
    call(kinesis, "CreateStream", StreamName="s", ShardCount=1)
    clock.now += 1
    arn = call(kinesis, "DescribeStreamSummary", StreamName="s")["StreamDescriptionSummary"]["StreamARN"]
    names = [f"c{n}" for n in range(6)]
    for name in names[:5]:
        consumer = call(kinesis, "RegisterStreamConsumer", StreamARN=arn, ConsumerName=name)["Consumer"]
        assert consumer["ConsumerStatus"] == "CREATING"
    too_many = {"StreamARN": arn, "ConsumerName": names[5]}
    assert code_of(kinesis, "RegisterStreamConsumer", **too_many) == "LimitExceededException"
    clock.now += 1
    call(kinesis, "RegisterStreamConsumer", **too_many)
    call(kinesis, "DeregisterStreamConsumer", StreamARN=arn, ConsumerName="c0")
    kinesis.close()
    kinesis = kinesis_of(clock, data_dir=tmp_path)
    listed, more = [], {}
    while more is not None:
        page = call(kinesis, "ListStreamConsumers", StreamARN=arn, MaxResults=2, **more)
        listed += [consumer["ConsumerName"] for consumer in page["Consumers"]]
        assert len(page["Consumers"]) <= 2
        more = {"NextToken": page["NextToken"]} if "NextToken" in page else None
    assert listed == names[1:]
    described = call(kinesis, "DescribeStreamConsumer", StreamARN=arn, ConsumerName="c1")["ConsumerDescription"]
    assert described["ConsumerStatus"] == "ACTIVE"
    call(kinesis, "DeleteStream", StreamName="s")
    call(kinesis, "CreateStream", StreamName="s", ShardCount=1)
    assert call(kinesis, "ListStreamConsumers", StreamARN=arn)["Consumers"] == []
