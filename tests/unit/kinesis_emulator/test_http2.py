"""HTTP/2: with prior knowledge, by ALPN, and frame by frame where windows and resets are what is tested."""

import base64
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import http_calls
import httpx
import orjson
import pytest
from botocore.eventstream import EventStreamBuffer
from emulator_calls import FIRST, client_of, control, data, put_all, read_all
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import DataReceived, Event, InformationalResponseReceived, ResponseReceived, StreamEnded, StreamReset
from h2.settings import SettingCodes

from kinesis_emulator import running_emulator

_TYPE = "application/x-amz-json-1.1"


class Client:
    """A client of HTTP/2 that sends and takes no more than it is told to."""

    def __init__(self, endpoint: str, window: int) -> None:
        url = httpx.URL(endpoint)
        self._authority = f"{url.host}:{url.port}"
        self._socket = socket.create_connection((url.host, url.port), timeout=600)
        self._h2 = H2Connection()
        self._h2.initiate_connection()
        self._h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: window})
        self._send()
        self.events: list[Event] = []

    def call(self, operation: str, *, body: bytes | None = None, ask: bool = False, **request: Any) -> int:
        """Send a request; its stream's number. ``ask``: send the body once the server says so."""
        number = self._h2.get_next_available_stream_id()
        content = orjson.dumps(request) if body is None else body
        self._h2.send_headers(number, [*self._headers(operation), *([("expect", "100-continue")] if ask else [])])
        self._send()
        if ask:
            self.until(lambda: any(isinstance(event, InformationalResponseReceived) for event in self.events))
        while content:
            while (room := self._h2.local_flow_control_window(number)) == 0:
                self.receive()
            part = content[: min(room, self._h2.max_outbound_frame_size)]
            self._h2.send_data(number, part)
            self._send()
            content = content[len(part) :]
        self._h2.end_stream(number)
        self._send()
        return number

    def receive(self) -> None:
        """Wait for something, and keep what comes."""
        received = self._socket.recv(65536)
        assert received, "the server closed the connection"
        self.events += self._h2.receive_data(received)
        self._send()

    def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self.receive()

    def body(self, number: int) -> bytes:
        """All that came of a stream so far."""
        return b"".join(e.data for e in self.events if isinstance(e, DataReceived) and e.stream_id == number)

    def status(self, number: int) -> str:
        [headers] = [e.headers for e in self.events if isinstance(e, ResponseReceived) and e.stream_id == number]
        return str(dict(headers)[b":status"].decode())

    def over(self, number: int) -> bool:
        return any(isinstance(e, StreamEnded | StreamReset) and e.stream_id == number for e in self.events)

    def whole(self, number: int) -> dict[str, Any]:
        """The answer, once all of it is there."""
        self.until(lambda: self.over(number))
        answer: dict[str, Any] = orjson.loads(self.body(number))
        return answer

    def widen(self, size: int, number: int | None = None) -> None:
        """Let the server send so many bytes more, in a stream or in all."""
        self._h2.increment_flow_control_window(size, number)
        self._send()

    def ask_and_reset(self, operation: str) -> None:
        """Ask whether to send a body, and reset the stream, in one segment."""
        number = self._h2.get_next_available_stream_id()
        self._h2.send_headers(number, [*self._headers(operation), ("expect", "100-continue")])
        self._h2.reset_stream(number, ErrorCodes.CANCEL)
        self._send()

    def reset(self, number: int) -> None:
        self._h2.reset_stream(number, ErrorCodes.CANCEL)
        self._send()

    def say(self, raw: bytes) -> None:
        self._socket.sendall(raw)

    def close(self) -> None:
        self._socket.close()

    def _headers(self, operation: str) -> list[tuple[str, str]]:
        return [
            (":method", "POST"), (":scheme", "http"), (":authority", self._authority), (":path", "/"),
            ("content-type", _TYPE), ("x-amz-target", f"Kinesis_20131202.{operation}"),
        ]  # fmt: skip

    def _send(self) -> None:
        self._socket.sendall(self._h2.data_to_send())


