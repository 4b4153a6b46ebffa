"""A fault of the emulator is told from one of the request: clients repeat the first, and report the second."""

import asyncio
import traceback
from pathlib import Path
from typing import Any

import cbor2
import orjson
import pytest
from botocore.eventstream import EventStreamBuffer
from emulator_calls import FIRST, client_of, error_of
from multidict import CIMultiDict

from kinesis_emulator import running_emulator
from kinesis_emulator.api import Options
from kinesis_emulator.service.tokens import encoded
from kinesis_emulator.wire.endpoint import Endpoint, HttpRequest, Reply
from kinesis_emulator.wire.push import Push

JSON, CBOR = "application/x-amz-json-1.1", "application/x-amz-cbor-1.1"
ARN = "arn:aws:kinesis:us-east-1:000000000000:stream/s"


def endpoint(**options: Any) -> Endpoint:
    """With the stream ``s``."""
    made = Endpoint(Options(create_milliseconds=0, **options))
    made._kinesis.operations["CreateStream"]({"StreamName": "s", "ShardCount": 1})
    return made


def answer(endpoint: Endpoint, operation: str, body: bytes, content_type: str = JSON, **headers: str) -> Reply | Push:
    all_headers = {"Content-Type": content_type, "X-Amz-Target": f"Kinesis_20131202.{operation}", **headers}
    request = HttpRequest("HTTP/1.1", "POST", "/", CIMultiDict(all_headers), body)
    return asyncio.run(endpoint.answer(request))


def refused(endpoint: Endpoint, operation: str, body: bytes, **headers: str) -> tuple[int, str]:
    reply = answer(endpoint, operation, body, **headers)
    assert isinstance(reply, Reply)
    return reply.status, orjson.loads(reply.body)["__type"]


def traces(caplog: pytest.LogCaptureFixture) -> str:
    """Of the records: how the text shows a trace is up to the formatter of the process, which Airflow sets."""
    return "".join(
        "".join(traceback.format_exception(record.exc_info[1]))
        for record in caplog.records
        if record.exc_info and record.exc_info[1]
    )


@pytest.mark.parametrize("content_type", [JSON, CBOR])
def test_a_fault_of_the_emulator_is_an_internal_failure_and_its_trace_is_logged(
    content_type: str, caplog: pytest.LogCaptureFixture
) -> None:
    faulty = endpoint()

    def describe_limits(_: object) -> Any:
        raise KeyError("a bug")

    faulty._kinesis.operations["DescribeLimits"] = describe_limits
    reply = answer(faulty, "DescribeLimits", b"", content_type)
    assert isinstance(reply, Reply)
    told = (orjson if content_type == JSON else cbor2).loads(reply.body)
    assert (reply.status, told["__type"]) == (500, "InternalFailure")
    assert "KeyError('a bug')" in told["message"]
    assert any("DescribeLimits failed" in message for message in caplog.messages)
    assert "in describe_limits" in traces(caplog)


def test_a_fault_of_the_emulator_within_a_subscription_ends_it_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    faulty = endpoint()
    registered = faulty._kinesis.operations["RegisterStreamConsumer"]({"StreamARN": ARN, "ConsumerName": "c"})
    assert isinstance(registered, dict)

    class Kept:
        def __init__(self) -> None:
            self.buffer = EventStreamBuffer()
            self.ended = False

        async def begin(self, headers: object) -> None: ...

        async def write(self, data: bytes) -> None:
            self.buffer.add_data(data)

        async def end(self) -> None:
            self.ended = True

        def abort(self) -> None: ...

    body = {
        "ConsumerARN": registered["Consumer"]["ConsumerARN"],
        "ShardId": FIRST,
        "StartingPosition": {"Type": "LATEST"},
    }

    def event() -> Any:
        raise KeyError("a bug")

    push, kept = answer(faulty, "SubscribeToShard", orjson.dumps(body)), Kept()
    assert isinstance(push, Push)
    monkeypatch.setattr(push.subscription, "_event", event)
    asyncio.run(push.run(kept))
    last = list(kept.buffer)[-1]
    assert last.headers[":exception-type"] == "InternalFailureException"
    assert kept.ended
    assert "KeyError: 'a bug'" in traces(caplog)


def test_what_an_emulator_logs_is_shown_when_its_block_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "from kinesis_emulator.operations.streams import StreamOperations\n"
        "StreamOperations.describe_limits = lambda self, _: {}['a bug']\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    with running_emulator() as url:
        assert error_of(client_of(url).describe_limits) == "InternalFailure"
        assert "a bug" not in capfd.readouterr().err
    assert "KeyError: 'a bug'" in capfd.readouterr().err


def iterator(endpoint: Endpoint, index: int, made: float) -> bytes:
    identity = endpoint._kinesis.state.streams["s"].identity
    return orjson.dumps({"ShardIterator": encoded(["s", identity, FIRST, index, made])})


def test_requests_that_no_client_makes_are_the_requests_fault() -> None:
    """Each of these was an exception in the emulator."""
    one = endpoint()
    position = '{"StreamName":"s","ShardId":"%s","ShardIteratorType":"AT_TIMESTAMP","Timestamp":%s}'
    for time in ("1e308", "-1e308", "1e16"):
        assert refused(one, "GetShardIterator", (position % (FIRST, time)).encode()) == (400, "SerializationException")
    assert refused(one, "GetRecords", iterator(one, 0, -1e300)) == (400, "InvalidArgumentException")
    assert refused(one, "ListStreams\udcff", b"") == (400, "UnknownOperationException")
    for value in (2**70, -(2**70), 2**20_000):
        reply = answer(one, "ListStreams", cbor2.dumps({"Limit": [value]}), CBOR)
        assert isinstance(reply, Reply)
        assert (reply.status, cbor2.loads(reply.body)["__type"]) == (400, "SerializationException")


@pytest.mark.parametrize("host", ["[", "\udcff", ""])
def test_a_signature_over_a_host_that_is_none_is_refused(host: str) -> None:
    signed = "AWS4-HMAC-SHA256 Credential=k/1/r/s/aws4_request, SignedHeaders=host;x-amz-date, Signature=00"
    headers = {"X-Amz-Date": "20260101T000000Z", "Host": host, "Authorization": signed}
    strict = endpoint(access_key="k", secret_key="s")
    assert refused(strict, "ListStreams", b"", **headers) == (400, "InvalidSignatureException")
