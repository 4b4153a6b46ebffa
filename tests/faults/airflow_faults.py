"""Airflow's own backfill over a month of flights, with the scheduler and workers killed in the middle of it.

By hand, as it takes half an hour: `make faults-airflow`. In the end every date must be published, each event once, what
is served must be what bronze gives (the DAG reconcile), and no driver may be left.
"""

import argparse
import contextlib
import json
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import takewhile
from pathlib import Path
from typing import Any

import psutil
from airflow_world import AirflowWorld, Run, free_port
from layers import kinesis_records, make_tables, read, run_refine

from tidemark.core.days import days_between
from tidemark.core.settings import Settings, get_settings
from tidemark.core.spark_start.conf import PARENTS_VARIABLE
from tidemark.core.spark_start.jars import ensure_jars
from tidemark.embedded.platform import Platform, PlatformOptions
from tidemark.lake.publish import coverage
from tidemark.lake.snapshots import NOTHING, open_table
from tidemark.lake.tables import tables_of
from tidemark.lake.transaction_ids import covered_app
from tidemark.pipelines.flights import flights
from tidemark.pipelines.producers.flights import events
from tidemark_spark.driver.session import local_session
from tidemark_spark.speed.ingest import BronzeSink

DAG = "flights.reprocess"
FIRST = date(2013, 1, 1)


def say(text: str) -> None:
    print(f"{datetime.now(UTC):%H:%M:%S} {text}", flush=True)


def processes(**environment: str) -> Iterator[psutil.Process]:
    """The processes of this machine whose environment has these values."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            given = process.environ()
            if all(given.get(name) == value for name, value in environment.items()):
                yield process


class Attack:
    """The backfill, what is done to it, and what must hold in the end."""

    def __init__(self, settings: Settings, world: AirflowWorld, days: int, put: int) -> None:
        self.settings, self.world = settings, world
        self.put = put
        """Events in the lake."""
        self.days = days_between(FIRST, FIRST + timedelta(days=days))
        self.tables = tables_of(flights, settings)

    def published(self) -> int:
        """Dates that every batch table covers."""
        batches = [open_table(table, self.settings) for table in self.tables.batch.values()]
        return sum(all(coverage(batch, day) != NOTHING for batch in batches) for day in self.days)

    def drivers(self) -> list[psutil.Process]:
        """The Python drivers of jobs that run."""
        found = []
        for process in processes(TIDEMARK_HOME=str(self.settings.home)):
            with contextlib.suppress(psutil.Error):
                if "TIDEMARK_RUN" in process.environ() and process.name().startswith("python"):
                    found.append(process)
        return found

    def kill_a_worker(self) -> None:
        """SIGKILL for the process that supervises a task, while the task's driver holds its date."""
        driver = self.until(self.working, "a driver holds a date")
        task, worker = (int(text) for text in driver.environ()[PARENTS_VARIABLE].split(","))
        say(f"kills worker {worker}, of task {task}, of driver {driver.pid}: {driver.environ()['TIDEMARK_RUN']}")
        os.kill(worker, signal.SIGKILL)
        gone, _ = psutil.wait_procs([driver], timeout=30)
        say(f"its driver {'has gone' if gone else 'LIVES ON'}")

    def kill_the_scheduler(self) -> None:
        """SIGKILL for the scheduler while a driver holds a date."""
        self.until(self.working, "a driver holds a date")
        say(f"kills the scheduler, with {len(self.drivers())} drivers at work")
        scheduler = self.world.platform.supervisor.parts["scheduler"]
        assert scheduler.child is not None
        scheduler.child.process.kill()

    def working(self) -> psutil.Process | None:
        """A driver that holds the lock of its date."""
        for lock in (Path(self.settings.state_uri) / "flights/reprocess").glob("*.lock"):
            with contextlib.suppress(OSError, ValueError, psutil.Error):
                process = psutil.Process(json.loads(lock.read_text())["pid"])
                if PARENTS_VARIABLE in process.environ():
                    return process
        return None

    def until(self, condition: Callable[[], Any], what: str, patience: float = 900) -> Any:
        deadline = time.monotonic() + patience
        while not (value := condition()):
            if time.monotonic() > deadline:
                raise TimeoutError(what)
            time.sleep(0.5)
        return value

    def run(self, slots: int) -> list[str]:
        """What is wrong in the end; nothing if all holds."""
        self.world.switch_on(DAG)
        began = time.monotonic()
        last = self.days[-1].isoformat()
        self.world.backfill(DAG, FIRST.isoformat(), last, max_active_runs=slots)
        third = len(self.days) // 3
        attacks = [(1, self.kill_a_worker), (third, self.kill_the_scheduler), (2 * third, self.kill_a_worker)]
        for number, attack in attacks:
            self.until(lambda number=number: self.published() >= number, f"{number} dates are published", 1800)
            attack()
        runs = self.until(lambda: self.ended(len(self.days)), "all runs end", 2400)
        say(f"the backfill took {time.monotonic() - began:,.0f} s")
        return [*self.wrong_runs(runs), *self.wrong_tables(), *self.wrong_answers(), *self.left_over()]

    def ended(self, number: int) -> "list[Run] | None":
        runs = self.world.runs(DAG, "backfill")
        done = len(runs) == number and all(run.state() in ("success", "failed") for run in runs)
        return runs if done else None

    def wrong_runs(self, runs: "list[Run]") -> list[str]:
        states = Counter(run.state() for run in runs)
        tries = Counter(run.tries("reprocess") for run in runs)
        say(f"runs: {dict(states)}; tries of their drivers: {dict(sorted(tries.items()))}")
        return [f"{run.id} is {run.state()}: {run.tasks()}" for run in runs if run.state() != "success"]

    def wrong_tables(self) -> list[str]:
        wrong = []
        if (published := self.published()) != len(self.days):
            wrong.append(f"{published} of {len(self.days)} dates are published")
        silver = read(self.tables.silver, self.settings).select([*flights.key, "event_date"])
        rows = [tuple(row.values()) for row in silver.to_pylist()]
        keys = {row[:-1] for row in rows}
        say(f"silver: {len(rows):,} rows, {len(keys):,} keys, {self.put:,} events were put")
        if not len(rows) == len(keys) == self.put:
            wrong.append(f"silver has {len(rows):,} rows of {len(keys):,} keys, and {self.put:,} events were put")
        for table in (self.tables.silver, *self.tables.batch.values()):
            commits = Counter(self.commits(table.uri)[covered_app(day)] for day in self.days)
            say(f"{table.name}: dates by how many commits published them: {dict(sorted(commits.items()))}")
        return wrong

    @staticmethod
    def commits(uri: str) -> Counter[str]:
        """How many commits of a table carry each transaction identifier."""
        lines = [line for log in Path(uri, "_delta_log").glob("*.json") for line in log.read_text().splitlines()]
        return Counter(action["txn"]["appId"] for action in map(json.loads, lines) if "txn" in action)

    def wrong_answers(self) -> list[str]:
        self.world.switch_on("flights.reconcile")
        conf = {"from": FIRST.isoformat(), "to": (self.days[-1] + timedelta(days=1)).isoformat()}
        run = self.world.trigger("flights.reconcile", **conf)
        self.until(lambda: run.state() in ("success", "failed"), "the reconcile ends", 1200)
        say(f"reconcile: {run.state()}; {run.value('reconcile') if run.state() == 'success' else ''}")
        return [] if run.state() == "success" else [f"reconcile failed: {run.log('reconcile')[-2000:]}"]

    def left_over(self) -> list[str]:
        with contextlib.suppress(TimeoutError):
            self.until(lambda: not self.drivers(), "no driver is left", 60)
        return [f"driver {driver.pid} is left" for driver in self.drivers()]


