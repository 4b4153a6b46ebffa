"""The demo's course: start everything, replay flights, reprocess through Airflow, keep asking, and prove the answer."""

import shutil
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date

import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console
from rich.live import Live

from kinesis_emulator import start_emulator
from tidemark.airflow.client import AirflowClient
from tidemark.airflow.standalone import start_airflow
from tidemark.delta import create_tables, open_table, position
from tidemark.demo.live import Board, serve
from tidemark.demo.report import Account, account, print_report, proofs
from tidemark.errors import JobError, PreconditionError
from tidemark.jars import ensure_jars
from tidemark.pipelines.flights import flights
from tidemark.processes import Child, check_port_free, stop_process
from tidemark.producers.flights import events
from tidemark.producers.producer import Event, Produced, ensure_stream, kinesis_client, produce
from tidemark.serving import pin
from tidemark.serving.view import connect
from tidemark.settings import Settings
from tidemark.spark_conf import java_executable, submit_command, submit_environment
from tidemark.tables import INGEST_APP, REFINE_APP, tables_of

MIN_FREE_BYTES = 2 * 2**30
REPROCESSED = (date(2013, 1, 1), date(2013, 4, 1))
SHOWN = flights.rollup("departures_daily")


@dataclass(frozen=True)
class DemoOptions:
    """What a user may choose."""

    records: int | None = None
    records_per_second: float = 2500
    kinesis_port: int = 4567
    airflow_port: int = 8080
    keep: bool = False


