"""Faults and a skewed clock, injected over HTTP, and requests that are none of Kinesis's."""

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import http_calls
import httpx
import pytest
from emulator_calls import FIRST, client_of, control, data, error_of, put_all, read_all

from kinesis_emulator import running_emulator

TARGET = "Kinesis_20131202"


def test_injected_faults_strike_as_often_as_told(kinesis: Any, stream: str, endpoint: str) -> None:
    for kind, code in (("throttle", "ProvisionedThroughputExceededException"), ("error", "InternalFailure")):
        control(endpoint, "faults", [{"operation": "ListStreams", "kind": kind, "calls": 1}])
        assert error_of(kinesis.list_streams) == code
        assert stream in kinesis.list_streams()["StreamNames"]
    assert http_calls.get(f"{endpoint}/_control/stats").json()["calls"]["ListStreams"] >= 4


def test_an_answer_is_cut_in_the_middle_after_its_call_took_effect(kinesis: Any, stream: str, endpoint: str) -> None:
    control(endpoint, "faults", [{"operation": "PutRecord", "kind": "close", "calls": 1}])
    request = {"StreamName": stream, "Data": "AAAA", "PartitionKey": "k"}
    # Not through boto3: it takes the short answer for an empty one, and raises nothing.
    with pytest.raises(httpx.RemoteProtocolError, match="without sending complete"):
        http_calls.post(endpoint, json=request, headers={"X-Amz-Target": f"{TARGET}.PutRecord"})
    assert data(read_all(kinesis, stream)) == [b"\0\0\0"]


@pytest.mark.parametrize("operation", ["GetRecords", "*"])
def test_an_injected_expiry_strikes_iterators_and_nothing_else(
    kinesis: Any, stream: str, endpoint: str, operation: str
) -> None:
    control(endpoint, "faults", [{"operation": operation, "kind": "expire", "calls": 1}])
    token = kinesis.get_shard_iterator(StreamName=stream, ShardId=FIRST, ShardIteratorType="TRIM_HORIZON")
    put_all(kinesis, stream, b"1")
    assert error_of(kinesis.get_records, ShardIterator=token["ShardIterator"]) == "ExpiredIteratorException"
    assert data(kinesis.get_records(ShardIterator=token["ShardIterator"])) == [b"1"]


def test_tokens_of_pages_expire_where_told_and_lists_begin_anew(kinesis: Any, stream: str, endpoint: str) -> None:
    kinesis.update_shard_count(StreamName=stream, TargetShardCount=2, ScalingType="UNIFORM_SCALING")
    arn = kinesis.describe_stream_summary(StreamName=stream)["StreamDescriptionSummary"]["StreamARN"]
    for name in ("one", "two"):
        kinesis.register_stream_consumer(StreamARN=arn, ConsumerName=name)
    control(endpoint, "faults", [{"operation": "*", "kind": "expire"}])
    shards = kinesis.list_shards(StreamName=stream, MaxResults=1)
    assert error_of(kinesis.list_shards, NextToken=shards["NextToken"]) == "ExpiredNextTokenException"
    consumers = kinesis.list_stream_consumers(StreamARN=arn, MaxResults=1)
    token = consumers["NextToken"]
    assert error_of(kinesis.list_stream_consumers, StreamARN=arn, NextToken=token) == "ExpiredNextTokenException"
    assert len(kinesis.list_shards(StreamName=stream)["Shards"]) == 3
    control(endpoint, "faults", [])
    assert len(kinesis.list_shards(NextToken=shards["NextToken"])["Shards"]) == 2


def test_a_page_of_shards_is_as_short_as_told() -> None:
    with running_emulator(arguments=("--create-milliseconds", "0", "--shards-per-page", "2")) as endpoint:
        kinesis = client_of(endpoint)
        kinesis.create_stream(StreamName="s", ShardCount=5)
        pages = [kinesis.list_shards(StreamName="s")]
        while token := pages[-1].get("NextToken"):
            pages.append(kinesis.list_shards(NextToken=token))
        assert [[shard["ShardId"][-1] for shard in page["Shards"]] for page in pages] == [["0", "1"], ["2", "3"], ["4"]]


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"operation": "GetRecords"}, "expected a list of rules"),
        ([{"operation": "GetRecords", "kind": "explode"}], "0.kind: Input should be 'throttle'"),
        ([{"operation": "*", "kind": "error"}, {"kind": "error"}], "1.operation: Field required"),
        ([{"operation": "GetRecords", "kind": "error", "times": 3}], "0.times: Extra inputs are not permitted"),
        ([{"operation": "GetRecords", "kind": "error", "calls": -1}], "0.calls: "),
        ([{"operation": "GetRecords", "kind": "error", "probability": 2}], "0.probability: "),
        ([{"operation": "GetRecord", "kind": "error"}], r"'GetRecord' of kind error is neither '\*' nor of: AddTags"),
        ([{"operation": "PutRecord", "kind": "expire"}], r"'PutRecord' of kind expire .* GetRecords, ListShards"),
    ],
)
def test_a_malformed_rule_is_named_and_those_before_stay(
    kinesis: Any, stream: str, endpoint: str, rules: Any, message: str
) -> None:
    control(endpoint, "faults", [{"operation": "ListStreams", "kind": "error"}])
    answer = control(endpoint, "faults", rules)
    assert (answer.status_code, answer.json()["__type"]) == (400, "ValidationException")
    assert re.search(message, answer.json()["message"])
    assert error_of(kinesis.list_streams) == "InternalFailure"


def test_rules_that_are_no_json_are_refused(endpoint: str) -> None:
    answer = http_calls.post(f"{endpoint}/_control/faults", content=b"[{")
    assert (answer.status_code, answer.json()["__type"]) == (400, "ValidationException")


