"""A real S3 server for tests, on 127.0.0.1: versitygw where it is installed, else moto's."""

import contextlib
import importlib.util
import shutil
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import boto3
from botocore.config import Config

# The credentials that the tests of the source set.
ACCESS = SECRET = "test"
HOW = (
    "no S3 server: install moto[s3], flask and flask-cors, or "
    "`go install github.com/versity/versitygw/cmd/versitygw@v1.8.0` and have it on the PATH"
)


@contextlib.contextmanager
def running_s3(folder: Path) -> Iterator[str]:
    """The URL of a server that keeps its files in a folder. Raises LookupError where none is installed."""
    port = _free_port()
    if gateway := shutil.which("versitygw"):
        root = folder / "buckets"
        root.mkdir()
        listen = ["--access", ACCESS, "--secret", SECRET, "--port", f"127.0.0.1:{port}", "--keep-alive", "--quiet"]
        command = [gateway, *listen, "posix", str(root)]
    else:
        command = _moto(port)
    with _running(command, folder / "s3.log"):
        yield f"http://127.0.0.1:{port}"


@contextlib.contextmanager
def running_moto(folder: Path) -> Iterator[str]:
    """The URL of moto's server, of S3, SNS, SQS, Secrets Manager and more. LookupError where it is not installed."""
    port = _free_port()
    with _running(_moto(port), folder / "moto.log"):
        yield f"http://127.0.0.1:{port}"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _moto(port: int) -> list[str]:
    if not (importlib.util.find_spec("moto") and importlib.util.find_spec("flask_cors")):
        raise LookupError(HOW)
    return [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]


@contextlib.contextmanager
def _running(command: list[str], log: Path) -> Iterator[None]:
    with log.open("w") as output:
        server = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        try:
            yield
        finally:
            server.terminate()
            server.wait(30)


def new_bucket(url: str) -> str:
    """The name of a new bucket; waits until the server is up."""
    retries = Config(retries={"mode": "standard", "total_max_attempts": 12})
    client = boto3.client(
        "s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id=ACCESS, aws_secret_access_key=SECRET,
        config=retries,
    )  # fmt: skip
    name = f"ledger-{uuid.uuid4().hex}"
    client.create_bucket(Bucket=name)
    return name
