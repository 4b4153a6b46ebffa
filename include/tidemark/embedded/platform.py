"""The embedded platform: which parts it has, and how each is started, is seen to live, and ends."""

import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Self

import httpx

from tidemark.airflow.client import AirflowClient
from tidemark.core.errors import TidemarkError
from tidemark.core.processes import Child, check_port_free, cpu_seconds
from tidemark.core.settings import Settings
from tidemark.core.spark_start.conf import java_executable, submit_command, submit_environment
from tidemark.core.spark_start.jars import ensure_jars
from tidemark.core.stream_locks import STREAMS, running_streams, stop_file
from tidemark.definition import Pipeline
from tidemark.embedded import postgres
from tidemark.embedded.airflow import (
    PARTS,
    SECRET_VARIABLE,
    airflow_command,
    airflow_environment,
    is_migrated,
    set_migrated,
)
from tidemark.embedded.parts import Part
from tidemark.embedded.record import Record
from tidemark.embedded.supervisor import Supervisor
from tidemark.lake.evolution import create_tables
from tidemark.lake.tables import tables_of
from tidemark.pipelines.producers.producer import ensure_stream, kinesis_client

STOP_SECONDS = 7.0
"""How long the end may take before what still lives is killed."""
STALE_SECONDS = 45.0
"""Age of a heartbeat of Airflow's (one each 5 s) above which a part shows no sign of life."""
RECORD_SECONDS = 1.0
POSTGRES, DATABASE, EMULATOR = "postgres", "airflow-database", "kinesis"
_HEALTH = {"scheduler": "scheduler", "dag-processor": "dag_processor", "triggerer": "triggerer"}


@dataclass(frozen=True)
class PlatformOptions:
    """What runs, and where. ``kinesis_port``: None where the stream is elsewhere, as the settings say."""

    pipelines: tuple[Pipeline, ...] = ()
    """Those whose streams run."""
    kinesis_port: int | None = 4567
    airflow_port: int | None = 8080
    paused: bool = False
    """Whether DAGs wait to be switched on."""
    durable: bool = True
    """Whether Airflow's database survives a loss of power."""
    streams_essential: bool = False
    """Whether the platform ends with the streams of one pipeline."""
    airflow_after: Callable[[], bool] = lambda: True
    """Airflow starts once this holds: two cores start the streams faster without it."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """Further variables of Airflow's environment."""


def embedded_settings(base: Settings, home: Path, options: PlatformOptions) -> Settings:
    """The settings of all parts: everything in one folder, and the emulator's address where there is one."""
    emulator = (
        {} if options.kinesis_port is None else {"kinesis_endpoint_url": f"http://127.0.0.1:{options.kinesis_port}"}
    )
    return base.model_copy(
        update={
            "home": home,
            "lake_uri": str(home / "lake"),
            "state_uri": str(home / "state"),
            "data_docs_dir": home / "data_docs",
            "streams_run_by": "platform",
            **emulator,
        }
    )


