"""The operations with a clock that the test moves: retention, expiry, filters by time, consumers."""

from pathlib import Path
from typing import Any

import pytest
from emulator_calls import HandClock, call, code_of, iterator, kinesis_of, put, read

from kinesis_emulator.api import Kinesis, Options

HOUR = 3600.0
UNIFORM = {"TargetShardCount": 4, "ScalingType": "UNIFORM_SCALING"}


def shard_ids(here: Kinesis, **chosen: Any) -> list[int]:
    shards = call(here, "ListShards", StreamName="s", **({"ShardFilter": chosen} if chosen else {}))["Shards"]
    return [int(shard["ShardId"][-12:]) for shard in shards]


def test_records_age_out_after_retention_and_an_iterator_goes_on_with_the_oldest_left(
    here: Kinesis, clock: HandClock
) -> None:
    put(here, "old")
    clock.now += 23 * HOUR
    put(here, "new")
    clock.now += 1.1 * HOUR - 100
    token = iterator(here)
    clock.now += 100
    assert read(here, token) == ["new"]


def test_nothing_ages_out_because_the_clock_was_set_back(here: Kinesis, clock: HandClock) -> None:
    put(here, "before")
    here.state.settle()
    clock.now -= 600
    put(here, "after")
    clock.now += 2
    assert read(here) == ["before", "after"]
    assert shard_ids(here, Type="AT_TRIM_HORIZON") == [0]


def test_a_longer_retention_keeps_records_and_a_restart_keeps_the_retention(clock: HandClock, tmp_path: Path) -> None:
    first = kinesis_of(clock, data_dir=tmp_path)
    call(first, "CreateStream", StreamName="s", ShardCount=1)
    call(first, "IncreaseStreamRetentionPeriod", StreamName="s", RetentionPeriodHours=48)
    put(first, "kept")
    first.close()
    clock.now += 30 * HOUR
    assert read(kinesis_of(clock, data_dir=tmp_path)) == ["kept"]


def test_a_closed_shard_is_listed_until_its_last_record_aged_out(here: Kinesis, clock: HandClock) -> None:
    clock.now += 1
    call(here, "SplitShard", StreamName="s", ShardToSplit="shardId-000000000000", NewStartingHashKey=str(2**127))
    assert shard_ids(here) == [0, 1, 2]
    clock.now += 25 * HOUR
    assert shard_ids(here) == [1, 2]


def test_shard_filters_choose_by_the_time_at_which_shards_were_open(here: Kinesis, clock: HandClock) -> None:
    start = clock.now
    clock.now += 10
    call(here, "SplitShard", StreamName="s", ShardToSplit="shardId-000000000000", NewStartingHashKey=str(2**127))
    assert shard_ids(here, Type="AT_TRIM_HORIZON") == [0]
    assert shard_ids(here, Type="FROM_TRIM_HORIZON") == [0, 1, 2]
    assert shard_ids(here, Type="AT_LATEST") == [1, 2]
    assert shard_ids(here, Type="AT_TIMESTAMP", Timestamp=start + 5) == [0]
    assert shard_ids(here, Type="AT_TIMESTAMP", Timestamp=start + 10) == [1, 2]
    assert shard_ids(here, Type="FROM_TIMESTAMP", Timestamp=start + 5) == [0, 1, 2]
    assert shard_ids(here, Type="FROM_TIMESTAMP", Timestamp=start + 11) == [1, 2]
    assert shard_ids(here, Type="AFTER_SHARD_ID", ShardId="shardId-000000000001") == [2]


def test_an_iterator_expires_after_five_minutes(here: Kinesis, clock: HandClock) -> None:
    token = iterator(here)
    clock.now += 300
    assert read(here, token) == []
    clock.now += 1
    assert code_of(here, "GetRecords", ShardIterator=token) == "ExpiredIteratorException"


def test_a_consumer_is_registered_once_described_and_forgotten(here: Kinesis) -> None:
    arn = call(here, "DescribeStreamSummary", StreamName="s")["StreamDescriptionSummary"]["StreamARN"]
    consumer = call(here, "RegisterStreamConsumer", StreamARN=arn, ConsumerName="c")["Consumer"]
    assert code_of(here, "RegisterStreamConsumer", StreamARN=arn, ConsumerName="c") == "ResourceInUseException"
    described = call(here, "DescribeStreamConsumer", ConsumerARN=consumer["ConsumerARN"])["ConsumerDescription"]
    assert (described["ConsumerName"], described["StreamARN"]) == ("c", arn)
    other = f"{arn}-other"
    contradiction = {"ConsumerARN": consumer["ConsumerARN"], "StreamARN": other}
    assert code_of(here, "DescribeStreamConsumer", **contradiction) == "InvalidArgumentException"
    call(here, "DeregisterStreamConsumer", StreamARN=arn, ConsumerName="c")
    assert call(here, "ListStreamConsumers", StreamARN=arn)["Consumers"] == []


