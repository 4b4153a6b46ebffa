"""What each answer has, and what becomes of requests that no client makes."""

import re
import socket
from typing import Any

import cbor2
import http_calls
import httpx
import orjson
import pytest
from emulator_calls import FIRST

_TYPE = "application/x-amz-json-1.1"


def call(endpoint: str, operation: str, body: bytes) -> httpx.Response:
    headers = {"Content-Type": _TYPE, "X-Amz-Target": f"Kinesis_20131202.{operation}"}
    return http_calls.post(f"{endpoint}/", content=body, headers=headers)


@pytest.mark.parametrize(
    ("operation", "body", "code"),
    [
        ("CreateStream", b'{"StreamName":"x","StreamModeDetails":"text"}', "(Validation|Serialization)Exception"),
        ("ListStreams", b"[]", "SerializationException"),
        ("ListStreams", b"{", "SerializationException"),
        ("ListStreams", b"[" * 5000, "SerializationException"),
        ("GetRecords", b"", "ValidationException"),
    ],
)
def test_a_request_of_the_wrong_shape_is_refused_as_the_api_refuses(
    endpoint: str, operation: str, body: bytes, code: str
) -> None:
    response = call(endpoint, operation, body)
    assert (response.status_code, response.headers["Content-Type"]) == (400, _TYPE), response.content
    assert re.fullmatch(code, response.json()["__type"])
    assert response.json()["message"]


def test_a_time_beyond_all_time_is_refused(endpoint: str, stream: str) -> None:
    start = f'{{"StreamName":"{stream}","ShardId":"{FIRST}","ShardIteratorType":"AT_TIMESTAMP","Timestamp":1e999}}'
    response = call(endpoint, "GetShardIterator", start.encode())
    assert (response.status_code, response.headers["Content-Type"]) == (400, _TYPE), response.content


def test_each_answer_has_a_request_id_of_its_own(endpoint: str, kinesis: Any) -> None:
    ids = [kinesis.list_streams()["ResponseMetadata"]["RequestId"] for _ in range(2)]
    ids.append(call(endpoint, "DescribeStream", b"{}").headers["x-amzn-RequestId"])
    assert len(set(ids)) == 3
    assert all(ids)


@pytest.mark.parametrize("content_type", [_TYPE, "application/x-amz-cbor-1.1"])
def test_what_has_nothing_to_tell_has_no_body(endpoint: str, content_type: str) -> None:
    headers = {"Content-Type": content_type, "X-Amz-Target": "Kinesis_20131202.CreateStream"}
    body = {"StreamName": f"without-a-body-{content_type[-8:-4]}", "ShardCount": 1}
    encoded = (cbor2 if "cbor" in content_type else orjson).dumps(body)
    answer = http_calls.post(f"{endpoint}/", content=encoded, headers=headers)
    assert (answer.status_code, answer.content, answer.headers["Content-Type"]) == (200, b"", content_type)


def test_what_is_at_no_address_is_said_to_be(endpoint: str) -> None:
    for method, path in (("GET", "/"), ("POST", "/elsewhere"), ("GET", "/_control/faults"), ("PUT", "/")):
        response = http_calls.request(method, f"{endpoint}{path}")
        assert response.status_code == 404
        assert response.json()["message"] == f"there is no {method} {path}"


def test_a_body_larger_than_any_request_is_refused(endpoint: str) -> None:
    assert call(endpoint, "PutRecords", b" " * (16 * 1024 * 1024 + 1)).status_code == 413


def test_a_client_that_asks_before_it_sends_its_body_is_told_to_go_on(endpoint: str) -> None:
    url = httpx.URL(endpoint)
    with socket.create_connection((url.host, url.port), timeout=600) as raw:
        head = ("POST / HTTP/1.1", f"Host: {url.host}", "Content-Length: 2", "Expect: 100-continue")
        raw.sendall("\r\n".join((*head, "X-Amz-Target: Kinesis_20131202.ListStreams", "\r\n")).encode())
        answers = raw.makefile("rb")
        assert answers.readline() == b"HTTP/1.1 100 Continue\r\n"
        assert answers.readline() == b"\r\n"
        raw.sendall(b"{}")
        assert answers.readline() == b"HTTP/1.1 200 OK\r\n"
