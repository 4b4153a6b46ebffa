"""What a shard takes and gives in a second, and what one call may hold."""

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError
from emulator_calls import (
    HandClock,
    call,
    client_of,
    code_of,
    data,
    encoded,
    error_in,
    iterator,
    kinesis_of,
    put,
    put_all,
    read_all,
)

from kinesis_emulator import running_emulator
from kinesis_emulator.api import Kinesis

MIB = 1024 * 1024
TOO_FAST = "ProvisionedThroughputExceededException"


@pytest.fixture
def limited(clock: HandClock) -> Kinesis:
    one = kinesis_of(clock, limits=True)
    call(one, "CreateStream", StreamName="s", ShardCount=1)
    return one


def get(kinesis: Kinesis, token: str, **more: Any) -> dict[str, Any]:
    return call(kinesis, "GetRecords", ShardIterator=token, **more)


def fill(kinesis: Kinesis, clock: HandClock, megabytes: int) -> None:
    """Put records of just under 1 MiB, as fast as the shard takes them."""
    for _ in range(megabytes):
        put(kinesis, b"x" * (MIB - 1))
        clock.now += 1


def test_the_sixth_read_within_a_second_is_refused() -> None:
    with running_emulator(arguments=("--limits", "--create-milliseconds", "0")) as endpoint:
        kinesis = client_of(endpoint)
        kinesis.create_stream(StreamName="limited", ShardCount=1)
        token = kinesis.get_shard_iterator(
            StreamName="limited", ShardId="shardId-000000000000", ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        codes = []
        for _ in range(8):
            try:
                kinesis.get_records(ShardIterator=token)
            except ClientError as error:
                codes.append(error.response["Error"]["Code"])
        assert set(codes) == {TOO_FAST}


def test_a_shard_is_read_five_times_a_second_whatever_comes_of_it(limited: Kinesis, clock: HandClock) -> None:
    token = iterator(limited)
    for _ in range(5):
        get(limited, token)
        clock.now += 0.125
    assert code_of(limited, "GetRecords", ShardIterator=token) == TOO_FAST
    clock.now += 0.5
    get(limited, token)


def test_a_mebibyte_of_data_and_keys_is_taken_a_second_and_refused_records_are_named(
    limited: Kinesis, clock: HandClock
) -> None:
    records = [{"Data": encoded(b"x" * (MIB // 4 - 1)), "PartitionKey": "k"}] * 6
    answer = call(limited, "PutRecords", StreamName="s", Records=records)
    assert [record.get("ErrorCode") for record in answer["Records"]] == [None] * 4 + [TOO_FAST] * 2
    assert answer["FailedRecordCount"] == 2
    assert code_of(limited, "PutRecord", StreamName="s", Data="", PartitionKey="k") == TOO_FAST
    clock.now += 1
    put(limited, b"x" * (MIB - 1))


def test_a_thousand_records_are_taken_a_second(limited: Kinesis, clock: HandClock) -> None:
    records = [{"Data": "", "PartitionKey": "k"}] * 500
    for _ in range(2):
        assert call(limited, "PutRecords", StreamName="s", Records=records)["FailedRecordCount"] == 0
    assert call(limited, "PutRecords", StreamName="s", Records=records)["FailedRecordCount"] == 500
    clock.now += 1
    assert call(limited, "PutRecords", StreamName="s", Records=records)["FailedRecordCount"] == 0


def test_reads_are_counted_by_their_bytes_of_data_not_by_those_of_the_answer(
    limited: Kinesis, clock: HandClock
) -> None:
    # In base64, with its sequence number and its time, a record of ten bytes takes some fifteen times that.
    for _ in range(8):
        records = [{"Data": encoded(b"0123456789"), "PartitionKey": "k"}] * 500
        for _ in range(2):
            call(limited, "PutRecords", StreamName="s", Records=records)
        clock.now += 1
    token = iterator(limited)
    for _ in range(5):
        assert len(get(limited, token)["Records"]) == 8000


def test_after_two_mebibytes_the_next_read_waits_for_the_second_to_pass(limited: Kinesis, clock: HandClock) -> None:
    fill(limited, clock, 4)
    token = get(limited, iterator(limited), Limit=3)["NextShardIterator"]
    assert code_of(limited, "GetRecords", ShardIterator=token) == TOO_FAST
    clock.now += 1
    assert len(get(limited, token)["Records"]) == 1


def test_an_answer_holds_ten_mebibytes_of_data_and_the_shard_then_rests_for_five_seconds(
    limited: Kinesis, clock: HandClock
) -> None:
    fill(limited, clock, 12)
    answer = get(limited, iterator(limited))
    assert len(answer["Records"]) == 10
    clock.now += 4.9
    assert code_of(limited, "GetRecords", ShardIterator=answer["NextShardIterator"]) == TOO_FAST
    clock.now += 0.2
    assert len(get(limited, answer["NextShardIterator"])["Records"]) == 2


@pytest.mark.parametrize("seconds", [-3600, 3600])
def test_limits_hold_on_after_the_clock_was_set(limited: Kinesis, clock: HandClock, seconds: float) -> None:
    def refused_after(call_once: Callable[[], object]) -> int:
        for number in range(20):
            try:
                call_once()
            except Exception:
                return number
        return 20

    token = iterator(limited)
    assert refused_after(lambda: get(limited, token)) == 5
    clock.now += seconds
    token = iterator(limited)
    assert refused_after(lambda: get(limited, token)) == 5


def test_a_put_call_has_at_most_ten_mebibytes(here: Kinesis) -> None:
    record = {"Data": encoded(b"x" * (MIB - 1)), "PartitionKey": "k"}
    assert call(here, "PutRecords", StreamName="s", Records=[record] * 10)["FailedRecordCount"] == 0
    more = [*[record] * 10, {"Data": "", "PartitionKey": "k"}]
    assert code_of(here, "PutRecords", StreamName="s", Records=more) == "InvalidArgumentException"


def test_a_record_is_as_large_as_its_stream_allows_with_its_key(here: Kinesis) -> None:
    def told(size: int) -> str:
        record = {"Data": encoded(b"x" * size), "PartitionKey": "k"}
        single = str(error_in(here, "PutRecord", StreamName="s", **record))
        several = str(error_in(here, "PutRecords", StreamName="s", Records=[{"Data": "", "PartitionKey": "k"}, record]))
        assert several == single.replace("'data'", "'records.2.member.data'")
        return single

    constraint = "1 validation error detected: Value at 'data' failed to satisfy constraint: Member must have length"
    put(here, b"x" * (MIB - 1))
    assert told(MIB) == f"{constraint} less than or equal to {MIB}"
    arn = "arn:aws:kinesis:us-east-1:000000000000:stream/s"
    call(here, "UpdateMaxRecordSize", StreamARN=arn, MaxRecordSizeInKiB=5000)
    put(here, b"x" * (5000 * 1024 - 1))
    assert told(5000 * 1024) == f"{constraint} less than or equal to {5000 * 1024}"
    call(here, "UpdateMaxRecordSize", StreamARN=arn, MaxRecordSizeInKiB=10240)
    put(here, b"x" * (10 * MIB - 1))
    assert told(10 * MIB) == f"{constraint} less than or equal to {10 * MIB}"
    assert told(10 * MIB + 1) == f"{constraint} less than or equal to {10 * MIB}"
    for kib in (1023, 10241):
        assert code_of(here, "UpdateMaxRecordSize", StreamARN=arn, MaxRecordSizeInKiB=kib) == "ValidationException"


def test_a_record_of_ten_mebibytes_is_put_and_read_by_boto3() -> None:
    with running_emulator(arguments=("--create-milliseconds", "0")) as endpoint:
        kinesis = client_of(endpoint)
        kinesis.create_stream(StreamName="large", ShardCount=1, MaxRecordSizeInKiB=10240)
        assert (
            kinesis.describe_stream_summary(StreamName="large")["StreamDescriptionSummary"]["MaxRecordSizeInKiB"]
            == 10240
        )
        value = bytes(range(256)) * (10 * MIB // 256)
        put_all(kinesis, "large", value[:-1])
        assert data(read_all(kinesis, "large")) == [value[:-1]]


def test_a_shard_takes_a_large_record_at_once_and_the_next_once_it_has_recovered(clock: HandClock) -> None:
    limited = kinesis_of(clock, limits=True)
    call(limited, "CreateStream", StreamName="s", ShardCount=1, MaxRecordSizeInKiB=10240)
    large = {"StreamName": "s", "Data": encoded(b"x" * (10 * MIB - 1)), "PartitionKey": "k"}
    call(limited, "PutRecord", **large)
    put(limited, b"small")
    assert code_of(limited, "PutRecord", **large) == TOO_FAST
    clock.now += 9
    assert code_of(limited, "PutRecord", **large) == TOO_FAST
    clock.now += 1
    call(limited, "PutRecord", **large)
