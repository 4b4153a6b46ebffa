"""Roles are assumed through STS, with what the options say, before Kinesis is asked."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qs

import http_calls
import pytest

from kinesis_emulator import running_emulator
from pyspark_kinesis.api.client import KinesisClient
from pyspark_kinesis.api.credentials import Identity
from pyspark_kinesis.errors import AccessError

ROLE = "arn:aws:iam::123456789012:role/reader"
ANSWER = """<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials>
<AccessKeyId>{key}</AccessKeyId><SecretAccessKey>secret</SecretAccessKey><SessionToken>token{number}</SessionToken>
<Expiration>{expires}</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>"""


class Sts(HTTPServer):
    """Answers AssumeRole as AWS does: the one thing of AWS's that no emulator here has."""

    def __init__(self, lifetime: timedelta) -> None:
        self.asked: list[dict[str, list[str]]] = []
        sts = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                sts.asked.append(parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode()))
                expires = (datetime.now(UTC) + lifetime).isoformat(timespec="seconds").replace("+00:00", "Z")
                body = ANSWER.format(key="assumed", number=len(sts.asked), expires=expires).encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/xml")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@pytest.fixture
def kinesis() -> Iterator[str]:
    """An emulator that lets only the assumed role in."""
    with running_emulator(arguments=("--access-key", "assumed", "--create-milliseconds", "0")) as url:
        yield url


def test_a_role_is_assumed_with_what_the_options_say(kinesis: str) -> None:
    sts = Sts(timedelta(hours=1))
    identity = Identity(role_arn=ROLE, role_external_id="outside", sts_endpoint_url=sts.url)
    client = KinesisClient("us-east-1", kinesis, identity=identity)
    client.call("CreateStream", {"StreamName": "s", "ShardCount": 1})
    assert len(client.shards({"StreamName": "s"})) == 1
    [asked] = sts.asked
    assert (asked["RoleArn"], asked["ExternalId"]) == ([ROLE], ["outside"])
    assert asked["RoleSessionName"] == ["pyspark-kinesis"]
    with pytest.raises(AccessError, match="check the credentials"):
        KinesisClient("us-east-1", kinesis).shards({"StreamName": "s"})


def test_credentials_that_are_about_to_expire_are_renewed(kinesis: str) -> None:
    sts = Sts(timedelta(minutes=5))
    client = KinesisClient("us-east-1", kinesis, identity=Identity(role_arn=ROLE, sts_endpoint_url=sts.url))
    for _ in range(3):
        client.call("ListStreams", {})
    assert len(sts.asked) > 1


def test_a_role_that_is_refused_is_assumed_once_more_and_then_an_error(kinesis: str) -> None:
    sts = Sts(timedelta(hours=1))
    client = KinesisClient("us-east-1", kinesis, identity=Identity(role_arn=ROLE, sts_endpoint_url=sts.url))
    client.call("ListStreams", {})
    http_calls.post(f"{kinesis}/_control/keys", json={"access_keys": ["another"]}).raise_for_status()
    for asked in (2, 2):
        with pytest.raises(AccessError, match="UnrecognizedClientException"):
            client.call("ListStreams", {})
        assert len(sts.asked) <= asked


def test_an_unknown_profile_is_an_error_that_says_where_to_look() -> None:
    with pytest.raises(AccessError, match=r"no-such-profile.*check AWS_\* and ~/\.aws"):
        KinesisClient("us-east-1", "http://127.0.0.1:9", identity=Identity(profile="no-such-profile"))
