"""TLS: with a certificate that is made at start, or with one that is given."""

import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import boto3
import http_calls
import httpx
import pytest
from botocore.config import Config
from botocore.exceptions import SSLError

from kinesis_emulator import running_emulator, start_emulator


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with running_emulator(arguments=("--tls",)) as url:
        yield url


@pytest.fixture
def certificate(endpoint: str, tmp_path: Path) -> Path:
    """What the emulator shows to a client that asks for it."""
    url = httpx.URL(endpoint)
    file = tmp_path / "certificate.pem"
    file.write_text(ssl.get_server_certificate((url.host, url.port or 0)))
    return file


def streams(endpoint: str, trusted: Path | bool) -> list[str]:
    client = boto3.client(
        "kinesis",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        verify=str(trusted) if isinstance(trusted, Path) else trusted,
        config=Config(retries={"total_max_attempts": 1}),
    )
    names: list[str] = client.list_streams()["StreamNames"]
    return names


def made(folder: Path, name: str) -> tuple[str, str]:
    """A certificate and its key, made by openssl."""
    certificate, key = str(folder / f"{name}.pem"), str(folder / f"{name}.key")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=test",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate],
        check=True,
        capture_output=True,
    )  # fmt: skip
    return certificate, key


def test_a_client_trusts_the_certificate_that_was_made_and_no_other_does(endpoint: str, certificate: Path) -> None:
    assert endpoint.startswith("https://127.0.0.1:")
    assert streams(endpoint, certificate) == []
    assert streams(endpoint.replace("127.0.0.1", "localhost"), certificate) == []
    with pytest.raises(SSLError, match="CERTIFICATE_VERIFY_FAILED"):
        streams(endpoint, True)


def test_http_2_is_spoken_where_alpn_chooses_it(endpoint: str, certificate: Path) -> None:
    trusting = ssl.create_default_context(cafile=str(certificate))
    for http2, version in ((True, "HTTP/2"), (False, "HTTP/1.1")):
        with http_calls.client(http2=http2, verify=trusting) as client:
            assert client.get(f"{endpoint}/_control/stats").http_version == version


def test_http_2_is_spoken_where_a_client_begins_with_it_unasked(endpoint: str, certificate: Path) -> None:
    url = httpx.URL(endpoint)
    trusting = ssl.create_default_context(cafile=str(certificate))
    with (
        socket.create_connection((url.host, url.port or 0), timeout=600) as raw,
        trusting.wrap_socket(raw, server_hostname=url.host) as client,
    ):
        assert client.selected_alpn_protocol() is None
        client.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")
        assert client.recv(9)[3:4] == b"\x04"  # a SETTINGS frame


def test_a_given_certificate_is_shown(tmp_path: Path) -> None:
    certificate, key = made(tmp_path, "one")
    with running_emulator(arguments=("--tls-cert", certificate, "--tls-key", key)) as endpoint:
        assert streams(endpoint, Path(certificate)) == []


def test_a_certificate_that_cannot_be_used_is_said_with_the_remedy(tmp_path: Path) -> None:
    (certificate, key), (_, other) = made(tmp_path, "one"), made(tmp_path, "two")
    remedy = r"^error: the certificate .*one.pem with the key .* cannot be used .*; give PEM files that belong together"
    for bad in (other, certificate, str(tmp_path / "missing")):
        with pytest.raises(RuntimeError, match=remedy):
            start_emulator(arguments=("--tls-cert", certificate, "--tls-key", bad))
    with pytest.raises(RuntimeError, match=r"^error: --tls-cert and --tls-key belong together; give both"):
        start_emulator(arguments=("--tls-key", key))
