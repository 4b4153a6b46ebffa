"""Sequence numbers belong to a stream's creation and a shard; positions that are none are refused as by AWS."""

from pathlib import Path
from typing import Any

import pytest
from emulator_calls import FIRST, HandClock, call, encoded, error_in, iterator, kinesis_of, put, read

from kinesis_emulator.api import Kinesis

SECOND = "shardId-000000000001"
INVALID = "InvalidArgumentException"
BY_NUMBER = ("AT_SEQUENCE_NUMBER", "AFTER_SEQUENCE_NUMBER")


def refused(kinesis: Kinesis, kind: str, shard: str = FIRST, **more: Any) -> str:
    error = error_in(kinesis, "GetShardIterator", StreamName="s", ShardId=shard, ShardIteratorType=kind, **more)
    assert error.code == INVALID
    return str(error)


def made_again(kinesis: Kinesis, shards: int = 1) -> None:
    call(kinesis, "DeleteStream", StreamName="s")
    call(kinesis, "CreateStream", StreamName="s", ShardCount=shards)


@pytest.fixture
def two(clock: HandClock) -> Kinesis:
    """With a stream ``s`` of two shards."""
    kinesis = kinesis_of(clock)
    call(kinesis, "CreateStream", StreamName="s", ShardCount=2)
    return kinesis


def put_into(kinesis: Kinesis, shard: int) -> str:
    record = {"Data": encoded(b"x"), "PartitionKey": "k", "ExplicitHashKey": str(shard * 2**127)}
    return str(call(kinesis, "PutRecord", StreamName="s", **record)["SequenceNumber"])


@pytest.mark.parametrize("kind", BY_NUMBER)
def test_a_stream_that_is_made_again_has_other_numbers_and_refuses_those_from_before(here: Kinesis, kind: str) -> None:
    old = [put(here, value) for value in ("1", "2", "3")]
    made_again(here)
    new = [put(here, value) for value in ("4", "5", "6")]
    assert not set(old) & set(new)
    assert min(map(int, new)) > max(map(int, old))
    for number in old:
        assert refused(here, kind, StartingSequenceNumber=number) == (
            f"StartingSequenceNumber {number} used in GetShardIterator on shard {FIRST} in stream s under account "
            "000000000000 is invalid because it did not come from this stream."
        )
    assert read(here, iterator(here, ShardIteratorType=kind, StartingSequenceNumber=new[1]))[-1] == "6"


def test_a_stream_made_again_after_a_restart_has_other_numbers_too(clock: HandClock, tmp_path: Path) -> None:
    kinesis = kinesis_of(clock, data_dir=tmp_path)
    call(kinesis, "CreateStream", StreamName="s", ShardCount=1)
    numbers = [put(kinesis, "1")]
    for _ in range(3):
        kinesis.close()
        kinesis = kinesis_of(clock, data_dir=tmp_path)
        assert read(kinesis, iterator(kinesis, ShardIteratorType=BY_NUMBER[0], StartingSequenceNumber=numbers[-1]))
        made_again(kinesis)
        numbers.append(put(kinesis, "1"))
    assert len(set(numbers)) == 4
    # Even where the clock was set back meanwhile.
    clock.now -= 3600
    made_again(kinesis)
    assert int(put(kinesis, "1")) > max(map(int, numbers))


@pytest.mark.parametrize("kind", BY_NUMBER)
def test_a_number_of_another_shard_is_refused(two: Kinesis, kind: str) -> None:
    first, second = put_into(two, 0), put_into(two, 1)
    for number, of, shard in ((first, FIRST, SECOND), (second, SECOND, FIRST)):
        assert refused(two, kind, shard, StartingSequenceNumber=number) == (
            f"Invalid StartingSequenceNumber. It encodes {of}, while it was used in a call to a shard with {shard}"
        )


@pytest.mark.parametrize("kind", BY_NUMBER)
def test_a_number_that_was_never_given_out_is_refused(two: Kinesis, kind: str) -> None:
    later = kinesis_of(HandClock())
    call(later, "CreateStream", StreamName="s", ShardCount=2)
    for _ in range(2):
        last = put_into(later, 0)
    put_into(two, 0)
    # The twin's clock and stream are the same, and so are its numbers; this one is ahead of all there is.
    for number in ("0", "1", "9" + "0" * 55, str(int(last) + 1), str(10**100), last):
        assert refused(two, kind, StartingSequenceNumber=number) == (
            f"StartingSequenceNumber {number} used in GetShardIterator on shard {FIRST} in stream s under account "
            "000000000000 is invalid."
        )


