"""The demo: start the platform, replay flights, reprocess through Airflow, keep asking, and prove the answer."""

import shutil
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console

from tidemark.airflow.client import AirflowClient
from tidemark.core.errors import JobError, PreconditionError, TableError
from tidemark.core.settings import Settings
from tidemark.core.waiting import Dependency, wait_for
from tidemark.embedded.demo.disturbances import LONGEST_DELAY, Disturbances, Expected
from tidemark.embedded.demo.live import Board, Screen, serve
from tidemark.embedded.demo.report import account, print_report, proofs
from tidemark.embedded.platform import Platform, PlatformOptions, embedded_settings
from tidemark.lake.snapshots import open_table, position
from tidemark.lake.tables import tables_of
from tidemark.lake.transaction_ids import INGEST_APP, REFINE_APP
from tidemark.pipelines.flights import flights
from tidemark.pipelines.producers.producer import Event, Produced, ensure_stream, kinesis_client, produce, stream_data
from tidemark.serving import Snapshot, pin
from tidemark.serving.view import connect

MIN_FREE_BYTES = 2 * 2**30
REPROCESSED = (date(2013, 1, 1), date(2013, 4, 1))
SHOWN = flights.rollup("departures_daily")
STREAMS = f"{flights.name}-streams"
LATEST_SECONDS = 600
"""How much later a late record may come: the streams know a duplicate for an hour."""
LOOK_SECONDS = 1.0
"""The pace of the picture."""

