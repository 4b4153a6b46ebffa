"""CBOR as AWS' SDKs for Java send it. Requests and what is expected are bytes, made by hand from RFC 8949."""

import gzip
import json
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import http_calls
import httpx
import pytest
from botocore.eventstream import EventStreamBuffer
from emulator_calls import FIRST, control, data, error_of, put_all, read_all

from kinesis_emulator.wire.encodings import CBOR

_CBOR = "application/x-amz-cbor-1.1"


def text(value: str) -> bytes:
    """A text of less than 24, or of less than 256, bytes."""
    encoded = value.encode()
    return (bytes([0x60 + len(encoded)]) if len(encoded) < 24 else bytes([0x78, len(encoded)])) + encoded


def blob(value: bytes) -> bytes:
    """Less than 24 bytes."""
    return bytes([0x40 + len(value)]) + value


def time(milliseconds: int) -> bytes:
    """Tag 1 over an integer of 8 bytes."""
    return b"\xc1\x1b" + milliseconds.to_bytes(8, "big")


def mapping(**values: bytes) -> bytes:
    """A map without a stated length, as Jackson writes it."""
    return b"\xbf" + b"".join(text(key) + value for key, value in values.items()) + b"\xff"


def array(*values: bytes) -> bytes:
    return b"\x9f" + b"".join(values) + b"\xff"


def call(endpoint: str, operation: str, body: bytes) -> httpx.Response:
    headers = {"Content-Type": _CBOR, "X-Amz-Target": f"Kinesis_20131202.{operation}"}
    return http_calls.post(f"{endpoint}/", content=body, headers=headers)


def answered(endpoint: str, operation: str, body: bytes) -> bytes:
    response = call(endpoint, operation, body)
    assert (response.status_code, response.headers["Content-Type"]) == (200, _CBOR), response.content
    return response.content


def text_after(answer: bytes, name: str) -> str:
    """The text, of 24 to 255 bytes, that a name stands before."""
    place = answer.index(text(name)) + len(text(name))
    assert answer[place] == 0x78
    return answer[place + 2 : place + 2 + answer[place + 1]].decode()


def records(*values: bytes) -> bytes:
    return array(*(mapping(Data=blob(value), PartitionKey=text("ключ")) for value in values))


def test_bytes_that_are_put_as_cbor_are_what_json_reads(endpoint: str, kinesis: Any, stream: str) -> None:
    answer = answered(endpoint, "PutRecords", mapping(StreamName=text(stream), Records=records(b"\x00\xff", b"")))
    assert text("FailedRecordCount") + b"\x00" in answer
    answered(endpoint, "PutRecord", mapping(StreamName=text(stream), Data=blob(b"3"), PartitionKey=text("k")))
    read = read_all(kinesis, stream)
    assert data(read) == [b"\x00\xff", b"", b"3"]
    assert [record["PartitionKey"] for record in read["Records"]] == ["ключ", "ключ", "k"]
    assert read["Records"][0]["SequenceNumber"] == text_after(answer, "SequenceNumber")


def test_records_are_read_with_bytes_and_milliseconds(endpoint: str, kinesis: Any, stream: str) -> None:
    [sequence] = put_all(kinesis, stream, b"\x00\xff")
    arrival = read_all(kinesis, stream)["Records"][0]["ApproximateArrivalTimestamp"]
    milliseconds = round(arrival.timestamp() * 1000)
    at = mapping(
        StreamName=text(stream), ShardId=text(FIRST), ShardIteratorType=text("AT_TIMESTAMP"),
        Timestamp=time(milliseconds),
    )  # fmt: skip
    token = text_after(answered(endpoint, "GetShardIterator", at), "ShardIterator")
    answer = answered(endpoint, "GetRecords", mapping(ShardIterator=text(token)))
    assert text("Data") + blob(b"\x00\xff") in answer
    assert text("ApproximateArrivalTimestamp") + time(milliseconds) in answer
    assert text("SequenceNumber") + text(sequence) in answer
    after = mapping(
        StreamName=text(stream), ShardId=text(FIRST), ShardIteratorType=text("AT_TIMESTAMP"),
        Timestamp=time(milliseconds + 1),
    )  # fmt: skip
    token = text_after(answered(endpoint, "GetShardIterator", after), "ShardIterator")
    assert text("Records") + b"\x80" in answered(endpoint, "GetRecords", mapping(ShardIterator=text(token)))


def test_a_tag_that_is_called_data_stays_text(endpoint: str, kinesis: Any, stream: str) -> None:
    tags = mapping(StreamName=text(stream), Tags=mapping(Data=text("AAAA"), MyTimestamp=text("1")))
    answered(endpoint, "AddTagsToStream", tags)
    answer = answered(endpoint, "ListTagsForStream", mapping(StreamName=text(stream)))
    assert text("Value") + text("AAAA") in answer
    assert {tag["Key"]: tag["Value"] for tag in kinesis.list_tags_for_stream(StreamName=stream)["Tags"]} == {
        "Data": "AAAA",
        "MyTimestamp": "1",
    }