class Platform:
    """One embedded platform over the folder ``settings.home``; leaving the ``with`` block ends every process of it.

    ``on_event``: told each end and each restart of a part, in one line.

    Raises:
        BusyError: another process runs the platform of this folder.
        PreconditionError: a port is taken, or Java or the jars cannot be had.
    """

    def __init__(
        self, settings: Settings, options: PlatformOptions, on_event: Callable[[str], None] = lambda _: None
    ) -> None:
        self.settings = settings
        self.options = options
        self.home = settings.home.absolute()
        self.logs = self.home / "logs"
        self.record = Record(self.home)
        self.airflow_home = self.home / "airflow"
        self._on_event = on_event
        self._postgres = postgres.Postgres(self.home / "postgres", durable=options.durable)
        self._stop_say: Callable[[str], None] = on_event
        self._started: dict[str, datetime] = {}
        self._supervisor: Supervisor | None = None
        self._recorded = 0.0
        self._health_at = 0.0
        self._health: dict[str, dict[str, Any]] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def airflow_url(self) -> str:
        """Address of Airflow's UI and API."""
        return f"http://127.0.0.1:{self.options.airflow_port}"

    @property
    def supervisor(self) -> Supervisor:
        """The one that keeps the parts alive, once the platform was started."""
        assert self._supervisor is not None, "the platform was not started"
        return self._supervisor

    def claim(self, what: str, *, anew: bool = False) -> list[str]:
        """Take the folder, and end what an earlier platform has left in it; says what was ended.

        ``anew``: everything in the folder but the lock is deleted.
        """
        java_executable()
        self.home.mkdir(parents=True, exist_ok=True)
        self.record.take(what)
        left = self.record.end_leftovers()
        if self.options.kinesis_port is not None:
            check_port_free(self.options.kinesis_port, "the Kinesis emulator", "--kinesis-port")
        if self.options.airflow_port is not None:
            check_port_free(self.options.airflow_port, "Airflow", "--airflow-port")
        if anew:
            self._postgres.remove()
            for path in self.home.iterdir():
                if path.name not in ("platform.lock", "jars"):
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
        return left

    def start(self, say: Callable[[str], None]) -> None:
        """Start all parts; returns at once. ``say``: told of downloads, which may take long."""
        ensure_jars(self.settings, say)
        self.logs.mkdir(parents=True, exist_ok=True)
        for log in self.logs.glob("*.log"):
            log.replace(log.with_suffix(".log.1"))
        # Here and not in a thread of the supervisor's: the client is made once, and shared.
        self._http = httpx.Client(timeout=20)
        self._airflow = AirflowClient(self.airflow_url)
        self._supervisor = Supervisor(self._parts(), self._event)
        self._supervisor.start()

    def check(self) -> None:
        """Raise PartError if a part that it cannot do without was given up."""
        self.supervisor.check()
        if time.monotonic() - self._recorded > RECORD_SECONDS:
            self.write_record()

    def write_record(self) -> None:
        """Tell other shells how the parts are."""
        self._recorded = time.monotonic()
        facts = {"pid": os.getpid(), "airflow": self.airflow_url, "variables": self.variables()}
        self.record.write(list(self.supervisor.parts.values()), facts)

    def is_ready(self, *names: str) -> bool:
        """Whether some parts are ready; all of them, if none is named."""
        return self.supervisor.is_ready(names or None)

    def activity(self) -> dict[str, Any]:
        """Figures that change while parts start or streams work: restarts, and processor time in steps of 5 s."""
        parts = self.supervisor.parts.values()
        return {"restarts": sum(one.restarts for one in parts), "cpu": _steps(cpu_seconds(self.supervisor.sessions()))}

    def jobs_activity(self) -> dict[str, Any]:
        """Figures that change while Airflow's jobs work: bytes of their logs, and their drivers' processor time."""
        logs = self.airflow_home / "logs"
        written = sum(log.stat().st_size for log in logs.glob("dag_id=*/**/*.log")) if logs.exists() else 0
        session = self.supervisor.parts["scheduler"].session
        return {"log bytes": written, "driver cpu": _steps(cpu_seconds([] if session is None else [session], "java"))}

    def variables(self) -> dict[str, str]:
        """What a shell must set so that ``tidemark`` and ``airflow`` work on this platform; no secret is among it."""
        names = ("home", "lake_uri", "state_uri", "data_docs_dir", "jars_dir", "kinesis_endpoint_url", "aws_region")
        values = {f"TIDEMARK_{name.upper()}": getattr(self.settings, name) for name in names}
        given = {name: str(value) for name, value in values.items() if value is not None}
        if self.options.kinesis_port is not None:
            given |= {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any"}  # the emulator takes any
        if self.options.airflow_port is not None:
            own = {
                k: v for k, v in self._airflow_environment().items() if k.startswith("AIRFLOW") and k not in os.environ
            }
            own.pop(SECRET_VARIABLE)
            given |= own
        return given

    def stop(self) -> None:
        """End all parts, within ten seconds."""
        if self._supervisor is not None:
            # A second ^C must not leave anything behind: the guardian would end it, but later.
            before = signal.signal(signal.SIGINT, signal.SIG_IGN) if _in_main_thread() else None
            try:
                self._http.close()
                self._airflow.close()
                self._supervisor.stop(STOP_SECONDS, self._stop_say)
            finally:
                if before is not None:
                    signal.signal(signal.SIGINT, before)
            self._supervisor = None
        self.record.close()

    def remove(self) -> None:
        """Delete what PostgreSQL keeps outside of the folder, too; after the end."""
        self._postgres.remove()

    # The parts ---------------------------------------------------------------------------------------------------

    def _parts(self) -> list[Part]:
        parts = [] if self.options.kinesis_port is None else [self._emulator()]
        parts += [self._streams(pipeline) for pipeline in self.options.pipelines]
        if self.options.airflow_port is not None:
            parts += [self._database(), self._migration(), *(self._airflow_part(name) for name in PARTS)]
        return parts

    def _log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    def _emulator(self) -> Part:
        command = [sys.executable, "-m", "kinesis_emulator", "--port", str(self.options.kinesis_port)]
        command += ["--region", self.settings.aws_region, "--data-dir", str(self.home / "kinesis")]
        address = f"http://127.0.0.1:{self.options.kinesis_port}/"
        answers = partial(self._answers, address)
        return Part(EMULATOR, lambda: command, lambda: os.environ, self._log(EMULATOR), ready=answers, lives=answers)

    def _answers(self, address: str) -> bool:
        try:
            return self._http.get(address).status_code < 500
        except httpx.TransportError:
            return False

    def _streams(self, pipeline: Pipeline) -> Part:
        def prepare() -> None:
            if self.options.kinesis_port is not None:
                ensure_stream(kinesis_client(self.settings), pipeline)
            create_tables(tables_of(pipeline, self.settings), self.settings)

        def run() -> bool:
            return running_streams(pipeline.name, self.settings).keys() == set(STREAMS)

        def stop(child: Child) -> None:
            try:
                stop_file(pipeline.name, self.settings).touch()
            except (TidemarkError, OSError):
                child.ask_to_stop()

        name = f"{pipeline.name}-streams"
        return Part(
            name,
            lambda: submit_command("stream", ["--pipeline", pipeline.name], self.settings),
            lambda: submit_environment(self.settings),
            self._log(name),
            ready=run,
            lives=run,
            needs=() if self.options.kinesis_port is None else (EMULATOR,),
            essential=self.options.streams_essential,
            before_start=prepare,
            stop=stop,
        )

    def _database(self) -> Part:
        server = self._postgres
        return Part(
            POSTGRES,
            server.command,
            server.environment,
            self._log(POSTGRES),
            ready=server.answers,
            lives=server.answers,
            before_start=server.prepare,
            child_options={"user": server.user, "stop_signal": postgres.STOP_SIGNAL},
        )

    def _migration(self) -> Part:
        def command() -> list[str]:
            return ["true"] if is_migrated(self.airflow_home) else airflow_command("db", "migrate")

        return Part(
            DATABASE,
            command,
            self._airflow_environment,
            self._log(DATABASE),
            needs=(POSTGRES,),
            once=True,
            on_done=lambda: set_migrated(self.airflow_home),
        )

    def _airflow_part(self, name: str) -> Part:
        def before() -> None:
            self._started[name] = datetime.now(UTC)
            if name == "scheduler":
                # There is one scheduler, and it has ended: so its tasks are taken over at once, not after a while.
                self._postgres.execute(
                    "UPDATE job SET state = 'failed' WHERE job_type = 'SchedulerJob' AND state = 'running'"
                )

        return Part(
            name,
            lambda: airflow_command(*PARTS[name]),
            self._airflow_environment,
            self._log(name),
            ready=partial(self._beats, name, new=True),
            lives=partial(self._beats, name),
            needs=(DATABASE,),
            may_start=self.options.airflow_after,
            before_start=before,
        )

    def _airflow_environment(self) -> dict[str, str]:
        assert self.options.airflow_port is not None
        environment = airflow_environment(
            self.settings, self.options.airflow_port, self.airflow_home, self._postgres.url, paused=self.options.paused
        )
        return {**environment, **self.options.variables}

    def _beats(self, name: str, *, new: bool = False) -> bool:
        """Whether a part of Airflow shows life; ``new``: by a heartbeat of the process that runs now."""
        if time.monotonic() - self._health_at > 0.3:
            self._health, self._health_at = self._airflow.health(), time.monotonic()
        health = self._health
        if name == "api-server" or health is None:
            # Of the others nothing is known while the API server does not answer.
            return health is not None or not (new or name == "api-server")
        beat = health[_HEALTH[name]].get(f"latest_{_HEALTH[name]}_heartbeat")
        if beat is None:
            return False
        at = datetime.fromisoformat(beat)
        return at > self._started[name] if new else (datetime.now(UTC) - at).total_seconds() < STALE_SECONDS

    def _event(self, text: str) -> None:
        self._on_event(text)


def _steps(seconds: float) -> str:
    return f"{seconds // 5 * 5:.0f} s"


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
