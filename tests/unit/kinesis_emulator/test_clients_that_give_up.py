"""A client that has gone: what it read ends, what it wrote is done whole, alike over both versions of HTTP."""

import socket
from collections.abc import Iterator
from typing import Any

import http_calls
import httpx
import orjson
import pytest
from emulator_calls import FIRST, client_of, control, encoded, put_all
from h2.connection import H2Connection
from waits import until

from kinesis_emulator import running_emulator

ARN = "arn:aws:kinesis:us-east-1:000000000000:stream/s"


@pytest.fixture
def endpoint() -> Iterator[str]:
    """No heartbeat tells it that a subscriber has gone."""
    with running_emulator(arguments=("--create-milliseconds", "0", "--heartbeat-seconds", "60")) as url:
        client_of(url).create_stream(StreamName="s", ShardCount=1)
        yield url


def stats(endpoint: str) -> dict[str, Any]:
    told: dict[str, Any] = http_calls.get(f"{endpoint}/_control/stats").json()
    return told


def request(operation: str, **body: Any) -> dict[str, Any]:
    headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": f"Kinesis_20131202.{operation}"}
    return {"method": "POST", "headers": headers, "json": body}


@pytest.mark.parametrize("http2", [False, True])
def test_a_call_that_hangs_is_done_whole_if_it_writes_and_ends_if_it_reads(endpoint: str, http2: bool) -> None:
    kinesis = client_of(endpoint)
    put_all(kinesis, "s", b"there")
    token = kinesis.get_shard_iterator(StreamName="s", ShardId=FIRST, ShardIteratorType="TRIM_HORIZON")["ShardIterator"]
    faults = [
        {"operation": "GetRecords", "kind": "hang", "seconds": 1, "calls": 1},
        {"operation": "PutRecord", "kind": "hang", "seconds": 1, "calls": 1},
    ]
    control(endpoint, "faults", faults)
    calls = [
        request("GetRecords", ShardIterator=token),
        request("PutRecord", StreamName="s", Data=encoded(b"put"), PartitionKey="k"),
    ]
    for call in calls:
        with (
            http_calls.client(http1=not http2, http2=http2, timeout=httpx.Timeout(30, read=0.2)) as client,
            pytest.raises(httpx.ReadTimeout),
        ):
            client.request(url=f"{endpoint}/", **call)
    until(lambda: stats(endpoint)["records_in"] == 2, "both records are stored")
    # It hung for as long, and before.
    assert stats(endpoint)["records_out"] == 0


def test_what_was_put_whole_is_stored_though_its_stream_is_reset_in_the_same_bytes(endpoint: str) -> None:
    url, put = httpx.URL(endpoint), request("PutRecord", StreamName="s", Data=encoded(b"put"), PartitionKey="k")
    client = H2Connection()
    client.initiate_connection()
    pseudo = {":method": "POST", ":path": "/", ":scheme": "http", ":authority": "x"}
    client.send_headers(1, [*pseudo.items(), *((name.lower(), value) for name, value in put["headers"].items())])
    client.send_data(1, orjson.dumps(put["json"]), end_stream=True)
    client.reset_stream(1)
    with socket.create_connection((url.host, url.port), timeout=30) as raw:
        raw.sendall(client.data_to_send())
    until(lambda: stats(endpoint)["records_in"] == 1, "the record is stored")


@pytest.mark.parametrize("http2", [False, True])
def test_a_subscription_ends_with_its_reader_and_not_with_its_next_event(endpoint: str, http2: bool) -> None:
    consumer = client_of(endpoint).register_stream_consumer(StreamARN=ARN, ConsumerName="c")["Consumer"]["ConsumerARN"]
    start = {"ConsumerARN": consumer, "ShardId": FIRST, "StartingPosition": {"Type": "LATEST"}}
    with (
        http_calls.client(http1=not http2, http2=http2, timeout=30) as client,
        client.stream(url=f"{endpoint}/", **request("SubscribeToShard", **start)) as answer,
    ):
        events = answer.iter_bytes()  # kept: it closes the answer when it goes
        next(events)
        assert stats(endpoint)["subscriptions"] == 1
    until(lambda: stats(endpoint)["subscriptions"] == 0, "the subscription ends")
