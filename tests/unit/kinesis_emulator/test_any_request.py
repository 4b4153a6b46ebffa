"""Whatever is asked, in whatever order: an answer or an error of the API, and a restart that gives the same state."""

import logging
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from botocore.loaders import Loader
from botocore.model import ListShape, MapShape, ServiceModel, Shape, StringShape, StructureShape
from emulator_calls import FIRST, HandClock, call, kinesis_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kinesis_emulator.api import REFUSED, Kinesis
from kinesis_emulator.errors import KinesisError

MODEL = ServiceModel(Loader().load_service_model("kinesis", "service-2"), "kinesis")
ARN = "arn:aws:kinesis:us-east-1:000000000000:stream/s"
# Values that fit somewhere, so that requests get beyond the check of the model.
FITTING: dict[str, list[Any]] = {
    "StreamName": ["s", "t"],
    "StreamARN": [ARN],
    "ResourceARN": [ARN, f"{ARN}/consumer/c:1700000000"],
    "ConsumerARN": [f"{ARN}/consumer/c:1700000000"],
    "ConsumerName": ["c"],
    "ShardId": [FIRST, "shardId-000000000001", "shardId-000000000002"],
    "HashKey": ["0", "2", "12345", str(2**127), str(2**128 - 1), str(2**128)],
    "PositiveIntegerObject": [1, 2, 3, 4],
    "RetentionPeriodHours": [24, 48, 8760],
    "MaxRecordSizeInKiB": [1024, 10240],
    "NaturalIntegerObject": [0, 100],
    "Timestamp": [0, 1_700_000_000.0],
    "Data": ["", "AAAA"],
    "PartitionKey": ["k"],
    "Policy": ["{}"],
    "KeyId": ["alias/aws/kinesis"],
    "TagKey": ["a", "b"],
    "TagValue": ["", "1"],
    "BooleanObject": [True, False],
    "ShardIterator": ["AAAA"],
}
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
ANYTHING = st.recursive(SCALARS, lambda one: st.lists(one, max_size=2) | st.dictionaries(st.text(max_size=3), one))


def fitting(shape: Shape) -> st.SearchStrategy[Any]:
    """Values of a shape that are more or less right; of members that may be absent, those that something fits."""
    if isinstance(shape, StructureShape):
        wanted = {name: fitting(member) for name, member in shape.members.items()}
        needed = {*shape.required_members, "StreamName", "PartitionKey"} & wanted.keys()
        optional = {name: one for name, one in wanted.items() if name not in needed and not one.is_empty}
        return st.fixed_dictionaries({name: wanted[name] for name in needed}, optional=optional)
    if isinstance(shape, ListShape):
        return st.lists(fitting(shape.member), min_size=1, max_size=3)
    if isinstance(shape, MapShape):
        return st.dictionaries(fitting(shape.key), fitting(shape.value), min_size=1, max_size=3)
    if isinstance(shape, StringShape) and shape.enum:
        return st.sampled_from(shape.enum)
    return st.sampled_from(FITTING[shape.name]) if shape.name in FITTING else st.nothing()


def request_of(operation: str) -> st.SearchStrategy[tuple[str, dict[str, Any]]]:
    """Requests of an operation; in one of four, a member is anything that JSON can hold."""
    shape = MODEL.operation_model(operation).input_shape
    assert isinstance(shape, StructureShape)
    right = fitting(shape)
    wrong = right.flatmap(
        lambda request: st.builds(
            lambda name, value: {**request, name: value}, st.sampled_from(list(shape.members) or ["Colour"]), ANYTHING
        )
    )
    chosen = st.integers(0, 3).flatmap(lambda n: right if n else wrong)
    return st.tuples(st.just(operation), chosen)


REQUESTS = st.one_of([request_of(operation) for operation in sorted(set(MODEL.operation_names) - REFUSED.keys())])


def state_of(kinesis: Kinesis) -> dict[str, Any]:
    """All that the API shows."""
    state: dict[str, Any] = {"account": call(kinesis, "DescribeAccountSettings")}
    for name in call(kinesis, "ListStreams")["StreamNames"]:
        summary = call(kinesis, "DescribeStreamSummary", StreamName=name)
        arn = summary["StreamDescriptionSummary"]["StreamARN"]
        shards = call(kinesis, "ListShards", StreamName=name)["Shards"]
        state[name] = {
            "summary": summary,
            "shards": shards,
            "tags": call(kinesis, "ListTagsForResource", ResourceARN=arn),
            "policy": call(kinesis, "GetResourcePolicy", ResourceARN=arn),
            "consumers": call(kinesis, "ListStreamConsumers", StreamARN=arn),
            "records": [records(kinesis, name, shard["ShardId"]) for shard in shards],
        }
    return state


def records(kinesis: Kinesis, stream: str, shard: str) -> Any:
    request = {"StreamName": stream, "ShardId": shard, "ShardIteratorType": "TRIM_HORIZON"}
    return call(kinesis, "GetRecords", **call(kinesis, "GetShardIterator", **request))["Records"]


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(requests=st.lists(REQUESTS, max_size=25))
def test_any_requests_are_answered_or_refused_and_a_restart_gives_the_same_state(
    requests: list[tuple[str, dict[str, Any]]],
) -> None:
    clock = HandClock()
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patched:
        said: list[str] = []
        patched.setattr(logging.getLogger("kinesis_emulator"), "handlers", [_Kept(said)])
        kinesis = kinesis_of(clock, data_dir=Path(folder))
        call(kinesis, "CreateStream", StreamName="s", ShardCount=2)
        call(kinesis, "RegisterStreamConsumer", StreamARN=ARN, ConsumerName="c")
        for operation, request in requests:
            clock.now += 1
            # Any other error is a fault of the emulator.
            with suppress(KinesisError):
                if operation == "SubscribeToShard":
                    kinesis.subscriptions.subscribe(request)
                else:
                    call(kinesis, operation, **request)
        before = state_of(kinesis)
        kinesis.close()
        again = kinesis_of(clock, data_dir=Path(folder))
        assert state_of(again) == before
        assert said == []
        again.close()


class _Kept(logging.Handler):
    """Keeps what is logged."""

    def __init__(self, kept: list[str]) -> None:
        super().__init__()
        self._kept = kept

    def emit(self, record: logging.LogRecord) -> None:
        self._kept.append(record.getMessage())
