"""The stack is hurt in every way while events flow, and in the end the demo proves that the answer is right.

By hand (`make stack-test`), as it takes an engine and its time; the tests run in order, on one stack, whose data grows,
and each proof is of all that went before.
``tidemark demo --stack`` compares the tables with what the Kinesis stream itself holds, record by record and flight by
flight, and every window of every rollup with a recomputation from the input file.
"""

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

if TYPE_CHECKING:
    from conftest import Stack

pytestmark = pytest.mark.timeout(7200)
ROOT = Path(__file__).resolve().parents[2]
SERVICES = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
WORKERS = [name for name in SERVICES if name.startswith("spark-worker")]
TIDEMARK = Path(sys.executable).with_name("tidemark")
RATE = 100.0


def prove(stack: "Stack", more: int) -> None:
    """Put some more flights, by the demo, which reprocesses, and fails if a figure of all flights so far disagrees."""
    demo = [TIDEMARK, "demo", "--stack", "--records", str(more), "--rate", "2000"]
    done = subprocess.run(demo, cwd=ROOT, env=stack.environment, capture_output=True, text=True, check=False)
    print(done.stdout[-6000:])
    stack.put += more
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
    assert "departures_daily" in done.stdout


def wait_for(stack: "Stack", flights: int) -> None:
    """Until silver holds so many flights; the proof then says whether each is there once."""
    took = stack.until(lambda: stack.flights() >= flights, f"silver holds {flights} flights")
    print(f"silver held all {flights:,} flights after {took:.0f} s")


def test_the_main_job_runs_on_both_workers(stack: "Stack") -> None:
    prove(stack, 20_000)
    for worker in WORKERS:
        commands = stack.compose("exec", "--no-TTY", worker, "bash", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
        assert "pyspark.daemon" in commands, f"no task of the Kinesis source has run on {worker}"


def test_each_container_is_killed_while_events_flow_and_nothing_is_lost_or_doubled(stack: "Stack") -> None:
    before = stack.flights()
    with stack.producing(rate=RATE) as produced:
        for service in [name for name in stack.containers() if name != "init"]:
            restarts, put = stack.restarts(service), produced.records
            stack.kill(service)
            stack.until(lambda s=service, n=restarts: stack.restarts(s) > n, f"{service} is started again")
            took = stack.until(stack.healthy, f"all are healthy after {service} was killed")
            print(
                f"{service}: killed, and all healthy {took:.0f} s later; {produced.records - put:,} flights meanwhile"
            )
    wait_for(stack, before + produced.records)


def test_a_worker_killed_in_mid_batch_costs_nothing_but_time(stack: "Stack") -> None:
    before = stack.flights()
    with stack.producing(rate=100_000.0) as produced:
        stack.until(lambda: produced.records >= 10_000, "a backlog, which both workers read")
        stack.kill(WORKERS[0])
        stack.until(lambda: produced.records >= 20_000, "and more of it")
    log = stack.compose("logs", "--no-color", "stream-flights")
    stack.until(stack.healthy, "all are healthy")
    wait_for(stack, before + produced.records)
    assert "Lost executor" in log or "Lost executor" in stack.compose("logs", "--no-color", "stream-flights")
    prove(stack, 1_000)


def test_an_upgrade_while_streaming_loses_nothing(stack: "Stack") -> None:
    before = stack.flights()
    stack.environment["TIDEMARK_VERSION"] = "next"
    with stack.producing(rate=RATE) as produced:
        print(f"another image built, upgraded to and healthy after {stack.up('--build'):.0f} s")
    assert all(service["Image"].endswith(":next") for name, service in stack.containers().items() if name != "postgres")
    wait_for(stack, before + produced.records)


def test_down_and_up_again_keeps_the_data(stack: "Stack") -> None:
    query = "SELECT count(*) AS windows, sum(scheduled) AS flights FROM flights.departures_daily"
    before = stack.sql(query)
    stack.compose("down")
    print(f"up again and healthy after {stack.up():.0f} s")
    assert stack.sql(query) == before
    prove(stack, 1_000)
