"""Several calls of Airflow's API at once, round after round: the errors that they met, and how long they took."""

import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import http_calls

from tidemark.airflow.client import AirflowClient

PATHS = (
    "/dags?limit=100",
    "/dags/flights.reprocess/dagRuns?limit=100",
    "/dags/flights.reprocess/dagRuns/~/taskInstances?limit=100",
    "/assets/events?limit=100",
    "/pools",
)


class Calls(NamedTuple):
    """What some rounds of calls met."""

    errors: list[str]
    median_seconds: float
    longest_seconds: float


def measure_calls(url: str, rounds: int, progress: int = 0) -> Calls:
    """Ask all paths at once, ``rounds`` times; ``progress``: say so after this many rounds."""
    errors: list[str] = []
    took: list[float] = []
    headers = AirflowClient(url).headers()

    def call(path: str) -> None:
        began = time.perf_counter()
        answer = client.get(f"{url}/api/v2{path}", headers=headers)
        took.append(time.perf_counter() - began)
        if answer.is_error:
            errors.append(f"{answer.status_code} {path}: {answer.text[:300]}")

    with http_calls.client(timeout=60) as client, ThreadPoolExecutor(len(PATHS)) as pool:
        for number in range(1, rounds + 1):
            list(pool.map(call, PATHS))
            if progress and number % progress == 0:
                print(f"{number} of {rounds} rounds, {len(errors)} errors", flush=True)
    return Calls(errors, statistics.median(took), max(took))
