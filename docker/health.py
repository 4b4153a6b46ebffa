"""Healthchecks of the stack: each asks a container for what it is there for. Standard library only, as they run often.

Exit code 0: it does that now; 1: it does not, and the line printed, which `docker inspect` shows, says what is wrong.
"""

import fcntl
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

TIMEOUT_SECONDS = 8
AIRFLOW = "http://airflow-api:8080"
SPARK_MASTER = "http://spark-master:8080"


def _ask(url: str, *, body: bytes | None = None, headers: dict[str, str] | None = None) -> Any:
    with urlopen(Request(url, data=body, headers=headers or {}), timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310
        return json.load(answer)


def kinesis() -> str | None:
    """It answers a call of the Kinesis API."""
    headers = {"X-Amz-Target": "Kinesis_20131202.ListStreams", "Content-Type": "application/x-amz-json-1.1"}
    return (
        None if "StreamNames" in _ask("http://localhost:4567/", body=b"{}", headers=headers) else "no list of streams"
    )


def spark_master() -> str | None:
    """It leads the cluster: it is not recovering, nor a standby."""
    status = _ask(f"{SPARK_MASTER}/json/")["status"]
    return None if status == "ALIVE" else f"the master is {status}"


def spark_worker() -> str | None:
    """The master counts on it."""
    own = _ask("http://localhost:8081/json/")["id"]
    states = {worker["id"]: worker["state"] for worker in _ask(f"{SPARK_MASTER}/json/")["workers"]}
    state = states.get(own, "not registered")
    return None if state == "ALIVE" else f"for the master, {own} is {state}"


def airflow(part: str) -> str | None:
    """A part of Airflow has lately written its heartbeat to the database, and the API server could read it there."""
    status = _ask(f"{AIRFLOW}/api/v2/monitor/health")[part]["status"]
    return None if status == "healthy" else f"{part} is {status}"


def stream(pipeline: str) -> str | None:
    """A driver holds the locks of both streams, and both queries have begun."""
    folder = Path(os.environ["TIDEMARK_HOME"], "state", pipeline)
    for name in ("ingest", "refine"):
        path = folder / f"{name}.lock"
        with path.open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return f"nobody runs the {name} stream"
            except BlockingIOError:
                if "heartbeat" not in json.load(lock):
                    return f"the {name} stream is starting"
    return None


CHECKS: dict[str, Callable[..., str | None]] = {
    "kinesis": kinesis,
    "spark-master": spark_master,
    "spark-worker": spark_worker,
    "airflow": airflow,
    "stream": stream,
}


def main() -> int:
    """Run the check that the arguments name."""
    check, *arguments = sys.argv[1:]
    try:
        problem = CHECKS[check](*arguments)
    except (OSError, ValueError, KeyError) as error:
        problem = f"{type(error).__name__}: {error}"
    if problem:
        print(problem)  # noqa: T201
    return 1 if problem else 0


if __name__ == "__main__":
    sys.exit(main())
