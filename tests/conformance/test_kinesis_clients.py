"""AWS' own clients against the emulator, as they are: the SDKs for Java, the KPL, the KCL and the AWS CLI.

Those of Java run when TIDEMARK_KINESIS_JAVA names a folder where Maven has built them:
``mvn -f tests/conformance/java -Dfolder=F process-classes`` with a folder F outside of the repository, then
``TIDEMARK_KINESIS_JAVA=F pytest tests/conformance``. The CLI runs where there is an ``aws`` on the PATH.
"""

import json
import os
import shutil
import ssl
import subprocess
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import http_calls
import httpx
import pytest
from moto.server import ThreadedMotoServer

from kinesis_emulator import running_emulator
from pyspark_kinesis.api import kpl

_FIRST = "shardId-000000000000"
_SECONDS = 900


@dataclass(frozen=True)
class Emulator:
    """One that checks signatures; over TLS if ``certificate`` is there, which clients have to trust."""

    endpoint: str
    certificate: Path | None

    @property
    def kinesis(self) -> Any:
        return boto3.client(
            "kinesis",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
            verify=str(self.certificate) if self.certificate else None,
        )

    def wire(self) -> dict[str, int]:
        """How many calls came in each version of HTTP and encoding."""
        trusting = ssl.create_default_context(cafile=str(self.certificate)) if self.certificate else True
        counts: dict[str, int] = http_calls.get(f"{self.endpoint}/_control/stats", verify=trusting).json()["wire"]
        return counts

    def made_stream(self, shards: int = 1) -> str:
        name = uuid.uuid4().hex
        self.kinesis.create_stream(StreamName=name, ShardCount=shards)
        return name

    def records(self, stream: str) -> list[dict[str, Any]]:
        """All records of the first shard."""
        kinesis = self.kinesis
        position = {"StreamName": stream, "ShardId": _FIRST, "ShardIteratorType": "TRIM_HORIZON"}
        token = kinesis.get_shard_iterator(**position)["ShardIterator"]
        records: list[dict[str, Any]] = kinesis.get_records(ShardIterator=token)["Records"]
        return records