class Demo:
    """One run. ``run`` may be interrupted at any time; leaving the ``with`` block ends every process."""

    def __init__(self, options: DemoOptions, base: Settings, console: Console) -> None:
        self._options = options
        self._console = console
        self._folder = base.home / "demo"
        self._base = base
        self.settings = base
        self._stack = ExitStack()
        self._children: list[Child] = []
        self._board = Board()
        self._produced = Produced()
        self._put_before = 0
        self._producer_error: BaseException | None = None
        self._began = time.monotonic()
        self.timings: dict[str, float] = {}

    def __enter__(self) -> "Demo":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def run(self) -> bool:
        """Run to the end; True if every figure agrees."""
        self._check()
        self._start_kinesis()
        self._start_streams()
        with Live(self._board, console=self._console, refresh_per_second=4, transient=False):
            self._start_producer()
            self._watch("waiting for the first answer", self._has_answer)
            self._mark("first serving answer")
            airflow = self._start_airflow()
            self._reprocess(airflow)
            self._watch("producing", lambda: self._produced.done)
            self._watch("refine catches up", self._caught_up)
            self._mark("every flight served")
            self._board.phase = "done"
        self._console.print()
        if self._producer_error is not None:
            raise self._producer_error
        found = self._account()
        proven = proofs(flights, self._put, self.settings)
        self._mark("proved")
        agrees = print_report(self._console, found, proven, self.timings)
        if self._options.keep:
            self._keep()
        return agrees

    @property
    def _put(self) -> int:
        return self._put_before + self._produced.records

    def _account(self) -> Account:
        return account(flights, self._put, self.settings)

    def _check(self) -> None:
        java_executable()
        check_port_free(self._options.kinesis_port, "the Kinesis emulator", "--kinesis-port")
        check_port_free(self._options.airflow_port, "Airflow", "--airflow-port")
        self._base.home.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self._base.home).free
        if free < MIN_FREE_BYTES:
            raise PreconditionError(
                f"{self._base.home} has {free / 2**30:.1f} GiB free and the demo needs {MIN_FREE_BYTES // 2**30}: make "
                "room, or choose another folder with TIDEMARK_HOME"
            )
        ensure_jars(self._base, self._console.print)
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir()

    def _start_kinesis(self) -> None:
        try:
            process, endpoint = start_emulator(self._options.kinesis_port)
        except RuntimeError as error:
            raise PreconditionError(str(error)) from error
        self._stack.callback(stop_process, process)
        self.settings = self._base.model_copy(
            update={
                "lake_uri": str(self._folder / "lake"),
                "state_uri": str(self._folder / "state"),
                "kinesis_endpoint_url": endpoint,
                # Small micro-batches from the first one on: a cold driver takes long over a large one.
                "max_records_per_batch": 10_000,
                "approval_days": 366,  # nobody is asked whether three months may be reprocessed: the answer is yes
                "schedules": False,  # runs of yesterday's dates would only take the cores from the one that is shown
            }
        )
        self._console.print(f"Kinesis emulator at {endpoint}")
        ensure_stream(kinesis_client(self.settings), flights)
        create_tables(tables_of(flights, self.settings), self.settings)

    def _start_streams(self) -> None:
        command = submit_command("stream", ["--pipeline", "flights"], self.settings)
        self._child(Child("streams", command, self._folder / "streams.log", submit_environment(self.settings)))
        log = self._folder / "streams.log"
        shown = log.relative_to(self._base.project_dir) if log.is_relative_to(self._base.project_dir) else log
        self._console.print(f"Streams of flights are starting (log: {shown})")

    def _start_producer(self) -> None:
        def put() -> None:
            try:
                produce(
                    kinesis_client(self.settings),
                    flights,
                    self._events(),
                    records_per_second=self._options.records_per_second,
                    produced=self._produced,
                )
            except BaseException as error:  # shown by the main thread, which goes on until it sees it
                self._producer_error = error

        threading.Thread(target=put, name="producer", daemon=True).start()

    def _events(self) -> Iterable[Event]:
        return events(self._options.records)

    def _start_airflow(self) -> AirflowClient:
        self._note("Airflow is starting")
        child = start_airflow(self.settings, self._options.airflow_port, log=self._folder / "airflow.log")
        self._child(child)
        client = AirflowClient(f"http://127.0.0.1:{self._options.airflow_port}")
        self._watch("Airflow is starting", client.healthy, limit_seconds=240)
        self._watch("Airflow reads the DAGs", lambda: client.has_dag("flights.reprocess"), limit_seconds=180)
        self._mark("Airflow ready")
        return client

    def _reprocess(self, airflow: AirflowClient) -> None:
        first, last = REPROCESSED
        span = {"from": first.isoformat(), "to": last.isoformat()}
        for dag, conf in (("flights.reprocess", span), ("flights.compact", {})):
            run = airflow.trigger(dag, conf)
            self._note(f"triggered {dag} {conf or ''}")
            state = ""

            def ended(dag: str = dag, run: str = run) -> bool:
                nonlocal state
                state = airflow.run_state(dag, run)
                return state in ("success", "failed")

            self._watch(f"{dag} runs", ended, limit_seconds=420)
            if state != "success":
                raise JobError(f"{dag} failed: {airflow.failed_tasks(dag, run)}; logs in {self._logs()}")
            self._note(f"{dag} succeeded")
            self._mark(f"{dag} done")

    def _has_answer(self) -> bool:
        return self._board.served is not None and self._board.served.position >= 0 and bool(self._board.served.rows)

    def _caught_up(self) -> bool:
        tables = tables_of(flights, self.settings)
        bronze = open_table(tables.bronze, self.settings)
        rows = pc.sum(pa.table(bronze.get_add_actions(flatten=True))["num_records"]).as_py() or 0
        if rows < self._put:
            return False
        head = position(bronze, INGEST_APP)
        return all(position(open_table(t, self.settings), REFINE_APP) >= head for t in tables.refined)

    def _watch(self, phase: str, done: Callable[[], bool], limit_seconds: float = 600) -> None:
        """Keep asking the serving view until a condition holds; raises JobError when a process dies or time is up."""
        self._board.phase = phase
        deadline = time.monotonic() + limit_seconds
        with connect() as connection:
            while True:
                for child in self._children:
                    child.check()
                if self._producer_error is not None:
                    raise self._producer_error
                self._board.put = self._put
                self._board.served = serve(pin(flights, SHOWN, self.settings), connection)
                if done():
                    return
                if time.monotonic() > deadline:
                    raise JobError(f"{phase}: not done within {limit_seconds:g} s; logs are in {self._logs()}")
                time.sleep(1)  # the pace of the picture

    def _logs(self) -> str:
        return f"{self._folder} and {self.settings.home / 'airflow'}"

    def _keep(self) -> None:
        self._console.print(f"Kinesis:  {self.settings.kinesis_endpoint_url}")
        self._console.print(f"Airflow:  http://127.0.0.1:{self._options.airflow_port} (no login)")
        self._console.print(f"Tables:   {self.settings.lake_uri}", soft_wrap=True)
        self._console.print(
            f"Ask with: TIDEMARK_LAKE_URI={self.settings.lake_uri} tidemark sql 'FROM flights.silver LIMIT 5'",
            soft_wrap=True,
        )
        self._console.print("Everything goes on until you press ^C.")
        while True:
            for child in self._children:
                child.check()
            time.sleep(2)

    def _child(self, child: Child) -> None:
        self._children.append(child)
        self._stack.callback(child.stop)

    def _note(self, text: str) -> None:
        self._board.notes.append(text)

    def _mark(self, what: str) -> None:
        self.timings[what] = time.monotonic() - self._began