def test_errors_are_cbor_too(endpoint: str, kinesis: Any) -> None:
    response = call(endpoint, "DescribeStreamSummary", mapping(StreamName=text("none")))
    assert (response.status_code, response.headers["Content-Type"]) == (400, _CBOR)
    assert text("__type") + text("ResourceNotFoundException") in response.content
    control(endpoint, "faults", [{"operation": "ListStreams", "kind": "throttle", "calls": 1}])
    assert text("ProvisionedThroughputExceededException") in call(endpoint, "ListStreams", b"\xa0").content
    assert error_of(kinesis.describe_stream_summary, StreamName="none") == "ResourceNotFoundException"


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"\xff", id="a break alone"),
        pytest.param(b"\xa1\x61a", id="cut short"),
        pytest.param(b"\x80", id="no map"),
        pytest.param(b"{}", id="JSON"),
        pytest.param(b"\x81" * 1000, id="nested deeply"),
        pytest.param(mapping(Timestamp=b"\xc1" + text("now")), id="a time that is text"),
        pytest.param(mapping(Timestamp=b"\xc1\xf9\x7c\x00"), id="a time without end"),
        pytest.param(mapping(StreamName=b"\xc0" + text("2026-01-01T00:00:00Z")), id="a date"),
        pytest.param(b"\xa1\x01\x02", id="a number for a name"),
    ],
)
def test_what_is_no_request_is_refused_as_such(endpoint: str, body: bytes) -> None:
    response = call(endpoint, "ListStreams", body)
    assert response.status_code == 400
    assert text("__type") + text("SerializationException") in response.content


def test_a_subscription_that_is_asked_for_in_cbor_is_pushed_in_cbor(endpoint: str, kinesis: Any, stream: str) -> None:
    put_all(kinesis, stream, b"\x00\xff")
    arn = kinesis.describe_stream_summary(StreamName=stream)["StreamDescriptionSummary"]["StreamARN"]
    consumer = kinesis.register_stream_consumer(StreamARN=arn, ConsumerName="c")["Consumer"]["ConsumerARN"]
    body = mapping(ConsumerARN=text(consumer), ShardId=text(FIRST), StartingPosition=mapping(Type=text("TRIM_HORIZON")))
    headers = {"Content-Type": _CBOR, "X-Amz-Target": "Kinesis_20131202.SubscribeToShard"}
    with http_calls.stream("POST", f"{endpoint}/", content=body, headers=headers) as response:
        messages = _messages(response.iter_bytes())
        first, second = next(messages), next(messages)
        kinesis.deregister_stream_consumer(ConsumerARN=consumer)
        *_, last = messages
    assert first.headers[":event-type"] == "initial-response"
    assert (second.headers[":event-type"], second.headers[":content-type"]) == ("SubscribeToShardEvent", _CBOR)
    assert text("Data") + blob(b"\x00\xff") in second.payload
    assert text("ApproximateArrivalTimestamp") + b"\xc1\x1b" in second.payload
    assert last.headers[":exception-type"] == "ResourceNotFoundException"
    assert text("message") in last.payload


def _messages(parts: Iterator[bytes]) -> Iterator[Any]:
    buffer = EventStreamBuffer()
    for part in parts:
        buffer.add_data(part)
        yield from buffer


def test_what_is_bytes_or_a_time_by_its_name_is_so_in_the_api() -> None:
    """Of all answers in botocore's model of the API: a member's name tells its type."""
    model = json.loads(gzip.decompress((files("botocore") / "data/kinesis/2013-12-02/service-2.json.gz").read_bytes()))
    shapes = model["shapes"]
    seen = set()

    def look(shape: str, name: str) -> None:
        if (shape, name) in seen:
            return
        seen.add((shape, name))
        definition = shapes[shape]
        kind = definition["type"]
        assert kind != "map", f"{name}: its keys are a user's, and must not be taken for names of members"
        if kind == "list":
            look(definition["member"]["shape"], "")
            # What is in a list has no name of its own.
            assert shapes[definition["member"]["shape"]]["type"] not in ("blob", "timestamp")
        for member, place in definition.get("members", {}).items():
            look(place["shape"], member)
        if kind not in ("structure", "list"):
            value = "AP8=" if kind in ("blob", "string") else 1.5 if kind == "timestamp" else 1
            rendered = CBOR.render({name: value})
            assert (bytes([0x42, 0x00, 0xFF]) in rendered) == (kind == "blob"), name
            assert (b"\xc1" in rendered) == (kind == "timestamp"), name

    for operation in model["operations"].values():
        if "output" in operation:
            look(operation["output"]["shape"], "")
    assert {name for _, name in seen} >= {"Data", "ApproximateArrivalTimestamp"}
