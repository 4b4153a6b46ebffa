"""Each operation of botocore's model is answered or refused on purpose; answers and errors are those of the model."""

import asyncio
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
from botocore.loaders import Loader
from botocore.model import ListShape, MapShape, ServiceModel, Shape, StructureShape
from botocore.validate import ParamValidator
from emulator_calls import FIRST, HandClock, call, encoded, error_in, kinesis_of

from kinesis_emulator.api import REFUSED, Kinesis

MODEL = ServiceModel(Loader().load_service_model("kinesis", "service-2"), "kinesis")
ARN = "arn:aws:kinesis:us-east-1:000000000000:stream/s"
SCALED = {"ScalingType": "UNIFORM_SCALING"}
KMS = {"EncryptionType": "KMS", "KeyId": "alias/aws/kinesis"}
CHANNELS = {"CreateChannel", "DeleteChannel", "DescribeChannel", "ListChannels", "UpdateChannel"}
WITHOUT_STREAM = {"CreateStream", "DescribeAccountSettings", "DescribeLimits", "ListStreams", "UpdateAccountSettings"}
# Where the service itself does not keep to its model: it lists no metrics, and counts no failures (kinesalite's tests).
LAXER = ("ShardLevelMetrics, value: 0, valid min length: 1", "FailedRecordCount, value: 0, valid min value: 1")


