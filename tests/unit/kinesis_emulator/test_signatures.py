"""Signatures of requests, made here as "Signature Version 4 for API requests" (AWS documentation) describes them."""

import hmac
from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import sha256

import http_calls
import httpx
import pytest

from kinesis_emulator import running_emulator

_BODY = b'{"Limit":1}'


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with running_emulator(arguments=("--access-key", "id", "--secret-key", "secret")) as url:
        yield url


def signed(endpoint: str, **more: str) -> dict[str, str]:
    """The headers of a ListStreams, all of them signed."""
    now = datetime.now(UTC)
    day, scope = f"{now:%Y%m%d}", f"{now:%Y%m%d}/us-east-1/kinesis/aws4_request"
    headers = {
        "content-type": "application/x-amz-json-1.1",
        "host": httpx.URL(endpoint).netloc.decode(),
        "x-amz-date": f"{now:%Y%m%dT%H%M%SZ}",
        "x-amz-target": "Kinesis_20131202.ListStreams",
        **{name.replace("_", "-"): value for name, value in more.items()},
    }
    names = ";".join(sorted(headers))
    lines = "".join(f"{name}:{' '.join(value.split())}\n" for name, value in sorted(headers.items()))
    canonical = "\n".join(("POST", "/", "", lines, names, sha256(_BODY).hexdigest()))
    text = "\n".join(("AWS4-HMAC-SHA256", headers["x-amz-date"], scope, sha256(canonical.encode()).hexdigest()))
    key = b"AWS4secret"
    for part in (day, "us-east-1", "kinesis", "aws4_request"):
        key = hmac.new(key, part.encode(), sha256).digest()
    signature = hmac.new(key, text.encode(), sha256).hexdigest()
    credential = f"Credential=id/{scope}, SignedHeaders={names}, Signature={signature}"
    return {**headers, "authorization": f"AWS4-HMAC-SHA256 {credential}"}


def error(endpoint: str, headers: dict[str, str], body: bytes = _BODY, http2: bool = False) -> str | None:
    with http_calls.client(http1=not http2, http2=http2) as client:
        code: str | None = client.post(f"{endpoint}/", content=body, headers=headers).json().get("__type")
        return code


@pytest.mark.parametrize("http2", [False, True])
@pytest.mark.parametrize(
    "more", [{}, {"user_agent": "aws-sdk-java/1  Linux"}, {"amz_sdk_request": "attempt=1", "x_amzn_trace_id": "Root=1"}]
)
def test_whatever_headers_a_client_signs_its_signature_is_found_right(
    endpoint: str, more: dict[str, str], http2: bool
) -> None:
    assert error(endpoint, signed(endpoint, **more), http2=http2) is None


def test_what_was_changed_after_it_was_signed_is_refused(endpoint: str) -> None:
    headers = signed(endpoint, user_agent="one")
    assert error(endpoint, {**headers, "user-agent": "two"}) == "InvalidSignatureException"
    assert error(endpoint, headers, body=b'{"Limit":2}') == "InvalidSignatureException"
    assert error(endpoint, {**headers, "x-amz-date": "20200101T000000Z"}) == "InvalidSignatureException"
    assert error(endpoint, {name: headers[name] for name in headers if name != "x-amz-date"}) is not None