def fill(settings: Settings, days: int) -> int:
    """Put the flights of the first days into bronze and silver; how many they are."""
    end = f"{FIRST + timedelta(days=days)}T00:00:00Z"
    chosen = list(takewhile(lambda event: event["scheduled_departure"] < end, events()))
    chosen = [event for event in chosen if event["scheduled_departure"] >= f"{FIRST}T00:00:00Z"]
    make_tables(flights, settings)
    sink = BronzeSink(flights, settings, lambda: "fill")
    for batch, start in enumerate(range(0, len(chosen), 5_000)):
        sink.write(kinesis_records(chosen[start : start + 5_000], start), batch)
    spark = local_session("fill", settings)
    run_refine(spark, flights, settings)
    spark.stop()
    return len(chosen)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=31)
    parser.add_argument("--slots", type=int, default=2, help="drivers at once, and active runs of the backfill")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="airflow-faults-", ignore_cleanup_errors=True) as folder:
        jars = get_settings().jars_dir
        ensure_jars(get_settings(), print)
        settings = Settings(home=Path(folder), jars_dir=jars, spark_slots=given.slots, retry_seconds=5)
        put = fill(settings, given.days)
        say(f"{put:,} flights of {given.days} days are in silver; Airflow starts")
        options = PlatformOptions(kinesis_port=None, airflow_port=free_port(), paused=True, durable=False)
        with Platform(settings, options, say) as platform:
            platform.claim("the backfill's platform")
            platform.start(say)
            world = AirflowWorld(settings, platform, [])
            world.wait_until_it_reads_the_dags()
            wrong = Attack(settings, world, given.days, put).run(given.slots)
        platform.remove()
    for line in wrong:
        say(f"WRONG: {line}")
    say("all holds" if not wrong else f"{len(wrong)} things are wrong")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