@pytest.fixture
def narrow(endpoint: str) -> Iterator[Client]:
    """A client that takes 100 bytes of each answer unless it says more."""
    client = Client(endpoint, 100)
    yield client
    client.close()


def consumer_of(kinesis: Any, stream: str) -> str:
    """A new consumer's ARN."""
    arn = kinesis.describe_stream_summary(StreamName=stream)["StreamDescriptionSummary"]["StreamARN"]
    registered = kinesis.register_stream_consumer(StreamARN=arn, ConsumerName="c")["Consumer"]
    return str(registered["ConsumerARN"])


@contextmanager
def emulator_with_consumer(*options: str) -> Iterator[tuple[str, str]]:
    """An emulator that nobody else uses, with the stream ``s``; its endpoint, and a consumer."""
    with running_emulator(arguments=("--create-milliseconds", "0", *options)) as endpoint:
        kinesis = client_of(endpoint)
        kinesis.create_stream(StreamName="s", ShardCount=1)
        yield endpoint, consumer_of(kinesis, "s")


def subscription(consumer: str) -> dict[str, Any]:
    return {"ConsumerARN": consumer, "ShardId": FIRST, "StartingPosition": {"Type": "TRIM_HORIZON"}}


def records(body: bytes) -> list[bytes]:
    """The data of all events that are whole; botocore checks their checksums."""
    buffer = EventStreamBuffer()
    buffer.add_data(body)
    found = [orjson.loads(message.payload).get("Records", []) for message in buffer]
    return [base64.b64decode(record["Data"]) for event in found for record in event]


def subscriptions(endpoint: str) -> int:
    return int(http_calls.get(f"{endpoint}/_control/stats").json()["subscriptions"])


def calls(endpoint: str) -> int:
    """How often ListStreams was called."""
    return int(http_calls.get(f"{endpoint}/_control/stats").json()["calls"].get("ListStreams", 0))


def test_a_client_with_prior_knowledge_is_answered_beside_one_of_http_1(
    endpoint: str, kinesis: Any, stream: str
) -> None:
    put = {"StreamName": stream, "Data": "AP8=", "PartitionKey": "k"}
    headers = {"Content-Type": _TYPE, "X-Amz-Target": "Kinesis_20131202.PutRecord"}
    with http_calls.client(http1=False, http2=True) as client:
        response = client.post(f"{endpoint}/", json=put, headers=headers)
        assert (response.http_version, response.status_code) == ("HTTP/2", 200)
        assert response.headers["Date"]
        assert response.headers["x-amzn-RequestId"]
        assert client.post(f"{endpoint}/", json=put).json()["__type"] == "UnknownOperationException"
        assert client.get(f"{endpoint}/_control/stats").json()["wire"]["HTTP/2 JSON"] >= 1
        assert client.get(f"{endpoint}/nowhere").status_code == 404
    assert data(read_all(kinesis, stream)) == [b"\x00\xff"]


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_curl_speaks_http_2_with_it(endpoint: str) -> None:
    version = subprocess.run(["curl", "--version"], check=True, capture_output=True, text=True).stdout
    if "HTTP2" not in version:
        pytest.skip("this curl has no HTTP/2")
    command = ["curl", "--silent", "--show-error", "--http2-prior-knowledge", "--write-out", "\n%{http_version}"]
    target = ["--header", "X-Amz-Target: Kinesis_20131202.ListStreams", "--header", f"Content-Type: {_TYPE}"]
    command += [*target, "--data", "{}", f"{endpoint}/"]
    body, _, version = subprocess.run(command, check=True, capture_output=True, text=True).stdout.rpartition("\n")
    assert version == "2"
    assert "StreamNames" in orjson.loads(body)


