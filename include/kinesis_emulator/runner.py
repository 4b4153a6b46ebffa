"""Runs the emulator in a process of its own."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

_SAID_BYTES = 2**20


def start_emulator(
    port: int = 0, *, data_dir: Path | None = None, arguments: tuple[str, ...] = ()
) -> tuple[subprocess.Popen[str], str]:
    """Start an emulator and wait until it listens; returns its process and its endpoint URL.

    The process is the caller's to end.

    Args:
        port: Port to listen on, at 127.0.0.1; 0: any free one.
        data_dir: Folder in which it keeps streams and records; without one, in memory.
        arguments: Further options of the command ``kinesis-emulator``, such as ``("--limits",)``.

    Raises:
        RuntimeError: it did not start; the message is the emulator's own (a taken port, say).
    """
    # A file and not a pipe: nobody drains a pipe later, and an emulator that logs much would block on it.
    with tempfile.TemporaryFile() as log:
        process, endpoint, _ = _started(port, data_dir, arguments, log)
    return process, endpoint


@contextmanager
def running_emulator(port: int = 0, *, data_dir: Path | None = None, arguments: tuple[str, ...] = ()) -> Iterator[str]:
    """The endpoint URL of an emulator that runs for the length of the ``with`` block.

    What it logs meanwhile is written to the standard error when the block ends. The arguments are those of
    ``start_emulator``.

    Raises:
        RuntimeError: it did not start; the message is the emulator's own.

    Examples:
        >>> import boto3
        >>> from kinesis_emulator import running_emulator
        >>> keys = {"aws_access_key_id": "any", "aws_secret_access_key": "any", "region_name": "us-east-1"}
        >>> with running_emulator() as endpoint:
        ...     kinesis = boto3.client("kinesis", endpoint_url=endpoint, **keys)
        ...     _ = kinesis.create_stream(StreamName="flights", ShardCount=1)
        ...     kinesis.get_waiter("stream_exists").wait(StreamName="flights", WaiterConfig={"Delay": 1})
        ...     put = kinesis.put_record(StreamName="flights", Data=b"{}", PartitionKey="UA")
        >>> put["ShardId"]
        'shardId-000000000000'
    """
    with tempfile.TemporaryFile() as log:
        process, endpoint, told = _started(port, data_dir, arguments, log)
        try:
            yield endpoint
        finally:
            process.terminate()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            _tell(log, told)


def _started(
    port: int, data_dir: Path | None, arguments: tuple[str, ...], log: IO[bytes]
) -> tuple[subprocess.Popen[str], str, int]:
    """The process, its endpoint, and how many bytes of its log were told."""
    command = [sys.executable, "-m", "kinesis_emulator", "--port", str(port), *arguments]
    if data_dir is not None:
        command += ["--data-dir", str(data_dir)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    assert process.stdout is not None
    endpoint = process.stdout.readline().strip()
    if not endpoint:
        process.wait()
        said = os.pread(log.fileno(), _SAID_BYTES, 0).decode(errors="replace").strip()
        raise RuntimeError(said or "the emulator ended before it was ready")
    return process, endpoint, _tell(log, 0)


def _tell(log: IO[bytes], told: int) -> int:
    """Tell what was logged behind so many bytes; returns how many that makes.

    Without a seek: both processes have one place in the file, and the emulator goes on to write there.
    """
    said = os.pread(log.fileno(), _SAID_BYTES, told)
    sys.stderr.write(said.decode(errors="replace"))
    return told + len(said)