@pytest.mark.parametrize(
    "target", [None, "ListStreams", "Kinesis_20130901.ListStreams", "DynamoDB_20120810.ListTables"]
)
def test_a_request_of_another_service_or_version_is_refused(endpoint: str, target: str | None) -> None:
    answer = http_calls.post(endpoint, json={}, headers={"X-Amz-Target": target} if target else {})
    assert (answer.status_code, answer.json()["__type"]) == (400, "UnknownOperationException")
    assert http_calls.post(endpoint, json={}, headers={"X-Amz-Target": f"{TARGET}.ListStreams"}).status_code == 200


@pytest.mark.parametrize("offset", [-600.0, 600.0])
def test_a_clock_that_is_off_shows_in_arrivals_and_in_the_date_header(
    kinesis: Any, stream: str, endpoint: str, offset: float
) -> None:
    assert control(endpoint, "clock", {"offset_seconds": offset}).status_code == 200
    put_all(kinesis, stream, b"1")
    answer = read_all(kinesis, stream)
    ahead = (answer["Records"][0]["ApproximateArrivalTimestamp"] - datetime.now(UTC)).total_seconds()
    assert abs(ahead - offset) < 60
    date = parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
    assert abs((date - datetime.now(UTC)).total_seconds() - offset) < 60


def test_a_clock_that_is_set_back_keeps_arrivals_in_order_and_what_is_active(
    kinesis: Any, stream: str, endpoint: str
) -> None:
    control(endpoint, "clock", {"offset_seconds": 600})
    put_all(kinesis, stream, b"1")
    kinesis.create_stream(StreamName=f"{stream}-later", ShardCount=1)
    control(endpoint, "clock", {"offset_seconds": -600})
    put_all(kinesis, stream, b"2")
    put_all(kinesis, f"{stream}-later", b"3")
    arrivals = [record["ApproximateArrivalTimestamp"] for record in read_all(kinesis, stream)["Records"]]
    assert arrivals == sorted(arrivals)
    assert read_all(kinesis, stream)["MillisBehindLatest"] == 0


@pytest.mark.parametrize("body", [{}, {"offset_seconds": "1"}, {"offset_seconds": 1e300}, {"offset_seconds": True}, []])
def test_an_offset_that_is_no_number_of_seconds_is_refused(endpoint: str, body: Any) -> None:
    assert control(endpoint, "clock", body).status_code == 400


def test_keys_are_exchanged_while_it_runs() -> None:
    with running_emulator() as url:
        old, new = (client_of(url, key) for key in ("old", "new"))
        for client in (old, new):
            client.list_streams()
        control(url, "keys", {"access_keys": ["new"]})
        new.list_streams()
        assert error_of(old.list_streams) == "UnrecognizedClientException"
        refused = http_calls.post(f"{url}/_control/keys", json={"access_keys": "new"})
        assert refused.json()["__type"] == "ValidationException"


def test_a_list_leaves_out_the_shards_that_a_fault_names(kinesis: Any, stream: str, endpoint: str) -> None:
    kinesis.update_shard_count(StreamName=stream, TargetShardCount=2, ScalingType="UNIFORM_SCALING")
    control(endpoint, "faults", [{"operation": "ListShards", "kind": "omit", "shards": [FIRST], "calls": 1}])
    found = [[one["ShardId"][-1] for one in kinesis.list_shards(StreamName=stream)["Shards"]] for _ in range(2)]
    assert found == [["1", "2"], ["0", "1", "2"]]


def test_an_answer_is_empty_though_there_are_records_and_its_iterator_gives_them(
    kinesis: Any, stream: str, endpoint: str
) -> None:
    put_all(kinesis, stream, b"1")
    control(endpoint, "faults", [{"operation": "GetRecords", "kind": "empty", "seconds": 60, "calls": 1}])
    start = kinesis.get_shard_iterator(StreamName=stream, ShardId=FIRST, ShardIteratorType="TRIM_HORIZON")
    empty = kinesis.get_records(ShardIterator=start["ShardIterator"])
    assert (empty["Records"], empty["MillisBehindLatest"]) == ([], 60_000)
    assert data(kinesis.get_records(ShardIterator=empty["NextShardIterator"])) == [b"1"]


def test_a_closed_shard_gives_iterators_behind_its_last_record_for_ever(
    kinesis: Any, stream: str, endpoint: str
) -> None:
    put_all(kinesis, stream, b"1")
    kinesis.update_shard_count(StreamName=stream, TargetShardCount=2, ScalingType="UNIFORM_SCALING")
    control(endpoint, "faults", [{"operation": "GetRecords", "kind": "unending"}])
    iterator = kinesis.get_shard_iterator(StreamName=stream, ShardId=FIRST, ShardIteratorType="TRIM_HORIZON")
    answers = []
    for _ in range(3):
        answers.append(kinesis.get_records(ShardIterator=iterator["ShardIterator"]))
        iterator = {"ShardIterator": answers[-1]["NextShardIterator"]}
    assert [data(answer) for answer in answers] == [[b"1"], [], []]
    assert all(answer["MillisBehindLatest"] == 0 and "ChildShards" not in answer for answer in answers)
    control(endpoint, "faults", [])


def test_odd_answers_are_of_their_operation_only(kinesis: Any, stream: str, endpoint: str) -> None:
    for kind in ("omit", "empty", "unending"):
        control(endpoint, "faults", [{"operation": "*", "kind": kind, "calls": 9}])
        put_all(kinesis, stream, kind.encode())
        assert stream in kinesis.list_streams()["StreamNames"]
    control(endpoint, "faults", [])
    assert data(read_all(kinesis, stream)) == [b"omit", b"empty", b"unending"]