def test_an_answer_waits_for_its_readers_window(narrow: Client, kinesis: Any, stream: str) -> None:
    put_all(kinesis, stream, *(b"x" * 1000 for _ in range(100)))
    place = narrow.call("GetShardIterator", StreamName=stream, ShardId=FIRST, ShardIteratorType="TRIM_HORIZON")
    narrow.widen(1000, place)
    reading = narrow.call("GetRecords", ShardIterator=narrow.whole(place)["ShardIterator"])
    narrow.until(lambda: len(narrow.body(reading)) == 100)
    # Other requests are answered meanwhile, and no more of that one comes.
    other = narrow.call("ListTagsForStream", StreamName=stream)
    assert narrow.whole(other)["Tags"] == []
    assert len(narrow.body(reading)) == 100
    narrow.widen(1_000_000, reading)
    # The connection's window is 65,535 bytes until it is widened, too.
    narrow.until(lambda: len(narrow.body(reading)) > 60_000)
    assert not narrow.over(reading)
    narrow.widen(1_000_000)
    assert [base64.b64decode(r["Data"]) for r in narrow.whole(reading)["Records"]] == [b"x" * 1000] * 100


def test_a_subscription_is_pushed_as_its_window_lets_it(narrow: Client, kinesis: Any, stream: str) -> None:
    put_all(kinesis, stream, b"1" * 300, b"2")
    number = narrow.call("SubscribeToShard", **subscription(consumer_of(kinesis, stream)))
    narrow.until(lambda: len(narrow.body(number)) == 100)
    assert records(narrow.body(number)) == []
    narrow.widen(1_000_000, number)
    narrow.until(lambda: len(records(narrow.body(number))) == 2)
    put_all(kinesis, stream, b"3")
    narrow.until(lambda: len(records(narrow.body(number))) == 3)
    assert records(narrow.body(number)) == [b"1" * 300, b"2", b"3"]
    kinesis.split_shard(StreamName=stream, ShardToSplit=FIRST, NewStartingHashKey=str(2**127))
    narrow.until(lambda: narrow.over(number))
    assert any(isinstance(event, StreamEnded) and event.stream_id == number for event in narrow.events)
    assert b"ChildShards" in narrow.body(number)


def test_a_subscription_that_its_reader_resets_is_over_and_the_connection_is_not() -> None:
    with emulator_with_consumer() as (endpoint, consumer):
        client = Client(endpoint, 1_000_000)
        number = client.call("SubscribeToShard", **subscription(consumer))
        client.until(lambda: len(client.body(number)) > 100)
        assert subscriptions(endpoint) == 1
        client.reset(number)
        # Answered after the reset: it came in order.
        assert client.whole(client.call("ListStreams"))["StreamNames"] == ["s"]
        assert subscriptions(endpoint) == 0
        client.close()


def test_a_reader_that_takes_nothing_does_not_outlive_its_subscription() -> None:
    with emulator_with_consumer("--subscription-seconds", "0.5") as (endpoint, consumer):
        client = Client(endpoint, 0)
        number = client.call("SubscribeToShard", **subscription(consumer))
        client.until(lambda: client.over(number))
        assert client.body(number) == b""
        assert subscriptions(endpoint) == 0
        client.close()


def test_a_large_request_arrives_whole(endpoint: str, kinesis: Any, stream: str) -> None:
    client = Client(endpoint, 1_000_000)
    entries = [{"Data": base64.b64encode(b"x" * 9_000).decode(), "PartitionKey": "k"} for _ in range(400)]
    assert client.whole(client.call("PutRecords", StreamName=stream, Records=entries))["FailedRecordCount"] == 0
    client.close()
    assert sum(map(len, data(read_all(kinesis, stream)))) == 400 * 9_000


def test_a_client_that_asks_before_it_sends_its_body_is_told_to_go_on(endpoint: str) -> None:
    client = Client(endpoint, 1_000_000)
    assert "StreamNames" in client.whole(client.call("ListStreams", ask=True))
    client.close()


