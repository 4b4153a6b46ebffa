"""The client against the emulator, and against a server that fails as told."""

import base64
import threading

import pytest
from scripted_http import Answer, scripted_server

from kinesis_emulator import running_emulator
from pyspark_kinesis.api.client import KinesisClient
from pyspark_kinesis.api.rate_limit import Pace
from pyspark_kinesis.errors import (
    AccessError,
    EndpointError,
    IteratorExpiredError,
    RequestRefusedError,
    StreamNotFoundError,
)
from pyspark_kinesis.options.stream import Options, Stream
from pyspark_kinesis.shards.cursor import Cursor

THROTTLED = (400, b'{"__type": "ProvisionedThroughputExceededException", "message": "slow down"}')


def client(url: str) -> KinesisClient:
    return KinesisClient("us-east-1", url, patience_seconds=2)


@pytest.mark.parametrize("failure", [THROTTLED, (500, b"{}"), (503, b"<html>"), (200, b'{"Sha'), (0, b'{"Shards": [')])
def test_what_may_pass_is_tried_again(failure: Answer) -> None:
    with scripted_server(failure, failure, (200, b'{"Shards": []}')) as url:
        assert client(url).shards({"StreamName": "s"}) == []


def test_shards_of_a_stream_that_is_made_again_are_waited_for() -> None:
    making = (400, b'{"__type": "ResourceInUseException", "message": "Stream s not ACTIVE, instead in state CREATING"}')
    with scripted_server(making, making, (200, b'{"Shards": [{"ShardId": "a"}]}')) as url:
        assert [shard.shard_id for shard in client(url).shards({"StreamName": "s"})] == ["a"]


def test_a_shard_whose_last_number_is_null_is_open() -> None:
    """As kinesis-mock has it: else each shard that was read to its tip was taken for drained."""
    listed = b'{"Shards": [{"ShardId": "a", "SequenceNumberRange": {"EndingSequenceNumber": null}}, {"ShardId": "b"}]}'
    with scripted_server((200, listed)) as url:
        assert [shard.closed for shard in client(url).shards({"StreamName": "s"})] == [False, False]


def test_an_answer_without_a_body_is_an_answer() -> None:
    """As of AWS where there is nothing to tell: the call would be made again, and refused."""
    seen: list[str] = []
    with scripted_server((200, b""), (400, b'{"__type": "ResourceInUseException"}'), seen=seen) as url:
        assert client(url).call("DeregisterStreamConsumer", {"ConsumerARN": "arn"}) == {}
    assert len(seen) == 1


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
        options = Options(streams=(Stream("s"),), region="us-east-1", endpoint_url=url, ledger_location="/l")
        cursor = Cursor(kinesis, options, "s/shardId-000000000000", "TRIM_HORIZON", pace=Pace(0))
        assert len(cursor.fetch(10).records) == 1
        put_one(kinesis, "s", b"b")
        expired.wait(0.3)
        assert len(cursor.fetch(10).records) == 1


def test_a_refusal_keeps_its_code(kinesis_url: str) -> None:
    with pytest.raises(RequestRefusedError) as error:
        client(kinesis_url).call("GetShardIterator", {})
    assert error.value.code == "ValidationException"


def put_one(kinesis: KinesisClient, stream: str, data: bytes) -> None:
    request = {"StreamName": stream, "Data": base64.b64encode(data).decode(), "PartitionKey": "k"}
    kinesis.call("PutRecord", request)
