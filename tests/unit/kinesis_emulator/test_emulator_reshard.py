"""Shards that are split, merged and resized, and streams that are made anew under an old name."""

from itertools import pairwise
from pathlib import Path

import pytest
from emulator_calls import FIRST, HandClock, call, code_of, iterator, kinesis_of, open_ranges, put, read

from kinesis_emulator.api import Kinesis

ALL = 2**128


def resize(kinesis: Kinesis, target: int) -> None:
    call(kinesis, "UpdateShardCount", StreamName="s", TargetShardCount=target, ScalingType="UNIFORM_SCALING")


def assert_uniform(kinesis: Kinesis, shards: int) -> None:
    """Hash ranges that follow one another over all keys, of lengths that differ by rounding only."""
    ranges = open_ranges(kinesis)
    assert len(ranges) == shards
    assert (ranges[0][0], ranges[-1][1]) == (0, ALL - 1)
    assert all(end + 1 == start for (_, end), (start, _) in pairwise(ranges))
    assert max(abs(end + 1 - start - ALL // shards) for start, end in ranges) <= 2 * shards


@pytest.mark.parametrize("targets", [(2, 3, 5, 7, 4, 2, 1), (2, 4, 3, 6, 3), (2, 1, 2, 3, 2, 4)])
def test_an_updated_shard_count_is_uniform_whatever_was_before(here: Kinesis, targets: tuple[int, ...]) -> None:
    for target in targets:
        resize(here, target)
        assert_uniform(here, target)


def test_an_uneven_split_is_evened_out_by_the_next_resize(here: Kinesis) -> None:
    call(here, "SplitShard", StreamName="s", ShardToSplit=FIRST, NewStartingHashKey="12345")
    resize(here, 3)
    assert_uniform(here, 3)
    resize(here, 3)
    assert_uniform(here, 3)


@pytest.mark.parametrize(("shards", "refused"), [(1, (3,)), (3, (1, 7)), (4, (1, 9))])
def test_a_shard_count_at_most_doubles_and_at_most_halves(
    clock: HandClock, shards: int, refused: tuple[int, ...]
) -> None:
    kinesis = kinesis_of(clock)
    call(kinesis, "CreateStream", StreamName="s", ShardCount=shards)
    for target in refused:
        request = {"StreamName": "s", "TargetShardCount": target, "ScalingType": "UNIFORM_SCALING"}
        assert code_of(kinesis, "UpdateShardCount", **request) == "LimitExceededException"
    assert len(open_ranges(kinesis)) == shards


def test_a_resized_stream_is_the_same_after_a_restart(clock: HandClock, tmp_path: Path) -> None:
    kinesis = kinesis_of(clock, data_dir=tmp_path)
    call(kinesis, "CreateStream", StreamName="s", ShardCount=1)
    call(kinesis, "SplitShard", StreamName="s", ShardToSplit=FIRST, NewStartingHashKey="12345")
    resize(kinesis, 3)
    before = call(kinesis, "ListShards", StreamName="s")["Shards"]
    kinesis.close()
    assert call(kinesis_of(clock, data_dir=tmp_path), "ListShards", StreamName="s")["Shards"] == before


def test_an_iterator_dies_with_its_stream_even_if_one_of_the_same_name_follows(here: Kinesis) -> None:
    put(here, "old")
    old = iterator(here)
    call(here, "DeleteStream", StreamName="s")
    assert code_of(here, "GetRecords", ShardIterator=old) == "ResourceNotFoundException"
    call(here, "CreateStream", StreamName="s", ShardCount=1)
    put(here, "new")
    assert code_of(here, "GetRecords", ShardIterator=old) == "ResourceNotFoundException"
    assert read(here) == ["new"]


def test_an_iterator_survives_a_restart_and_still_knows_which_stream_it_is_of(clock: HandClock, tmp_path: Path) -> None:
    kinesis = kinesis_of(clock, data_dir=tmp_path)
    call(kinesis, "CreateStream", StreamName="s", ShardCount=1)
    first = iterator(kinesis)
    call(kinesis, "DeleteStream", StreamName="s")
    call(kinesis, "CreateStream", StreamName="s", ShardCount=1)
    put(kinesis, "kept")
    second = iterator(kinesis)
    kinesis.close()
    kinesis = kinesis_of(clock, data_dir=tmp_path)
    assert code_of(kinesis, "GetRecords", ShardIterator=first) == "ResourceNotFoundException"
    assert read(kinesis, second) == ["kept"]


def test_a_stream_with_consumers_is_deleted_when_that_is_enforced_only(here: Kinesis) -> None:
    arn = call(here, "DescribeStreamSummary", StreamName="s")["StreamDescriptionSummary"]["StreamARN"]
    consumer = call(here, "RegisterStreamConsumer", StreamARN=arn, ConsumerName="c")["Consumer"]["ConsumerARN"]
    assert code_of(here, "DeleteStream", StreamName="s") == "ResourceInUseException"
    assert code_of(here, "DeleteStream", StreamName="s", EnforceConsumerDeletion=False) == "ResourceInUseException"
    call(here, "DeleteStream", StreamARN=arn, EnforceConsumerDeletion=True)
    assert code_of(here, "DescribeStreamConsumer", ConsumerARN=consumer) == "ResourceNotFoundException"
    call(here, "CreateStream", StreamName="s", ShardCount=1)
    call(here, "DeleteStream", StreamName="s")


def test_a_parent_outlives_no_child_and_no_record_its_time_though_the_clock_was_set_back() -> None:
    clock = HandClock()
    here = kinesis_of(clock, hour_seconds=0.25)
    call(here, "CreateStream", StreamName="s", ShardCount=1)
    clock.now += 4
    put(here, "late")
    at_parent = iterator(here)
    clock.now -= 4
    resize(here, 2)
    [child, *_] = [
        shard["ShardId"] for shard in call(here, "ListShards", StreamName="s")["Shards"] if shard["ShardId"] != FIRST
    ]
    call(here, "SplitShard", StreamName="s", ShardToSplit=child, NewStartingHashKey="12345")
    clock.now += 7
    assert read(here, at_parent) == ["late"], (
        "six hours of retention of a quarter of a second have not passed since it came"
    )
    assert call(here, "GetRecords", ShardIterator=at_parent)["ChildShards"]


def test_shards_of_a_stream_on_demand_are_its_own(here: Kinesis) -> None:
    resize(here, 2)
    first, second = sorted(
        shard["ShardId"]
        for shard in call(here, "ListShards", StreamName="s", ShardFilter={"Type": "AT_LATEST"})["Shards"]
    )
    arn = call(here, "DescribeStreamSummary", StreamName="s")["StreamDescriptionSummary"]["StreamARN"]
    call(here, "UpdateStreamMode", StreamARN=arn, StreamModeDetails={"StreamMode": "ON_DEMAND"})
    assert (
        code_of(here, "SplitShard", StreamName="s", ShardToSplit=first, NewStartingHashKey="5") == "ValidationException"
    )
    merge = {"StreamName": "s", "ShardToMerge": first, "AdjacentShardToMerge": second}
    assert code_of(here, "MergeShards", **merge) == "ValidationException"
