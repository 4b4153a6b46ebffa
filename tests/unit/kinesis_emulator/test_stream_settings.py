"""What streams, consumers and the account are set to is shown, kept over a restart, and refused where AWS refuses."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from emulator_calls import FIRST, HandClock, call, code_of, encoded, error_in, iterator, kinesis_of, open_ranges

from kinesis_emulator.api import Kinesis, Options

ARN = "arn:aws:kinesis:us-east-1:000000000000:stream/s"
INVALID = "InvalidArgumentException"
DAY = 24 * 3600.0
Restart = Callable[[], Kinesis]


@pytest.fixture
def restart(clock: HandClock, tmp_path: Path) -> Restart:
    """An emulator with a data folder; called again, another that takes over its folder."""
    running: list[Kinesis] = []

    def start() -> Kinesis:
        if running:
            running.pop().close()
        running.append(kinesis_of(clock, data_dir=tmp_path))
        return running[0]

    return start


@pytest.fixture
def kept(restart: Restart) -> Kinesis:
    """With a data folder, and the stream ``s`` of one shard."""
    kinesis = restart()
    call(kinesis, "CreateStream", StreamName="s", ShardCount=1)
    return kinesis


def summary(kinesis: Kinesis) -> dict[str, Any]:
    found: dict[str, Any] = call(kinesis, "DescribeStreamSummary", StreamName="s")["StreamDescriptionSummary"]
    return found


def tags(kinesis: Kinesis, arn: str = ARN) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in call(kinesis, "ListTagsForResource", ResourceARN=arn)["Tags"]}


def on_demand(kinesis: Kinesis) -> None:
    call(kinesis, "UpdateStreamMode", StreamARN=ARN, StreamModeDetails={"StreamMode": "ON_DEMAND"})


def commit(kinesis: Kinesis, status: str) -> dict[str, Any]:
    request = {"MinimumThroughputBillingCommitment": {"Status": status}}
    settings: dict[str, Any] = call(kinesis, "UpdateAccountSettings", **request)["MinimumThroughputBillingCommitment"]
    return settings


def test_what_a_stream_is_created_with_is_heeded_and_kept(restart: Restart) -> None:
    kinesis = restart()
    made = {"StreamName": "s", "Tags": {"a": "b"}, "MaxRecordSizeInKiB": 5000, "RecordDistributionStrategy": "AUTO"}
    call(kinesis, "CreateStream", **made, StreamModeDetails={"StreamMode": "ON_DEMAND"})
    for one in (kinesis, restart()):
        described = summary(one)
        assert (described["MaxRecordSizeInKiB"], described["RecordDistributionStrategy"]) == (5000, "AUTO")
        assert described["StreamModeDetails"] == {"StreamMode": "ON_DEMAND"}
        assert tags(one) == {"a": "b"}


def test_tags_are_added_listed_in_pages_and_removed(kept: Kinesis, restart: Restart) -> None:
    call(kept, "AddTagsToStream", StreamName="s", Tags={"a": "1", "b": "2"})
    call(kept, "TagResource", ResourceARN=ARN, Tags={"b": "3", "c": ""})
    page = call(kept, "ListTagsForStream", StreamName="s", Limit=2)
    assert (page["Tags"], page["HasMoreTags"]) == ([{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "3"}], True)
    rest = call(kept, "ListTagsForStream", StreamName="s", ExclusiveStartTagKey="b")
    assert (rest["Tags"], rest["HasMoreTags"]) == ([{"Key": "c", "Value": ""}], False)
    call(kept, "RemoveTagsFromStream", StreamName="s", TagKeys=["a", "never there"])
    call(kept, "UntagResource", ResourceARN=ARN, TagKeys=["c"])
    assert tags(restart()) == {"b": "3"}


def test_a_consumer_has_tags_and_a_policy_of_its_own(kept: Kinesis, restart: Restart) -> None:
    registered = call(kept, "RegisterStreamConsumer", StreamARN=ARN, ConsumerName="c", Tags={"x": "y"})
    consumer = registered["Consumer"]["ConsumerARN"]
    call(kept, "TagResource", ResourceARN=consumer, Tags={"z": "w"})
    call(kept, "PutResourcePolicy", ResourceARN=consumer, Policy='{"Version":"2012-10-17"}')
    for one in (kept, restart()):
        assert (tags(one, consumer), tags(one)) == ({"x": "y", "z": "w"}, {})
        assert call(one, "GetResourcePolicy", ResourceARN=consumer)["Policy"] == '{"Version":"2012-10-17"}'
        assert call(one, "GetResourcePolicy", ResourceARN=ARN)["Policy"] == "{}"
    kept = restart()
    call(kept, "DeleteResourcePolicy", ResourceARN=consumer)
    assert code_of(kept, "DeleteResourcePolicy", ResourceARN=consumer) == "ResourceNotFoundException"
    assert code_of(kept, "PutResourcePolicy", ResourceARN=ARN, Policy="[]") == INVALID
    assert code_of(kept, "TagResource", ResourceARN=f"{consumer}9", Tags={"a": "b"}) == "ResourceNotFoundException"


def test_a_resource_has_at_most_fifty_tags_of_characters_that_are_allowed(here: Kinesis) -> None:
    call(here, "AddTagsToStream", StreamName="s", Tags={f"k{n}": "v" for n in range(49)})
    call(here, "AddTagsToStream", StreamName="s", Tags={"k0": "again", "Größe 1_.:/=+-@": "é"})
    assert code_of(here, "TagResource", ResourceARN=ARN, Tags={"more": "v"}) == INVALID
    assert code_of(here, "TagResource", ResourceARN=ARN, Tags={"k0": "a?b"}) == INVALID
    assert len(tags(here)) == 50
    wide = {f"k{n}": "v" for n in range(51)}
    assert code_of(here, "CreateStream", StreamName="t", ShardCount=1, Tags=wide) == INVALID
    assert call(here, "ListStreams")["StreamNames"] == ["s"]


def test_encryption_is_shown_in_answers_and_in_the_records_of_its_time(kept: Kinesis, restart: Restart) -> None:
    key = {"EncryptionType": "KMS", "KeyId": "alias/aws/kinesis"}
    record = {"StreamName": "s", "Data": encoded(b"x"), "PartitionKey": "k"}
    assert call(kept, "PutRecord", **record)["EncryptionType"] == "NONE"
    call(kept, "StartStreamEncryption", StreamName="s", **key)
    assert call(kept, "PutRecord", **record)["EncryptionType"] == "KMS"
    kept = restart()
    assert {name: summary(kept)[name] for name in key} == key
    call(kept, "StopStreamEncryption", StreamName="s", **key)
    assert call(kept, "PutRecords", StreamName="s", Records=[record])["EncryptionType"] == "NONE"
    assert summary(kept)["EncryptionType"] == "NONE"
    records = call(kept, "GetRecords", ShardIterator=iterator(kept))["Records"]
    assert [one.get("EncryptionType") for one in records] == [None, "KMS", None]
    assert code_of(kept, "StartStreamEncryption", StreamName="s", EncryptionType="NONE", KeyId="k") == INVALID


def test_metrics_are_enabled_and_disabled_one_by_one_and_all_at_once(kept: Kinesis, restart: Restart) -> None:
    def change(operation: str, *metrics: str) -> tuple[list[str], list[str]]:
        answer = call(kept, f"{operation}EnhancedMonitoring", StreamName="s", ShardLevelMetrics=list(metrics))
        return answer["CurrentShardLevelMetrics"], answer["DesiredShardLevelMetrics"]

    assert change("Enable", "OutgoingBytes", "IncomingBytes") == ([], ["IncomingBytes", "OutgoingBytes"])
    before, after = change("Enable", "ALL")
    assert (before, len(after), "ALL" in after) == (["IncomingBytes", "OutgoingBytes"], 7, False)
    assert change("Disable", "OutgoingBytes")[1] == [name for name in after if name != "OutgoingBytes"]
    kept = restart()
    [monitoring] = summary(kept)["EnhancedMonitoring"]
    assert len(monitoring["ShardLevelMetrics"]) == 6
    assert change("Disable", "ALL")[1] == []


def test_records_are_dealt_out_over_all_shards_by_the_strategy_auto(here: Kinesis) -> None:
    request = {"StreamARN": ARN, "RecordDistributionStrategy": "AUTO"}
    call(here, "SplitShard", StreamName="s", ShardToSplit=FIRST, NewStartingHashKey=str(2**127))
    on_demand(here)
    call(here, "UpdateStreamRecordDistributionStrategy", **request)
    answer = call(here, "PutRecords", StreamName="s", Records=[{"Data": "", "PartitionKey": "k"}, {"Data": ""}] * 2)
    assert sorted(record["ShardId"][-1] for record in answer["Records"]) == ["1", "1", "2", "2"]
    call(here, "UpdateStreamMode", StreamARN=ARN, StreamModeDetails={"StreamMode": "PROVISIONED"})
    assert code_of(here, "UpdateStreamRecordDistributionStrategy", **request) == INVALID
    assert str(error_in(here, "PutRecord", StreamName="s", Data="")) == (
        "1 validation error detected: Value null at 'partitionKey' failed to satisfy constraint: Member must not be "
        "null"
    )


def test_a_commitment_lasts_for_a_day_at_least_and_allows_a_warm_throughput(
    kept: Kinesis, clock: HandClock, restart: Restart
) -> None:
    start = clock.now
    warm = {"StreamName": "s", "WarmThroughputMiBps": 100}
    assert code_of(kept, "UpdateStreamWarmThroughput", **warm) == INVALID
    on_demand(kept)
    assert code_of(kept, "UpdateStreamWarmThroughput", **warm) == INVALID
    enabled = {"Status": "ENABLED", "StartedAt": start, "EarliestAllowedEndAt": start + DAY}
    assert commit(kept, "ENABLED") == enabled
    call(kept, "UpdateStreamWarmThroughput", **warm)
    kept = restart()
    assert summary(kept)["WarmThroughput"] == {"TargetMiBps": 100, "CurrentMiBps": 100}
    too_much = {"StreamName": "s", "WarmThroughputMiBps": 10 * 1024 + 1}
    assert code_of(kept, "UpdateStreamWarmThroughput", **too_much) == "LimitExceededException"
    clock.now += 3600
    assert commit(kept, "DISABLED") == {**enabled, "Status": "ENABLED_UNTIL_EARLIEST_ALLOWED_END"}
    assert commit(kept, "ENABLED") == enabled
    commit(kept, "DISABLED")
    clock.now = start + DAY
    ended = {"Status": "DISABLED", "StartedAt": start, "EndedAt": start + DAY}
    assert call(restart(), "DescribeAccountSettings")["MinimumThroughputBillingCommitment"] == ended


def test_a_retention_period_changes_in_the_direction_that_the_call_says(here: Kinesis) -> None:
    def refused(way: str, hours: int) -> str:
        error = error_in(here, f"{way}StreamRetentionPeriod", StreamName="s", RetentionPeriodHours=hours)
        assert error.code == INVALID
        return str(error)

    call(here, "IncreaseStreamRetentionPeriod", StreamName="s", RetentionPeriodHours=48)
    assert refused("Increase", 47) == (
        "Requested retention period (47 hours) for stream s can not be shorter than existing retention period (48 "
        "hours). Use DecreaseRetentionPeriod API."
    )
    assert refused("Decrease", 49) == (
        "Requested retention period (49 hours) for stream s can not be longer than existing retention period (48 "
        "hours). Use IncreaseRetentionPeriod API."
    )
    assert refused("Decrease", 23).startswith("Minimum allowed retention period is 24 hours.")
    assert refused("Increase", 8761).startswith("Maximum allowed retention period is 8760 hours.")
    assert summary(here)["RetentionPeriodHours"] == 48


def test_limits_count_shards_and_streams_on_demand(here: Kinesis) -> None:
    on_demand(here)
    call(here, "CreateStream", StreamName="t", ShardCount=3)
    limits = call(here, "DescribeLimits")
    assert (limits["OpenShardCount"], limits["OnDemandStreamCount"], limits["ShardLimit"]) == (4, 1, 20_000)
    for shards in (19_997, 2_000_000_000):
        assert code_of(here, "CreateStream", StreamName="u", ShardCount=shards) == "LimitExceededException"
    for n in range(49):
        call(here, "CreateStream", StreamName=f"o{n}", StreamModeDetails={"StreamMode": "ON_DEMAND"})
    more = {"StreamName": "p", "StreamModeDetails": {"StreamMode": "ON_DEMAND"}}
    assert code_of(here, "CreateStream", **more) == "LimitExceededException"


def test_streams_are_listed_with_summaries(here: Kinesis, clock: HandClock) -> None:
    answer = call(here, "ListStreams")
    [listed] = answer["StreamSummaries"]
    assert (listed["StreamARN"], listed["StreamStatus"], listed["StreamCreationTimestamp"]) == (
        ARN, "ACTIVE", clock.now
    )  # fmt: skip
    assert answer["StreamNames"] == [listed["StreamName"]] == ["s"]


@pytest.mark.parametrize(
    ("arn", "code"),
    [
        (ARN.replace("000000000000", "999999999999"), "AccessDeniedException"),
        (ARN.replace("us-east-1", "eu-west-3"), "ResourceNotFoundException"),
        (ARN.replace("arn:aws:", "arn:aws-cn:"), "ResourceNotFoundException"),
        (f"{ARN}2", "ResourceNotFoundException"),
    ],
)
def test_an_arn_of_elsewhere_is_refused(here: Kinesis, arn: str, code: str) -> None:
    assert code_of(here, "DescribeStreamSummary", StreamARN=arn) == code
    assert code_of(here, "ListTagsForResource", ResourceARN=arn) == code
    assert code_of(here, "PutRecord", StreamARN=arn, Data="", PartitionKey="k") == code
    assert code_of(here, "DescribeStreamConsumer", ConsumerARN=f"{arn}/consumer/c:1") == code
    assert code_of(here, "RegisterStreamConsumer", StreamARN=arn, ConsumerName="c") == code
    token = iterator(here)
    # There, the iterator tells another stream of this region and account.
    contradicts = arn == f"{ARN}2"
    assert code_of(here, "GetRecords", ShardIterator=token, StreamARN=arn) == (INVALID if contradicts else code)


def test_a_name_and_an_arn_of_two_streams_are_refused(here: Kinesis) -> None:
    assert code_of(here, "DescribeStream", StreamName="t", StreamARN=ARN) == INVALID
    assert code_of(here, "DescribeStream", StreamName=ARN) == "ValidationException"
    assert code_of(here, "DescribeStream") == INVALID


@pytest.mark.parametrize(
    "more",
    [
        {"StreamName": "s"},
        {"StreamARN": ARN},
        {"ShardFilter": {"Type": "AT_LATEST"}},
        {"ExclusiveStartShardId": FIRST},
        {"StreamCreationTimestamp": 0},
    ],
)
def test_a_token_of_shards_goes_with_nothing_that_it_tells_itself(clock: HandClock, more: dict[str, Any]) -> None:
    kinesis = kinesis_of(clock)
    call(kinesis, "CreateStream", StreamName="s", ShardCount=3)
    token = call(kinesis, "ListShards", StreamName="s", MaxResults=1)["NextToken"]
    error = error_in(kinesis, "ListShards", NextToken=token, **more)
    assert (error.code, str(error)) == (INVALID, f"NextToken and {next(iter(more))} cannot be provided together.")
    assert len(call(kinesis, "ListShards", NextToken=token, MaxResults=1)["Shards"]) == 1


def test_a_token_of_shards_dies_with_its_stream(clock: HandClock) -> None:
    kinesis = kinesis_of(clock)
    call(kinesis, "CreateStream", StreamName="s", ShardCount=3)
    token = call(kinesis, "ListShards", StreamName="s", MaxResults=1)["NextToken"]
    call(kinesis, "DeleteStream", StreamName="s")
    call(kinesis, "CreateStream", StreamName="s", ShardCount=3)
    assert code_of(kinesis, "ListShards", NextToken=token) == "ExpiredNextTokenException"


@pytest.mark.parametrize(
    "chosen",
    [
        {"Type": "AT_TIMESTAMP"},
        {"Type": "FROM_TIMESTAMP", "ShardId": FIRST},
        {"Type": "AFTER_SHARD_ID"},
        {"Type": "AT_LATEST", "ShardId": FIRST},
        {"Type": "AT_TRIM_HORIZON", "Timestamp": 1},
    ],
)
def test_a_filter_has_what_its_type_needs_and_nothing_else(here: Kinesis, chosen: dict[str, Any]) -> None:
    assert code_of(here, "ListShards", StreamName="s", ShardFilter=chosen) == INVALID


def test_the_time_of_creation_tells_streams_of_one_name_apart(here: Kinesis, clock: HandClock) -> None:
    created = clock.now
    call(here, "ListShards", StreamName="s", StreamCreationTimestamp=created)
    call(here, "ListStreamConsumers", StreamARN=ARN, StreamCreationTimestamp=created)
    for operation in ("ListShards", "ListStreamConsumers"):
        other = {"StreamARN": ARN, "StreamCreationTimestamp": created - 1}
        assert code_of(here, operation, **other) == "ResourceNotFoundException"


@pytest.mark.parametrize("start", [0, 1, 2**128 - 1])
def test_a_shard_is_not_split_at_its_edges(here: Kinesis, start: int) -> None:
    request = {"StreamName": "s", "ShardToSplit": FIRST, "NewStartingHashKey": str(start)}
    error = error_in(here, "SplitShard", **request)
    assert error.code == INVALID
    assert "is not both greater than one plus the shard's StartingHashKey 0 and less than" in str(error)
    assert len(open_ranges(here)) == 1


def test_a_dry_run_does_nothing(here: Kinesis) -> None:
    token, record = iterator(here), {"Data": "", "PartitionKey": "k"}
    for operation, request in (
        ("PutRecord", {"StreamName": "s", **record}),
        ("PutRecords", {"StreamName": "s", "Records": [record]}),
        ("GetShardIterator", {"StreamName": "s", "ShardId": FIRST, "ShardIteratorType": "LATEST"}),
        ("GetRecords", {"ShardIterator": token}),
    ):
        assert code_of(here, operation, **request, DryRun=True) == "DryRunOperationException"
    assert call(here, "GetRecords", ShardIterator=token)["Records"] == []


def test_a_stream_that_is_being_created_is_not_changed(clock: HandClock) -> None:
    slow = Kinesis(Options(create_milliseconds=500), clock)
    call(slow, "CreateStream", StreamName="s", ShardCount=1)
    error = error_in(slow, "SplitShard", StreamName="s", ShardToSplit=FIRST, NewStartingHashKey="5")
    assert (error.code, str(error)) == (
        "ResourceInUseException",
        "Stream s under account 000000000000 not ACTIVE, instead in state CREATING",
    )
    assert code_of(slow, "PutRecord", StreamName="s", Data="", PartitionKey="k") == "ResourceNotFoundException"
