"""The emulator against botocore's model of the service: no operation is missing, and requests are held against it."""

from typing import Any

import pytest
from botocore.loaders import Loader
from botocore.model import ListShape, MapShape, ServiceModel, Shape, StringShape, StructureShape
from emulator_calls import FIRST, HandClock, call, error_in, kinesis_of

from kinesis_emulator.api import REFUSED, Kinesis
from kinesis_emulator.service.requests import _MODEL

MODEL = ServiceModel(Loader().load_service_model("kinesis", "service-2"), "kinesis")
STALE = "run scripts/kinesis_service.py, and look at what changed"


@pytest.mark.parametrize("operation", sorted(REFUSED))
def test_a_refused_operation_says_so_and_why(here: Kinesis, operation: str) -> None:
    error = error_in(here, operation)
    assert error.code == "UnknownOperationException"
    assert str(error).startswith(f"{operation} is not emulated: channels deliver to S3")


def test_the_table_is_botocores_model() -> None:
    seen: set[str] = set()

    def same(shape: Shape) -> None:
        if shape.name in seen:
            return
        seen.add(shape.name)
        ours = _MODEL["shapes"][shape.name]
        constraints = {key: value for key, value in shape.metadata.items() if key in ("min", "max", "pattern")}
        expected: dict[str, Any] = {"type": shape.type_name, **constraints}
        if isinstance(shape, StringShape) and shape.enum:
            expected["enum"] = shape.enum
        if isinstance(shape, StructureShape):
            expected["members"] = {name: member.name for name, member in shape.members.items()}
            if shape.required_members:
                expected["required"] = shape.required_members
            for member in shape.members.values():
                same(member)
        if isinstance(shape, ListShape):
            expected["member"] = shape.member.name
            same(shape.member)
        if isinstance(shape, MapShape):
            expected |= {"key": shape.key.name, "value": shape.value.name}
            same(shape.key)
            same(shape.value)
        assert ours == expected, f"{shape.name}: {STALE}"

    for name in MODEL.operation_names:
        shape = MODEL.operation_model(name).input_shape
        assert shape is not None
        assert _MODEL["operations"][name] == shape.name, STALE
        same(shape)
    assert seen == set(_MODEL["shapes"]), STALE


VALIDATION, SERIALIZATION = "ValidationException", "SerializationException"
AT_LEAST_1 = "Member must have length greater than or equal to 1"
TYPES = "[AT_SEQUENCE_NUMBER, AFTER_SEQUENCE_NUMBER, TRIM_HORIZON, LATEST, AT_TIMESTAMP]"


@pytest.mark.parametrize(
    ("operation", "request_", "violations"),
    [
        (
            "CreateStream",
            {"StreamName": "a b", "ShardCount": 0},
            {
                "'a b' at 'streamName'": "Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+",
                "'0' at 'shardCount'": "Member must have value greater than or equal to 1",
            },
        ),
        ("CreateStream", {"StreamName": "s2"}, {"null at 'shardCount'": "Member must not be null"}),
        (
            "GetRecords",
            {"ShardIterator": "x", "Limit": 10001},
            {"'10001' at 'limit'": "Member must have value less than or equal to 10000"},
        ),
        ("GetRecords", {"Limit": 1, "ShardIterator": None}, {"null at 'shardIterator'": "Member must not be null"}),
        (
            "GetShardIterator",
            {"StreamName": "s", "ShardId": FIRST, "ShardIteratorType": "OLDEST"},
            {"'OLDEST' at 'shardIteratorType'": f"Member must satisfy enum value set: {TYPES}"},
        ),
        (
            "GetShardIterator",
            {"ShardId": FIRST, "ShardIteratorType": "AT_SEQUENCE_NUMBER", "StartingSequenceNumber": "007"},
            {
                "'007' at 'startingSequenceNumber'": "Member must satisfy regular expression pattern: "
                r"^(0|([1-9]\d{0,128}))$"
            },
        ),
        ("PutRecords", {"StreamName": "s", "Records": []}, {"at 'records'": AT_LEAST_1}),
        (
            "PutRecords",
            {"StreamName": "s", "Records": [{"Data": "AAAA", "PartitionKey": "k"}] * 501},
            {"at 'records'": "Member must have length less than or equal to 500"},
        ),
        (
            "PutRecords",
            {"StreamName": "s", "Records": [{"Data": "", "PartitionKey": "k"}, {"PartitionKey": ""}]},
            {
                "null at 'records.2.member.data'": "Member must not be null",
                "'' at 'records.2.member.partitionKey'": AT_LEAST_1,
            },
        ),
        (
            "AddTagsToStream",
            {"StreamName": "s", "Tags": {"": "b"}},
            {
                "'{=b}' at 'tags'": "Map keys must satisfy constraint: [Member must have length less than or equal to "
                f"128, {AT_LEAST_1}]"
            },
        ),
    ],
)
def test_a_request_that_breaks_a_constraint_is_refused_in_the_services_words(
    here: Kinesis, operation: str, request_: dict[str, Any], violations: dict[str, str]
) -> None:
    error = error_in(here, operation, **request_)
    texts = [f"Value {value} failed to satisfy constraint: {what}" for value, what in violations.items()]
    detected = f"{len(texts)} validation error{'s' if len(texts) > 1 else ''} detected"
    assert (error.code, error.status) == (VALIDATION, 400)
    assert str(error) == f"{detected}: {'; '.join(texts)}"