def requests(here: Kinesis, clock: HandClock) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each operation that is answered at once, with a request that succeeds; they come in an order that makes sense."""
    name, named = {"StreamName": "s"}, {"ResourceARN": ARN}
    yield "CreateStream", {"StreamName": "s", "ShardCount": 1, "Tags": {"a": "b"}, "MaxRecordSizeInKiB": 2048}
    yield "DescribeStream", name
    yield "DescribeStreamSummary", {"StreamARN": ARN}
    yield "ListStreams", {}
    yield "DescribeLimits", {}
    yield "PutRecord", {**name, "Data": encoded(b"1"), "PartitionKey": "k"}
    yield "PutRecords", {**name, "Records": [{"Data": "", "PartitionKey": "k", "ExplicitHashKey": "0"}]}
    yield "StartStreamEncryption", {**name, **KMS}
    yield "PutRecord", {**name, "Data": encoded(b"2"), "PartitionKey": "k"}
    yield "DescribeStream", name
    yield "StopStreamEncryption", {**name, **KMS}
    request = {**name, "ShardId": FIRST, "ShardIteratorType": "TRIM_HORIZON"}
    yield "GetShardIterator", request
    token = call(here, "GetShardIterator", **request)
    yield "GetRecords", token
    yield "UpdateShardCount", {**name, "TargetShardCount": 2, **SCALED}
    yield "ListShards", {**name, "MaxResults": 1}
    yield (
        "MergeShards",
        {**name, "ShardToMerge": "shardId-000000000001", "AdjacentShardToMerge": "shardId-000000000002"},
    )
    yield "SplitShard", {**name, "ShardToSplit": "shardId-000000000003", "NewStartingHashKey": str(2**127)}
    yield "ListShards", {**name, "ShardFilter": {"Type": "AT_TRIM_HORIZON"}}
    yield "GetRecords", call(here, "GetShardIterator", **request)
    yield "IncreaseStreamRetentionPeriod", {**name, "RetentionPeriodHours": 48}
    yield "DecreaseStreamRetentionPeriod", {**name, "RetentionPeriodHours": 24}
    yield "UpdateMaxRecordSize", {"StreamARN": ARN, "MaxRecordSizeInKiB": 10240}
    yield "EnableEnhancedMonitoring", {**name, "ShardLevelMetrics": ["ALL"]}
    yield "DisableEnhancedMonitoring", {**name, "ShardLevelMetrics": ["IncomingBytes"]}
    yield "AddTagsToStream", {**name, "Tags": {"c": "d"}}
    yield "ListTagsForStream", name
    yield "RemoveTagsFromStream", {**name, "TagKeys": ["c"]}
    yield "RegisterStreamConsumer", {"StreamARN": ARN, "ConsumerName": "c", "Tags": {"e": "f"}}
    yield "DescribeStreamConsumer", {"StreamARN": ARN, "ConsumerName": "c"}
    yield "ListStreamConsumers", {"StreamARN": ARN}
    yield "TagResource", {**named, "Tags": {"g": "h"}}
    yield "ListTagsForResource", named
    yield "UntagResource", {**named, "TagKeys": ["g"]}
    yield "PutResourcePolicy", {**named, "Policy": '{"Version": "2012-10-17"}'}
    yield "GetResourcePolicy", named
    yield "DeleteResourcePolicy", named
    yield "GetResourcePolicy", named
    yield "DescribeAccountSettings", {}
    yield "UpdateAccountSettings", {"MinimumThroughputBillingCommitment": {"Status": "ENABLED"}}
    yield "UpdateAccountSettings", {"MinimumThroughputBillingCommitment": {"Status": "DISABLED"}}
    on_demand = {"StreamARN": ARN, "StreamModeDetails": {"StreamMode": "ON_DEMAND"}}
    yield "UpdateStreamMode", on_demand
    yield "UpdateStreamWarmThroughput", {**name, "WarmThroughputMiBps": 100}
    yield "UpdateStreamRecordDistributionStrategy", {"StreamARN": ARN, "RecordDistributionStrategy": "AUTO"}
    yield "DescribeStreamSummary", name
    clock.now += 48 * 3600
    yield "DescribeAccountSettings", {}
    yield "DeregisterStreamConsumer", {"StreamARN": ARN, "ConsumerName": "c"}
    yield "DeleteStream", name


def test_each_operation_is_answered_or_refused_on_purpose_and_its_answers_have_the_models_shapes(
    clock: HandClock,
) -> None:
    here = kinesis_of(clock)
    answered = {"SubscribeToShard"}
    for operation, request in requests(here, clock):
        answer = call(here, operation, **request)
        assert_shaped(answer, MODEL.operation_model(operation).output_shape, operation)
        answered.add(operation)
    assert set(REFUSED) == CHANNELS
    assert answered | CHANNELS == set(MODEL.operation_names)
    assert set(here.operations) | {"SubscribeToShard"} == set(MODEL.operation_names)


def test_the_events_of_a_subscription_have_the_models_shape(here: Kinesis) -> None:
    call(here, "PutRecord", StreamName="s", Data=encoded(b"1"), PartitionKey="k")
    arn = call(here, "RegisterStreamConsumer", StreamARN=ARN, ConsumerName="c")["Consumer"]["ConsumerARN"]
    position = {"Type": "TRIM_HORIZON"}
    subscription = here.subscriptions.subscribe({"ConsumerARN": arn, "ShardId": FIRST, "StartingPosition": position})

    async def first() -> bytes:
        events = subscription.events()
        taken = await anext(events)
        await events.aclose()
        return taken

    output = MODEL.operation_model("SubscribeToShard").output_shape
    assert isinstance(output, StructureShape)
    stream = output.members["EventStream"]
    assert isinstance(stream, StructureShape)
    assert_shaped(orjson.loads(asyncio.run(first())), stream.members["SubscribeToShardEvent"], "SubscribeToShard")


def test_a_stream_that_is_not_there_is_refused_with_an_error_of_the_model(clock: HandClock) -> None:
    asked: dict[str, dict[str, Any]] = {}
    source = kinesis_of(clock)
    for operation, request in requests(source, clock):
        call(source, operation, **request)
        asked.setdefault(operation, request)
    empty = kinesis_of(HandClock())
    for operation in sorted(asked.keys() - WITHOUT_STREAM):
        known = {shape.name for shape in MODEL.operation_model(operation).error_shapes}
        assert error_in(empty, operation, **asked[operation]).code == "ResourceNotFoundException"
        assert "ResourceNotFoundException" in known, operation


def test_help_and_the_readme_name_each_operation() -> None:
    command = [sys.executable, "-m", "kinesis_emulator", "--help"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    readme = (Path(__file__).parents[3] / "packages/kinesis-emulator/README.md").read_text()
    for text in (shown, readme):
        assert set(MODEL.operation_names) <= set(re.findall(r"\w+", text))


def assert_shaped(answer: Any, shape: Shape | None, operation: str) -> None:
    """Every member is of the model and of its type, and all that the model requires are there."""
    if shape is None:
        assert answer == {}, operation
        return
    errors = ParamValidator().validate(answer, shape).generate_report().splitlines()
    errors = [error for error in errors if not error.endswith(LAXER)]
    assert not errors, f"{operation}: {errors}"
    assert_known(answer, shape, operation)


def assert_known(value: Any, shape: Shape, path: str) -> None:
    if isinstance(shape, StructureShape):
        for name, member in value.items():
            assert name in shape.members, f"{path}.{name} is not of the model"
            assert_known(member, shape.members[name], f"{path}.{name}")
    elif isinstance(shape, ListShape):
        for member in value:
            assert_known(member, shape.member, path)
    elif isinstance(shape, MapShape):
        for member in value.values():
            assert_known(member, shape.value, path)
