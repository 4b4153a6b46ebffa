"""The client against the emulator, and against a server that fails as told."""

import base64
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from kinesis_emulator import running_emulator
from pyspark_kinesis.client import KinesisClient
from pyspark_kinesis.cursor import Cursor
from pyspark_kinesis.errors import (
    AccessError,
    EndpointError,
    IteratorExpiredError,
    RequestRefusedError,
    StreamNotFoundError,
)
from pyspark_kinesis.options import Options
from pyspark_kinesis.pace import Pace

Answer = tuple[int, bytes]
THROTTLED = (400, b'{"__type": "ProvisionedThroughputExceededException", "message": "slow down"}')


@contextmanager
def scripted_server(*answers: Answer) -> Iterator[str]:
    """A server that gives these answers in turn and repeats the last; status 0 breaks off in mid-body."""
    script = list(answers)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            status, body = script.pop(0) if len(script) > 1 else script[0]
            self.send_response(status or 200)
            self.send_header("Content-Length", str(len(body) + (0 if status else 100)))
            self.end_headers()
            self.wfile.write(body)
            self.close_connection = not status

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def client(url: str) -> KinesisClient:
    return KinesisClient("us-east-1", url, patience_seconds=2)


@pytest.mark.parametrize("failure", [THROTTLED, (500, b"{}"), (503, b"<html>"), (200, b'{"Sha'), (0, b'{"Shards": [')])
def test_what_may_pass_is_tried_again(failure: Answer) -> None:
    with scripted_server(failure, failure, (200, b'{"Shards": []}')) as url:
        assert client(url).shards({"StreamName": "s"}) == []


def test_an_endpoint_that_keeps_failing_is_an_error() -> None:
    with scripted_server((500, b"{}")) as url, pytest.raises(EndpointError, match="Check that the endpoint is up"):
        client(url).shards({"StreamName": "s"})


def test_an_endpoint_that_refuses_connections_is_an_error_soon() -> None:
    with pytest.raises(EndpointError, match="endpointUrl"):
        client("http://127.0.0.1:9").shards({"StreamName": "s"})


def test_a_stream_that_does_not_exist_is_named(kinesis_url: str) -> None:
    with pytest.raises(StreamNotFoundError, match=r"nowhere.*create it, or correct"):
        client(kinesis_url).shards({"StreamName": "nowhere"})


def test_wrong_credentials_are_an_error_that_names_the_chain() -> None:
    with (
        running_emulator(arguments=("--access-key", "another")) as url,
        pytest.raises(AccessError, match="credentials"),
    ):
        client(url).shards({"StreamName": "s"})


def test_missing_credentials_are_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    empty = str(tmp_path_factory.mktemp("empty") / "none")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", empty)
    monkeypatch.setenv("AWS_CONFIG_FILE", empty)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(AccessError, match="AWS_ACCESS_KEY_ID"):
        client("http://127.0.0.1:9")


def test_an_expired_iterator_is_told_apart_and_renewed() -> None:
    with running_emulator(arguments=("--iterator-seconds", "0.2", "--create-milliseconds", "0")) as url:
        kinesis = client(url)
        kinesis.call("CreateStream", {"StreamName": "s", "ShardCount": 1})
        put_one(kinesis, "s", b"a")
        iterator = kinesis.iterator({"StreamName": "s"}, "shardId-000000000000", "TRIM_HORIZON")
        expired = threading.Event()
        expired.wait(0.3)
        with pytest.raises(IteratorExpiredError):
            kinesis.records(iterator, 1)
        options = Options(stream="s", stream_arn=None, region="us-east-1", endpoint_url=url, ledger_location="/l")
        cursor = Cursor(kinesis, options, "shardId-000000000000", "TRIM_HORIZON", pace=Pace(0))
        assert len(cursor.fetch(10).records) == 1
        put_one(kinesis, "s", b"b")
        expired.wait(0.3)
        assert len(cursor.fetch(10).records) == 1


def test_a_refusal_keeps_its_code(kinesis_url: str) -> None:
    with pytest.raises(RequestRefusedError) as error:
        client(kinesis_url).call("GetShardIterator", {})
    assert error.value.code == "InvalidArgumentException"


def put_one(kinesis: KinesisClient, stream: str, data: bytes) -> None:
    request = {"StreamName": stream, "Data": base64.b64encode(data).decode(), "PartitionKey": "k"}
    kinesis.call("PutRecord", request)