def test_at_most_ten_violations_are_told(here: Kinesis) -> None:
    records = [{"Data": "AAAA", "PartitionKey": ""}] * 20
    assert str(error_in(here, "PutRecords", Records=records)).startswith("10 validation errors detected: ")


@pytest.mark.parametrize(
    ("operation", "request_", "message"),
    [
        ("AddTagsToStream", {"Tags": "abc"}, "Expected map or null"),
        ("AddTagsToStream", {"Tags": ["a"]}, "Start of list found where not expected"),
        ("PutRecords", {"Records": {}}, "Start of structure or map found where not expected."),
        ("PutRecords", {"Records": "a"}, "Expected list or null"),
        ("UpdateStreamMode", {"StreamModeDetails": "x"}, "Expected null"),
        ("CreateStream", {"ShardCount": "1"}, "class java.lang.String can not be converted to an Integer"),
        (
            "CreateStream",
            {"StreamName": 5},
            "class com.amazon.coral.value.json.numbers.TruncatingBigNumber can not be converted to an String",
        ),
        ("CreateStream", {"StreamName": True}, "class java.lang.Boolean can not be converted to an String"),
        ("MergeShards", {"ShardToMerge": ["a"]}, "Start of list found where not expected"),
        ("PutRecord", {"Data": "A!=="}, "'A!==' can not be converted to a Blob: Only base64 data is allowed"),
        ("PutRecord", {"Data": "AB=="}, "'AB==' can not be converted to a Blob: Invalid last non-pad Base64 character"),
        ("PutRecord", {"Data": "AAA"}, "'AAA' can not be converted to a Blob: Incorrect padding"),
        (
            "GetShardIterator",
            {"Timestamp": "2026-01-01"},
            "class java.lang.String can not be converted to milliseconds since epoch",
        ),
        (
            "DeleteStream",
            {"EnforceConsumerDeletion": "yes"},
            "class java.lang.String can not be converted to an Boolean",
        ),
    ],
)
def test_a_value_of_another_type_is_refused_in_the_services_words(
    here: Kinesis, operation: str, request_: dict[str, Any], message: str
) -> None:
    error = error_in(here, operation, **{"StreamName": "s", **request_})
    assert (error.code, error.status) == (SERIALIZATION, 400)
    assert str(error).startswith(message)


def test_members_that_the_model_does_not_know_are_ignored_and_null_is_absent(here: Kinesis) -> None:
    call(here, "PutRecord", StreamName="s", StreamARN=None, Data="", PartitionKey="k", ExplicitHashKey=None, Colour=1)


def test_fractions_of_whole_numbers_are_cut_off(clock: HandClock) -> None:
    kinesis = kinesis_of(clock)
    call(kinesis, "CreateStream", StreamName="s", ShardCount=2.9)
    assert len(call(kinesis, "ListShards", StreamName="s")["Shards"]) == 2


@pytest.mark.parametrize("number", [float("inf"), float("nan")])
def test_numbers_beyond_all_bounds_are_refused(here: Kinesis, number: float) -> None:
    request = {"StreamName": "s", "ShardId": FIRST, "ShardIteratorType": "AT_TIMESTAMP", "Timestamp": number}
    assert error_in(here, "GetShardIterator", **request).code == SERIALIZATION
    assert error_in(here, "CreateStream", StreamName="t", ShardCount=number).code == SERIALIZATION