@pytest.mark.parametrize(
    ("operation", "request_", "code"),
    [
        (
            "UpdateShardCount",
            {"StreamName": "s", "TargetShardCount": 3, "ScalingType": "UNIFORM_SCALING"},
            "LimitExceededException",
        ),
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
def test_what_the_api_refuses_has_its_code(here: Kinesis, operation: str, request_: dict[str, Any], code: str) -> None:
    assert code_of(here, operation, **request_) == code


def test_a_stream_on_demand_has_no_shard_count_to_set_and_its_mode_outlives_a_restart(
    clock: HandClock, tmp_path: Path
) -> None:
    here = kinesis_of(clock, data_dir=tmp_path)
    call(here, "CreateStream", StreamName="s", ShardCount=2)
    arn = call(here, "DescribeStreamSummary", StreamName="s")["StreamDescriptionSummary"]["StreamARN"]
    call(here, "UpdateStreamMode", StreamARN=arn, StreamModeDetails={"StreamMode": "ON_DEMAND"})
    assert code_of(here, "UpdateShardCount", StreamName="s", **UNIFORM) == "ValidationException"
    here.close()
    here = kinesis_of(clock, data_dir=tmp_path)
    summary = call(here, "DescribeStreamSummary", StreamName="s")["StreamDescriptionSummary"]
    assert (summary["StreamModeDetails"], summary["OpenShardCount"]) == ({"StreamMode": "ON_DEMAND"}, 2)
    wrong = {"StreamARN": arn, "StreamModeDetails": {"StreamMode": "on-demand"}}
    assert code_of(here, "UpdateStreamMode", **wrong) == "ValidationException"


def test_a_split_between_two_pages_hides_no_open_shard(here: Kinesis, clock: HandClock) -> None:
    call(here, "CreateStream", StreamName="paged", ShardCount=4)
    clock.now += 60
    latest = {"Type": "AT_LATEST"}
    first = call(here, "ListShards", StreamName="paged", MaxResults=2, ShardFilter=latest)
    call(here, "SplitShard", StreamName="paged", ShardToSplit="shardId-000000000000", NewStartingHashKey="2")
    second = call(here, "ListShards", NextToken=first["NextToken"])
    listed = [shard["ShardId"][-1] for shard in first["Shards"] + second["Shards"]]
    assert listed == ["0", "1", "2", "3", "4", "5"]


def test_streams_are_listed_page_by_page(here: Kinesis) -> None:
    for n in range(3):
        call(here, "CreateStream", StreamName=f"page-{n}", ShardCount=1)
    everything = call(here, "ListStreams")["StreamNames"]
    page = call(here, "ListStreams", Limit=1)
    listed = page["StreamNames"]
    while page["HasMoreStreams"]:
        page = call(here, "ListStreams", Limit=1, NextToken=page["NextToken"])
        listed += page["StreamNames"]
    assert listed == everything
    assert {"page-0", "page-1", "page-2"} <= set(listed)


def test_consumers_are_created_in_time_listed_in_pages_and_kept_over_a_restart(
    clock: HandClock, tmp_path: Path
) -> None:
    here = Kinesis(Options(create_milliseconds=500, data_dir=tmp_path), clock)
    call(here, "CreateStream", StreamName="s", ShardCount=1)
    clock.now += 1
    arn = call(here, "DescribeStreamSummary", StreamName="s")["StreamDescriptionSummary"]["StreamARN"]
    names = [f"c{n}" for n in range(6)]
    for name in names[:5]:
        consumer = call(here, "RegisterStreamConsumer", StreamARN=arn, ConsumerName=name)["Consumer"]
        assert consumer["ConsumerStatus"] == "CREATING"
    too_many = {"StreamARN": arn, "ConsumerName": names[5]}
    assert code_of(here, "RegisterStreamConsumer", **too_many) == "LimitExceededException"
    clock.now += 1
    call(here, "RegisterStreamConsumer", **too_many)
    call(here, "DeregisterStreamConsumer", StreamARN=arn, ConsumerName="c0")
    here.close()
    here = kinesis_of(clock, data_dir=tmp_path)
    listed, more = [], {}
    while more is not None:
        page = call(here, "ListStreamConsumers", StreamARN=arn, MaxResults=2, **more)
        listed += [consumer["ConsumerName"] for consumer in page["Consumers"]]
        assert len(page["Consumers"]) <= 2
        more = {"NextToken": page["NextToken"]} if "NextToken" in page else None
    assert listed == names[1:]
    described = call(here, "DescribeStreamConsumer", StreamARN=arn, ConsumerName="c1")["ConsumerDescription"]
    assert described["ConsumerStatus"] == "ACTIVE"
    call(here, "DeleteStream", StreamName="s", EnforceConsumerDeletion=True)
    call(here, "CreateStream", StreamName="s", ShardCount=1)
    assert call(here, "ListStreamConsumers", StreamARN=arn)["Consumers"] == []