@pytest.fixture(scope="module", params=["clear", "TLS"])
def emulator(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    options = ("--create-milliseconds", "0", "--access-key", "test", "--secret-key", "test")
    options += ("--subscription-seconds", "5", *(["--tls"] if request.param == "TLS" else []))
    with running_emulator(arguments=options) as endpoint:
        if request.param == "clear":
            yield Emulator(endpoint, None)
            return
        url = httpx.URL(endpoint)
        certificate = tmp_path_factory.mktemp("tls") / "certificate.pem"
        certificate.write_text(ssl.get_server_certificate((url.host, url.port or 0)))
        yield Emulator(endpoint, certificate)


Java = Callable[..., list[list[str]]]


@pytest.fixture
def java(emulator: Emulator, tmp_path: Path) -> Java:
    """Runs a client; what it printed, in words by line."""
    folder = os.environ.get("TIDEMARK_KINESIS_JAVA")
    if not folder:
        pytest.skip("TIDEMARK_KINESIS_JAVA is unset: it names the folder where Maven built tests/conformance/java")
    command = ["java", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]
    if emulator.certificate:
        store = tmp_path / "trusted.p12"
        keytool = ["keytool", "-importcert", "-noprompt", "-file", str(emulator.certificate)]
        keytool += ["-keystore", str(store), "-storetype", "PKCS12", "-storepass", "password"]
        subprocess.run(keytool, check=True, capture_output=True)
        command += [f"-Djavax.net.ssl.trustStore={store}", "-Djavax.net.ssl.trustStorePassword=password"]
    command += ["-classpath", os.pathsep.join((f"{folder}/classes", f"{folder}/jars/*")), "clients.Main"]

    def run(client: str, stream: str, *arguments: str) -> list[list[str]]:
        whole = [*command, client, emulator.endpoint, stream, *arguments]
        done = subprocess.run(whole, capture_output=True, text=True, timeout=_SECONDS)
        assert done.returncode == 0, done.stdout + done.stderr
        return [line.split(" ") for line in done.stdout.splitlines()]

    return run


def _said(lines: list[list[str]], about: str) -> list[list[str]]:
    return [rest for first, *rest in lines if first == about]


def _milliseconds(moment: Any) -> str:
    return str(round(moment.timestamp() * 1000))


@pytest.mark.parametrize(
    ("client", "travels"), [("sync", "HTTP/1.1 CBOR"), ("async", "HTTP/2 CBOR"), ("v1", "HTTP/1.1 CBOR")]
)
def test_the_sdks_for_java_put_and_get_as_boto3_sees_it(
    emulator: Emulator, java: Java, client: str, travels: str
) -> None:
    stream, before = emulator.made_stream(), emulator.wire().get(travels, 0)
    lines = java(client, stream, "00ff", "", "32")
    assert emulator.wire()[travels] - before == 5
    records = emulator.records(stream)
    assert [record["Data"] for record in records] == [b"\x00\xff", b"", b"2"]
    assert {record["PartitionKey"] for record in records} == {"key"}
    expected = [
        [r["Data"].hex(), r["SequenceNumber"], _milliseconds(r["ApproximateArrivalTimestamp"])] for r in records
    ]
    assert _said(lines, "record") == expected
    summary = emulator.kinesis.describe_stream_summary(StreamName=stream)["StreamDescriptionSummary"]
    assert _said(lines, "created") == [[_milliseconds(summary["StreamCreationTimestamp"])]]
    assert [_said(lines, "failed"), _said(lines, "behind")] == [[["0"]], [["0"]]]
    assert _said(lines, "error") == [["ResourceNotFoundException"]]


def test_the_asynchronous_sdk_subscribes_until_the_subscription_ends(emulator: Emulator, java: Java) -> None:
    stream = emulator.made_stream()
    emulator.kinesis.put_records(
        StreamName=stream, Records=[{"Data": value, "PartitionKey": "k"} for value in (b"\x00\xff", b"2" * 500_000)]
    )
    lines = java("subscribe", stream)
    expected = [[r["Data"].hex(), r["SequenceNumber"]] for r in emulator.records(stream)]
    assert [record[:2] for record in _said(lines, "record")] == expected
    assert len(_said(lines, "subscribed")) == 1
    assert not _said(lines, "error")
    assert lines[-1] == ["ended"]


def test_the_asynchronous_sdk_is_told_of_a_shards_end(emulator: Emulator, java: Java) -> None:
    stream, kinesis = emulator.made_stream(), emulator.kinesis
    kinesis.put_record(StreamName=stream, Data=b"1", PartitionKey="k")
    kinesis.split_shard(StreamName=stream, ShardToSplit=_FIRST, NewStartingHashKey=str(2**127))
    lines = java("subscribe", stream)
    assert [record[0] for record in _said(lines, "record")] == ["31"]
    assert _said(lines, "child") == [["shardId-000000000001"], ["shardId-000000000002"]]
    assert lines[-1] == ["ended"]


def test_the_kpl_puts_each_record_once(emulator: Emulator, java: Java) -> None:
    if emulator.certificate is None:
        pytest.skip("the KPL speaks TLS only")
    stream = emulator.made_stream()
    assert java("kpl", stream, "5000") == [["put", "5000"]]
    found = []
    for record in emulator.records(stream):
        parts = kpl.split(record["Data"])
        found += [(record["PartitionKey"], record["Data"])] if parts is None else parts
    assert sorted(found) == sorted((str(n % 7), str(n).encode()) for n in range(5000))
    assert len(emulator.records(stream)) < 5000


@pytest.mark.parametrize("retrieval", ["polling", "fan-out"])
def test_the_kcl_reads_each_record_of_both_shards(emulator: Emulator, java: Java, retrieval: str) -> None:
    if (retrieval == "fan-out") != (emulator.certificate is not None):
        pytest.skip("it takes minutes: polling is tried in the clear, and fan-out over TLS")
    stream = emulator.made_stream(shards=2)
    values = [f"record-{n}" for n in range(200)]
    emulator.kinesis.put_records(
        StreamName=stream, Records=[{"Data": value.encode(), "PartitionKey": value} for value in values]
    )
    dynamodb = ThreadedMotoServer(port=0, verbose=False)
    dynamodb.start()
    try:
        host, port = dynamodb.get_host_and_port()
        lines = java("kcl", stream, f"http://{host}:{port}", retrieval, str(len(values)))
    finally:
        dynamodb.stop()
    assert sorted(_said(lines, "record")) == sorted([value] for value in values)
    assert sorted(_said(lines, "shard")) == [[_FIRST], ["shardId-000000000001"]]
    assert _said(lines, "stopped") == [["true"]]


def test_the_cli_puts_and_gets(emulator: Emulator) -> None:
    if shutil.which("aws") is None:
        pytest.skip("there is no aws on the PATH")
    stream = emulator.made_stream()
    environment = {
        **os.environ,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        **({"AWS_CA_BUNDLE": str(emulator.certificate)} if emulator.certificate else {}),
    }

    def aws(*arguments: str) -> dict[str, Any]:
        command = ["aws", "--output", "json", "--endpoint-url", emulator.endpoint, "kinesis", *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=_SECONDS)
        assert done.returncode == 0, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout or "{}")
        return answer

    put = aws("put-record", "--stream-name", stream, "--partition-key", "k", "--data", "fileb:///dev/null")
    place = ("--stream-name", stream, "--shard-id", _FIRST, "--shard-iterator-type", "TRIM_HORIZON")
    records = aws("get-records", "--shard-iterator", aws("get-shard-iterator", *place)["ShardIterator"])["Records"]
    assert [record["SequenceNumber"] for record in records] == [put["SequenceNumber"]]
    assert aws("describe-stream-summary", "--stream-name", stream)["StreamDescriptionSummary"]["StreamName"] == stream
