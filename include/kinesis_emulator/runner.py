"""Runs the emulator in a process of its own."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def start_emulator(
    port: int = 0, *, data_dir: Path | None = None, arguments: tuple[str, ...] = ()
) -> tuple[subprocess.Popen[str], str]:
    """Start an emulator and wait until it listens; returns its process and its endpoint URL.

    Raises:
        RuntimeError: it did not start; the message is the emulator's own (a taken port, say).
    """
    command = [sys.executable, "-m", "kinesis_emulator", "--port", str(port), *arguments]
    if data_dir is not None:
        command += ["--data-dir", str(data_dir)]
    # A file and not a pipe: nobody drains a pipe later, and an emulator that logs much would block on it.
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
        assert process.stdout is not None
        endpoint = process.stdout.readline().strip()
        if not endpoint:
            process.wait()
            errors.seek(0)
            raise RuntimeError(errors.read().strip() or "the emulator ended before it was ready")
    return process, endpoint


@contextmanager
def running_emulator(port: int = 0, *, data_dir: Path | None = None, arguments: tuple[str, ...] = ()) -> Iterator[str]:
    """The endpoint URL of an emulator that runs for the length of the ``with`` block."""
    process, endpoint = start_emulator(port, data_dir=data_dir, arguments=arguments)
    try:
        yield endpoint
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