def test_a_stream_that_is_reset_as_it_begins_costs_the_others_nothing(endpoint: str) -> None:
    client = Client(endpoint, 1_000_000)
    client.ask_and_reset("ListStreams")
    assert "StreamNames" in client.whole(client.call("ListStreams"))
    client.close()


def test_a_body_larger_than_any_request_is_refused_and_the_connection_goes_on(endpoint: str) -> None:
    client = Client(endpoint, 1_000_000)
    number = client.call("PutRecords", body=b" " * (16 * 1024 * 1024 + 1))
    client.until(lambda: client.over(number))
    assert client.status(number) == "413"
    assert "StreamNames" in client.whole(client.call("ListStreams"))
    client.close()


def test_a_close_fault_cuts_an_answer(endpoint: str, stream: str) -> None:
    control(endpoint, "faults", [{"operation": "ListStreams", "kind": "close", "calls": 1}])
    client = Client(endpoint, 1_000_000)
    number = client.call("ListStreams")
    client.until(lambda: client.over(number))
    [reset] = [event for event in client.events if isinstance(event, StreamReset)]
    assert reset.error_code == ErrorCodes.INTERNAL_ERROR
    assert not client.body(number).endswith(b"}")
    assert stream in client.whole(client.call("ListStreams"))["StreamNames"]
    client.close()


def test_a_hanging_call_ends_with_its_reset(endpoint: str) -> None:
    control(endpoint, "faults", [{"operation": "ListStreams", "kind": "hang", "seconds": 3600, "calls": 1}])
    client = Client(endpoint, 1_000_000)
    before = calls(endpoint)
    number = client.call("ListStreams")
    # Reset before it began, it would not meet the fault.
    while calls(endpoint) == before:
        pass
    client.reset(number)
    assert "StreamNames" in client.whole(client.call("ListStreams"))
    client.close()


def test_frames_that_make_no_sense_end_their_connection_only(endpoint: str) -> None:
    client = Client(endpoint, 1_000_000)
    assert "StreamNames" in client.whole(client.call("ListStreams"))
    # Data of the connection itself, which has none.
    client.say(b"\x00\x00\x01\x00\x00\x00\x00\x00\x00x")
    with pytest.raises(AssertionError, match="closed the connection"):
        client.until(lambda: False)
    client.close()
    assert "StreamNames" in client_of(endpoint).list_streams()


def test_a_preface_that_comes_in_parts_is_seen(endpoint: str) -> None:
    url = httpx.URL(endpoint)
    with socket.create_connection((url.host, url.port), timeout=600) as raw:
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        raw.sendall(b"P")
        raw.sendall(b"RI * HTTP/2.0\r\n\r\nSM")
        # Its settings and its window's growth come once it knows.
        raw.sendall(b"\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")
        assert raw.recv(9)[3:4] == b"\x04"


def test_an_end_while_subscribed_is_orderly() -> None:
    with emulator_with_consumer() as (endpoint, consumer):
        client = Client(endpoint, 1_000_000)
        number = client.call("SubscribeToShard", **subscription(consumer))
        client.until(lambda: len(client.body(number)) > 200)
    client.until(lambda: client.over(number))
    assert any(isinstance(event, StreamEnded) and event.stream_id == number for event in client.events)
    client.close()


def test_an_end_while_a_reader_takes_nothing_is_quiet() -> None:
    command = [sys.executable, "-m", "kinesis_emulator", "--port", "0", "--create-milliseconds", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        endpoint = process.stdout.readline().strip()
        kinesis = client_of(endpoint)
        kinesis.create_stream(StreamName="s", ShardCount=1)
        client = Client(endpoint, 0)
        client.call("SubscribeToShard", **subscription(consumer_of(kinesis, "s")))
        while not subscriptions(endpoint):
            pass
        process.terminate()
        _, errors = process.communicate()
        client.close()
    assert (process.returncode, errors) == (0, "")
