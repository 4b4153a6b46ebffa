"""Proxies, certificate authorities, regions and keys as botocore takes them, and patience in every process."""

import http.server
import ipaddress
import ssl
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pyspark.sql.types import BinaryType, StringType, StructField, StructType
from scripted_http import Answer, scripted_server

from kinesis_emulator import running_emulator
from pyspark_kinesis.api.client import KinesisClient
from pyspark_kinesis.api.credentials import Identity
from pyspark_kinesis.errors import AccessError, EndpointError
from pyspark_kinesis.offsets.stores.s3 import S3Store
from pyspark_kinesis.options.put import parse_put
from pyspark_kinesis.options.stream import parse

EMPTY = (200, b'{"Shards": []}')


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name in ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))


@contextmanager
def proxy() -> Iterator[tuple[str, list[str]]]:
    """A proxy that passes plain requests on and refuses to tunnel; what it was asked for."""
    seen: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            seen.append(self.path)
            body = self.rfile.read(int(self.headers["Content-Length"]))
            passed_on = urllib.request.Request(self.path, body, dict(self.headers.items()), method="POST")
            direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            with direct.open(passed_on) as answer:
                data = answer.read()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def do_CONNECT(self) -> None:
            seen.append(f"CONNECT {self.path}")
            self.send_error(502)

        def log_message(self, *_: object) -> None:
            pass

    with serving(Handler) as server:
        yield f"http://127.0.0.1:{server.server_port}", seen


