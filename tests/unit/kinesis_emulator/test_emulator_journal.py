"""What the journal holds: a wrong request leaves nothing in it, and one that holds such an entry still starts."""

import logging
from pathlib import Path
from typing import Any

import http_calls
import orjson
import pytest
from emulator_calls import (
    FIRST,
    HandClock,
    call,
    client_of,
    data,
    error_in,
    kinesis_of,
    open_ranges,
    put,
    put_all,
    read,
    read_all,
)

from kinesis_emulator import running_emulator

HALF = 2**127


@pytest.mark.parametrize(
    ("operation", "request_"),
    [
        ("AddTagsToStream", {"Tags": "abc"}),
        ("AddTagsToStream", {"Tags": ["ab"]}),
        ("AddTagsToStream", {"Tags": {"a": 1}}),
        ("MergeShards", {"ShardToMerge": [FIRST], "AdjacentShardToMerge": [FIRST]}),
        ("MergeShards", {"ShardToMerge": FIRST, "AdjacentShardToMerge": FIRST}),
        ("SplitShard", {"ShardToSplit": [FIRST], "NewStartingHashKey": "5"}),
        ("SplitShard", {"ShardToSplit": {}, "NewStartingHashKey": "5"}),
        ("SplitShard", {"ShardToSplit": FIRST, "NewStartingHashKey": str(2**128)}),
        ("SplitShard", {"ShardToSplit": "shardId-000000000009", "NewStartingHashKey": "5"}),
        ("UpdateStreamMode", {"StreamModeDetails": {"StreamMode": ["ON_DEMAND"]}}),
        ("IncreaseStreamRetentionPeriod", {"RetentionPeriodHours": [48]}),
        ("UpdateShardCount", {"TargetShardCount": [2], "ScalingType": "UNIFORM_SCALING"}),
        ("RegisterStreamConsumer", {"ConsumerName": ["c"]}),
        ("CreateStream", {"ShardCount": 1}),
        ("CreateStream", {"StreamName": "t", "ShardCount": 1, "StreamModeDetails": {"StreamMode": ["ON_DEMAND"]}}),
        ("PutRecord", {"Data": ["AAAA"], "PartitionKey": "k"}),
        ("PutRecord", {"Data": "AAAA", "PartitionKey": {"k": 1}}),
    ],
)
def test_a_wrong_request_is_refused_and_is_not_in_the_journal(
    clock: HandClock, tmp_path: Path, operation: str, request_: dict[str, Any]
) -> None:
    kinesis = kinesis_of(clock, data_dir=tmp_path)
    call(kinesis, "CreateStream", StreamName="s", ShardCount=1)
    put(kinesis, "kept")
    before = (tmp_path / "journal.jsonl").read_bytes()
    error_in(kinesis, operation, **{"StreamName": "s", **request_})
    assert (tmp_path / "journal.jsonl").read_bytes() == before
    kinesis.close()
    assert read(kinesis_of(clock, data_dir=tmp_path)) == ["kept"]


def test_an_emulator_starts_again_after_wrong_requests(tmp_path: Path) -> None:
    with running_emulator(data_dir=tmp_path, arguments=("--create-milliseconds", "0")) as endpoint:
        kinesis = client_of(endpoint)
        kinesis.create_stream(StreamName="s", ShardCount=2)
        put_all(kinesis, "s", b"kept", ExplicitHashKey="0")
        for operation, body in (
            ("AddTagsToStream", {"StreamName": "s", "Tags": "abc"}),
            ("MergeShards", {"StreamName": "s", "ShardToMerge": ["a"], "AdjacentShardToMerge": ["b"]}),
            ("SplitShard", {"StreamName": "s", "ShardToSplit": ["a"], "NewStartingHashKey": "1"}),
        ):
            headers = {"X-Amz-Target": f"Kinesis_20131202.{operation}"}
            assert http_calls.post(endpoint, json=body, headers=headers).status_code == 400
    with running_emulator(data_dir=tmp_path) as endpoint:
        assert data(read_all(client_of(endpoint), "s")) == [b"kept"]


def test_a_journal_of_an_older_version_with_entries_that_break_starts_and_says_what_it_left_out(
    clock: HandClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # As version 0.1.0 wrote them: numbers without a creation, wrong requests before they were refused.
    numbers = 495 * 10**53
    entries: list[dict[str, Any]] = [
        {"op": "create", "stream": "s", "shards": 1, "mode": "PROVISIONED", "ms": clock.now * 1000},
        {"op": "tags", "stream": "s", "tags": "abc"},
        {"op": "merge", "stream": "s", "shards": [["a"], ["b"]], "ms": clock.now * 1000},
        {"op": "split", "stream": "s", "shard": ["a"], "start": 5, "ms": clock.now * 1000},
        {"op": "split", "stream": "s", "shard": "shardId-000000000007", "start": 5, "ms": clock.now * 1000},
        {"op": "put", "stream": "s", "shard": FIRST, "seq": str(numbers + 2), "ms": clock.now * 1000, "data": "b2xk",
         "key": "k"},
        {"op": "split", "stream": "s", "shard": FIRST, "start": 5, "ms": clock.now * 1000},
        {"op": "tags", "stream": "s", "tags": {"a": "b"}},
    ]  # fmt: skip
    (tmp_path / "journal.jsonl").write_bytes(b"".join(orjson.dumps(entry) + b"\n" for entry in entries))
    with caplog.at_level(logging.WARNING):
        kinesis = kinesis_of(clock, data_dir=tmp_path)
    [message] = [record.getMessage() for record in caplog.records]
    assert message.startswith(f"4 entries of the journal in {tmp_path} were left out")
    for line in (2, 3, 4, 5):
        assert f"line {line}: " in message
    assert read(kinesis) == ["old"]
    assert open_ranges(kinesis)[0] == (0, 4)
    assert call(kinesis, "ListTagsForStream", StreamName="s")["Tags"] == [{"Key": "a", "Value": "b"}]
    number = int(put(kinesis, "new"))
    assert number > numbers + 2
    kinesis.close()
    again = kinesis_of(clock, data_dir=tmp_path)
    answer = call(again, "ListShards", StreamName="s")["Shards"]
    assert [shard["ShardId"][-1] for shard in answer] == ["0", "1", "2"]
    assert int(put(again, "newer")) > number


def test_a_split_at_any_hash_key_is_kept(clock: HandClock, tmp_path: Path) -> None:
    kinesis = kinesis_of(clock, data_dir=tmp_path)
    call(kinesis, "CreateStream", StreamName="s", ShardCount=1)
    call(kinesis, "SplitShard", StreamName="s", ShardToSplit=FIRST, NewStartingHashKey=str(HALF))
    before = call(kinesis, "ListShards", StreamName="s")
    kinesis.close()
    again = kinesis_of(clock, data_dir=tmp_path)
    assert call(again, "ListShards", StreamName="s") == before
    assert open_ranges(again) == [(0, HALF - 1), (HALF, 2 * HALF - 1)]


def test_a_start_holds_no_more_records_than_the_run_before(tmp_path: Path) -> None:
    clock = HandClock()
    here = kinesis_of(clock, data_dir=tmp_path)
    call(here, "CreateStream", StreamName="s", ShardCount=1)
    for _ in range(100):
        put(here, "x")
        clock.now += 3600
    held = len(here.state.streams["s"].shards[FIRST].fragments)
    here.close()
    again = kinesis_of(clock, data_dir=tmp_path)
    assert len(again.state.streams["s"].shards[FIRST].fragments) == held < 30
    again.close()