T = TypeVar("T")


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
        self._base = base
        self.settings = base
        self._stack = ExitStack()
        self._platform: Platform | None = None
        self._board = Board()
        self._screen = Screen(self._board, console)
        self._produced = Produced()
        longest_delay = min(LONGEST_DELAY, int(options.records_per_second * LATEST_SECONDS))
        self._disturbances = Disturbances(longest_delay=longest_delay)
        self._planned = Expected()
        """Of the records that were put so far by this run."""
        self._expected: Expected | None = None
        """Of all that the stream holds; known once everything is put."""
        self._put_before = 0
        self._producer_error: BaseException | None = None
        self._began = time.monotonic()
        self.timings: dict[str, float] = {}
        """Seconds from the start until each step was done."""

    def __enter__(self) -> "Demo":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def run(self) -> bool:
        """Run to the end; True if every figure agrees."""
        self._start()
        with self._screen:
            self._await_streams()
            self._start_producer()
            self._watch("waiting for the first answer", self._has_answer, self._progress)
            self._mark("first serving answer")
            airflow = self._await_airflow()
            self._reprocess(airflow)
            self._watch("producing", lambda: self._produced.done, self._progress)
            expected = self._expected = self._expect()
            self._watch("refine catches up", self._caught_up, self._progress)
            self._mark("every flight served")
            self._board.phase = "done"
        self._console.print()
        if self._producer_error is not None:
            raise self._producer_error
        found = account(flights, expected, self.settings)
        proven = proofs(flights, expected, self.settings)
        self._mark("proved")
        agrees = print_report(self._console, found, proven, self.timings)
        if self._options.keep:
            self._keep()
        return agrees

    def check(self) -> None:
        """Raise what ended the producer, or a part of the platform."""
        if self._producer_error is not None:
            raise self._producer_error
        if self._platform is not None:
            self._platform.check()

    @property
    def _put(self) -> int:
        return self._put_before + self._produced.records if self._expected is None else self._expected.records

    def _start(self) -> None:
        """Start the platform in a folder of its own, which is made anew."""
        self._base.home.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self._base.home).free
        if free < MIN_FREE_BYTES:
            raise PreconditionError(
                f"{self._base.home} has {free / 2**30:.1f} GiB free and the demo needs {MIN_FREE_BYTES // 2**30}: make "
                "room, or choose another folder with TIDEMARK_HOME"
            )
        options = PlatformOptions(
            pipelines=(flights,),
            kinesis_port=self._options.kinesis_port,
            airflow_port=self._options.airflow_port,
            durable=False,
            streams_essential=True,
            airflow_after=self._has_answer,
        )
        settings = embedded_settings(self._base, self._base.home / "demo", options)
        self.settings = settings.model_copy(
            update={
                # Small micro-batches from the first one on: a cold driver takes long over a large one.
                "max_records_per_batch": 10_000,
                "approval_days": 366,  # nobody is asked whether three months may be reprocessed: the answer is yes
                "schedules": False,  # runs of yesterday's dates would only take the cores from the one that is shown
            }
        )
        self._platform = self._stack.enter_context(Platform(self.settings, options, self._note))
        for line in self._platform.claim("the demo", anew=True):
            self._console.print(f"ended what an earlier demo left: {line}", soft_wrap=True)
        self._platform.start(self._console.print)
        self._console.print(f"Kinesis emulator, streams of flights and Airflow are starting (logs: {self._logs()})")

    def _await_streams(self) -> None:
        """Wait until events can be put."""
        assert self._platform is not None
        self._watch("the emulator starts", lambda: self._is_ready("kinesis"), self._progress)
        ensure_stream(kinesis_client(self.settings), flights)

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
        return self._disturbances.events(0, self._options.records, self._planned)

    def _expect(self) -> Expected:
        """What must be found: by plan, or where a call was repeated, by what the stream holds, as that may be more."""
        return self._expect_of_stream(self._options.records) if self._produced.repeated else self._planned

    def _expect_of_stream(self, stop: int | None = None) -> Expected:
        return self._disturbances.expected_of(stream_data(kinesis_client(self.settings), flights.source.name), stop)

    def _await_airflow(self) -> AirflowClient:
        client = AirflowClient(f"http://127.0.0.1:{self._options.airflow_port}")
        self._stack.callback(client.close)
        self._watch("Airflow is starting", client.healthy, self._progress)
        self._watch("Airflow reads the DAGs", lambda: client.has_dag("flights.reprocess"), self._progress)
        self._mark("Airflow ready")
        return client

    def _reprocess(self, airflow: AirflowClient) -> None:
        first, last = REPROCESSED
        span = {"from": first.isoformat(), "to": last.isoformat()}
        for dag, conf in (("flights.reprocess", span), ("flights.compact", {})):
            run = f"demo__{uuid.uuid4()}"
            self._watch(f"Airflow takes {dag}", lambda dag=dag, conf=conf, run=run: airflow.trigger(dag, conf, run))  # type: ignore[misc]
            self._note(f"triggered {dag} {conf or ''}")

            def tasks(dag: str = dag, run: str = run) -> dict[str, Any]:
                states = airflow.task_states(dag, run)
                shown = ", ".join(f"{task} {state}" for task, state in states.items()) or "none yet"
                return {"tasks": shown, **self._jobs_activity()}

            def ended(dag: str = dag, run: str = run) -> str | None:
                state = airflow.run_state(dag, run)
                return state if state in ("success", "failed") else None

            state = self._watch(f"{dag} runs", ended, tasks)
            if state != "success":
                raise JobError(f"{dag} failed: {airflow.why_failed(dag, run)}; logs in {self._logs()}")
            self._note(f"{dag} succeeded")
            self._mark(f"{dag} done")

    def _jobs_activity(self) -> dict[str, Any]:
        """Figures that change while Airflow's jobs work."""
        assert self._platform is not None
        return self._platform.jobs_activity()

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

    def _progress(self) -> dict[str, Any]:
        """What moves while events flow."""
        served = self._board.served
        figures: dict[str, Any] = {"put": f"{self._put:,}", "position": -1 if served is None else served.position}
        if self._platform is not None:
            figures |= self._platform.activity()
        return figures

    def _watch(self, phase: str, done: Callable[[], T | None], moves: Callable[[], dict[str, Any]] = dict) -> T:
        """Keep asking the serving view until a condition holds; see ``wait_for`` for what else ends it."""
        self._board.phase, self._board.moves = phase, ""
        needed: list[Dependency] = [self]
        with connect() as connection:

            def look(moving: str) -> None:
                self._board.put, self._board.moves = self._put, moving
                self._board.starting = self._not_ready()
                if (snapshot := self._snapshot()) is not None:
                    self._board.served = serve(snapshot, connection)
                self._screen.show()

            return wait_for(done, phase, depends_on=needed, moves=moves, every_seconds=LOOK_SECONDS, on_look=look)

    def _snapshot(self) -> Snapshot | None:
        try:
            return pin(flights, SHOWN, self.settings)
        except TableError:  # the streams make the tables when they start
            return None

    def _is_ready(self, *names: str) -> bool:
        return self._platform is None or self._platform.is_ready(*names)

    def _not_ready(self) -> list[str]:
        if self._platform is None:
            return []
        parts = self._platform.supervisor.parts.values()
        return [f"{one.part.name} {one.state}" for one in parts if one.state not in ("ready", "done")]

    def _logs(self) -> str:
        assert self._platform is not None
        folder, project = self._platform.logs, self._base.project_dir
        shown = folder.relative_to(project) if folder.is_relative_to(project) else folder
        return f"{shown}, of tasks in {shown.parent / 'airflow' / 'logs'}"

    def _keep(self) -> None:
        assert self._platform is not None
        self._console.print(f"Kinesis:  {self.settings.kinesis_endpoint_url}")
        self._console.print(f"Airflow:  {self._platform.airflow_url} (no login; schedules are switched off)")
        self._console.print(f"Tables:   {self.settings.lake_uri}", soft_wrap=True)
        self._console.print(
            f'In a second shell: eval "$(TIDEMARK_HOME={self.settings.home} tidemark env)", then for example '
            "tidemark sql 'FROM flights.silver LIMIT 5'",
            soft_wrap=True,
        )
        self._console.print("Everything goes on until you press ^C.")
        while True:
            self.check()
            time.sleep(1)

    def _note(self, text: str) -> None:
        self._board.notes.append(text)
        self._screen.note(text)

    def _mark(self, what: str) -> None:
        self.timings[what] = time.monotonic() - self._began