@contextmanager
def serving(
    handler: type[http.server.BaseHTTPRequestHandler], context: ssl.SSLContext | None = None
) -> Iterator[http.server.ThreadingHTTPServer]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_requests_go_through_the_proxy_of_the_environment(kinesis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with proxy() as (url, seen):
        monkeypatch.setenv("HTTP_PROXY", url)
        KinesisClient("us-east-1", kinesis_url).call("ListStreams", {})
        assert seen == [f"{kinesis_url}/"]
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        KinesisClient("us-east-1", kinesis_url).call("ListStreams", {})
        assert len(seen) == 1, "NO_PROXY is heeded"


def test_requests_over_tls_tunnel_through_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    with proxy() as (url, seen):
        monkeypatch.setenv("HTTPS_PROXY", url)
        client = KinesisClient("eu-west-1", "https://kinesis.eu-west-1.amazonaws.com", patience_seconds=0.5)
        with pytest.raises(EndpointError, match="Tunnel connection failed"):
            client.call("ListStreams", {})
        assert set(seen) == {"CONNECT kinesis.eu-west-1.amazonaws.com:443"}


def test_a_ledger_on_s3_is_reached_through_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    with proxy() as (url, seen):
        monkeypatch.setenv("HTTPS_PROXY", url)
        with pytest.raises(EndpointError, match="Tunnel connection failed"):
            S3Store("bucket", "p", region="eu-west-1", patience_seconds=0.5).get("a")
        assert set(seen) == {"CONNECT bucket.s3.eu-west-1.amazonaws.com:443"}


@pytest.fixture
def tls(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A server over TLS that lists no shards, and its certificate, which nobody trusts."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
        .not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    path, both = tmp_path / "ca.pem", tmp_path / "both.pem"
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    pkcs8, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    both.write_bytes(path.read_bytes() + key.private_bytes(serialization.Encoding.PEM, pkcs8, plain))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(both)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Length", str(len(EMPTY[1])))
            self.end_headers()
            self.wfile.write(EMPTY[1])

        def log_message(self, *_: object) -> None:
            pass

    with serving(Handler, context) as server:
        yield f"https://127.0.0.1:{server.server_port}", path


def test_a_certificate_that_nobody_signed_is_refused(tls: tuple[str, Path]) -> None:
    with pytest.raises(EndpointError, match="certificate verify failed"):
        KinesisClient("us-east-1", tls[0], patience_seconds=0.5).shards({"StreamName": "s"})


@pytest.mark.parametrize("variable", ["AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"])
def test_the_bundle_of_the_environment_is_trusted(
    tls: tuple[str, Path], variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, str(tls[1]))
    assert KinesisClient("us-east-1", tls[0]).shards({"StreamName": "s"}) == []


def test_the_bundle_of_the_profile_is_trusted(tls: tuple[str, Path], tmp_path: Path) -> None:
    write_keys(tmp_path, "test")
    (tmp_path / "config").write_text(f"[profile p]\nca_bundle = {tls[1]}\n")
    assert KinesisClient("us-east-1", tls[0], identity=Identity(profile="p")).shards({"StreamName": "s"}) == []


def test_a_bundle_that_is_not_there_is_said(tls: tuple[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", "/no/such/bundle.pem")
    with pytest.raises(AccessError, match=r"/no/such/bundle.pem.*AWS_CA_BUNDLE"):
        KinesisClient("us-east-1", tls[0]).shards({"StreamName": "s"})


def regions() -> set[str]:
    """What a reader and a writer take for the region."""
    read = parse({"streamName": "s", "ledgerLocation": "/l"})
    rows = StructType([StructField("data", BinaryType())])
    rows_of_streams = StructType([*rows.fields, StructField("streamName", StringType())])
    return {read.region, parse_put({"streamName": "s"}, rows).region, parse_put({}, rows_of_streams).region}


def test_the_region_is_that_of_the_environment_or_of_the_profile(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert regions() == {"us-east-1"}
    (tmp_path / "config").write_text("[default]\nregion = eu-west-1\n[profile p]\nregion = eu-west-2\n")
    assert regions() == {"eu-west-1"}
    assert parse({"streamName": "s", "ledgerLocation": "/l", "awsProfile": "p"}).region == "eu-west-2"
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-north-1")
    assert regions() == {"eu-north-1"}
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    assert regions() == {"eu-central-1"}
    assert parse({"streamName": "s", "ledgerLocation": "/l", "region": "eu-south-1"}).region == "eu-south-1"


def write_keys(folder: Path, key: str, profile: str = "p") -> None:
    (folder / "config").write_text(f"[profile {profile}]\n")
    (folder / "credentials").write_text(f"[{profile}]\naws_access_key_id = {key}\naws_secret_access_key = s\n")


def test_keys_of_a_profile_that_are_replaced_are_read_again(tmp_path: Path) -> None:
    write_keys(tmp_path, "old")
    with running_emulator(arguments=("--access-key", "new")) as url:
        client = KinesisClient("us-east-1", url, identity=Identity(profile="p"))
        with pytest.raises(AccessError, match="UnrecognizedClientException"):
            client.call("ListStreams", {})
        write_keys(tmp_path, "new")
        assert client.call("ListStreams", {})["StreamNames"] == []


@pytest.mark.parametrize("refusal", ["InvalidAccessKeyId", "ExpiredToken"])
def test_keys_that_are_replaced_are_read_again_for_the_ledger(tmp_path: Path, refusal: str) -> None:
    write_keys(tmp_path, "old")
    refused = (403, f"<Error><Code>{refusal}</Code><Message>m</Message></Error>".encode())
    with scripted_server((200, b"1"), refused, refused, (200, b"2")) as url:
        store = S3Store("bucket", "p", region="us-east-1", endpoint_url=url, profile="p")
        assert store.get("a") == b"1"
        with pytest.raises(AccessError, match="awsProfile"):
            store.get("a")
        write_keys(tmp_path, "new")
        assert store.get("a") == b"2"


THROTTLED = (400, b'{"__type": "ProvisionedThroughputExceededException", "message": "slow down"}')
SLOW_DOWN = (503, b"<Error><Code>SlowDown</Code></Error>")
# With jitter, so many take more than the few seconds that a process had which had not had an answer yet.
FAILURES = 8


@pytest.mark.parametrize("failure", [THROTTLED, (0, b'{"Shards": [')])
def test_a_process_that_had_no_answer_yet_is_as_patient_as_any(failure: Answer) -> None:
    with scripted_server(*[failure] * FAILURES, EMPTY) as url:
        assert KinesisClient("us-east-1", url).shards({"StreamName": "s"}) == []


def test_a_ledger_that_gave_no_answer_yet_is_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    with scripted_server(*[SLOW_DOWN] * FAILURES, (200, b"1")) as url:
        assert S3Store("bucket", "p", region="us-east-1", endpoint_url=url).get("a") == b"1"
    assert not caplog.text or "keeps failing, and is repeated for 60 s" in caplog.text