def test_the_numbers_that_a_shard_begins_and_ends_with_are_positions(here: Kinesis) -> None:
    put(here, "1")
    call(here, "SplitShard", StreamName="s", ShardToSplit=FIRST, NewStartingHashKey=str(2**127))
    numbers = call(here, "ListShards", StreamName="s")["Shards"][0]["SequenceNumberRange"]
    begin, end = numbers["StartingSequenceNumber"], numbers["EndingSequenceNumber"]
    for kind in BY_NUMBER:
        assert read(here, iterator(here, ShardIteratorType=kind, StartingSequenceNumber=begin)) == ["1"]
        assert read(here, iterator(here, ShardIteratorType=kind, StartingSequenceNumber=end)) == []


def test_children_have_greater_numbers_than_their_parents(here: Kinesis) -> None:
    before = int(put(here, "1"))
    call(here, "SplitShard", StreamName="s", ShardToSplit=FIRST, NewStartingHashKey=str(2**127))
    parent, *children = call(here, "ListShards", StreamName="s")["Shards"]
    end = int(parent["SequenceNumberRange"]["EndingSequenceNumber"])
    begins = [int(child["SequenceNumberRange"]["StartingSequenceNumber"]) for child in children]
    assert before < end < min(begins) < int(put(here, "2"))


def test_a_number_of_a_record_that_has_aged_out_goes_on_with_the_oldest_left(here: Kinesis, clock: HandClock) -> None:
    number = put(here, "old")
    clock.now += 23 * 3600
    put(here, "new")
    clock.now += 2 * 3600
    assert read(here, iterator(here, ShardIteratorType="AFTER_SEQUENCE_NUMBER", StartingSequenceNumber=number)) == [
        "new"
    ]


def test_times_of_the_future_are_refused_and_now_is_not(here: Kinesis, clock: HandClock) -> None:
    now = clock.now
    assert read(here, iterator(here, ShardIteratorType="AT_TIMESTAMP", Timestamp=now)) == []
    assert refused(here, "AT_TIMESTAMP", Timestamp=now + 0.001) == (
        "The timestampInMillis parameter cannot be greater than the currentTimestampInMillis. timestampInMillis: "
        f"{round(now * 1000) + 1}, currentTimestampInMillis: {round(now * 1000)}"
    )
    assert refused(here, "AT_TIMESTAMP").startswith("Must specify timestampInMillis parameter for iterator of type AT_")


@pytest.mark.parametrize("kind", ["TRIM_HORIZON", "LATEST", "AT_TIMESTAMP"])
def test_a_number_goes_with_types_that_want_one_only(here: Kinesis, clock: HandClock, kind: str) -> None:
    assert refused(here, kind, StartingSequenceNumber=put(here, "1"), Timestamp=clock.now).endswith(
        f"Request specified {kind} and also a StartingSequenceNumber."
    )


@pytest.mark.parametrize("kind", BY_NUMBER)
def test_types_that_want_a_number_are_refused_without(here: Kinesis, kind: str) -> None:
    assert refused(here, kind).endswith(f"Request specified {kind} and no StartingSequenceNumber.")


def test_an_ordering_number_that_the_stream_never_gave_out_is_refused(here: Kinesis) -> None:
    number = put(here, "1")
    request = {"StreamName": "s", "Data": "", "PartitionKey": "k"}
    call(here, "PutRecord", **request, SequenceNumberForOrdering=number)
    made_again(here)
    for wrong in (number, "5"):
        error = error_in(here, "PutRecord", **request, SequenceNumberForOrdering=wrong)
        assert error.code == INVALID
        assert str(error) == (
            f"ExclusiveMinimumSequenceNumber {wrong} used in PutRecord on stream s under account 000000000000 is "
            "invalid."
        )


@pytest.mark.parametrize("token", ["AAAA", "W10=", "WyJzIiwgMSwgMiwgMywgNF0=", "WyJzIiwgInMiLCAicyIsIDEsIDBd", "é"])
def test_an_iterator_that_is_made_up_is_refused(here: Kinesis, token: str) -> None:
    error = error_in(here, "GetRecords", ShardIterator=token)
    assert (error.code, str(error)) == (INVALID, "Invalid ShardIterator.")
