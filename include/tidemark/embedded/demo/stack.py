"""The demo on the stack of docker-compose.yml: the same main job and proof, on what runs there already."""

import os
import shutil
import subprocess
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console

from tidemark.airflow.client import AirflowClient
from tidemark.core.errors import PreconditionError
from tidemark.core.settings import Settings
from tidemark.embedded.demo.disturbances import Expected
from tidemark.embedded.demo.run import Demo, DemoOptions
from tidemark.lake.evolution import create_tables
from tidemark.lake.snapshots import open_table
from tidemark.lake.tables import tables_of
from tidemark.pipelines.flights import flights
from tidemark.pipelines.producers.producer import Event, ensure_stream, kinesis_client

AIRFLOW_VARIABLE = "TIDEMARK_STACK_AIRFLOW_URL"
"""Environment variable with the address of the stack's Airflow: set in its container ``cli`` only."""
PASSWORD_VARIABLE = "AIRFLOW_ADMIN_PASSWORD"  # noqa: S105  (a name)


def run_in_stack(arguments: list[str], project: Path) -> int:
    """Run ``tidemark demo --stack`` in the stack's own network, where its tables are; returns the exit code.

    Raises:
        PreconditionError: there is no docker, or the project has no docker-compose.yml.
    """
    if shutil.which("docker") is None:
        raise PreconditionError("no docker found: install Docker Engine with the compose plugin, then `make stack`")
    if not (project / "docker-compose.yml").exists():
        raise PreconditionError(f"{project} has no docker-compose.yml: set TIDEMARK_PROJECT_DIR to a checkout")
    command = ["docker", "compose", "run", "--rm", "cli", "tidemark", "demo", "--stack", *arguments]
    return subprocess.run(command, cwd=project, check=False).returncode


class StackDemo(Demo):
    """One run. It goes on with the flights after those that the stream holds, and proves the answer over all of them.

    The tables must hold what the stream itself holds, record by record: also where a producer had to repeat itself, or
    was killed.
    """

    def __init__(self, options: DemoOptions, base: Settings, console: Console) -> None:
        super().__init__(options, base, console)
        self._first = 0
        self._kinesis = kinesis_client(base)
        self._airflow = AirflowClient(os.environ[AIRFLOW_VARIABLE], ("admin", os.environ.get(PASSWORD_VARIABLE, "")))

    def _start(self) -> None:
        if not self._airflow.healthy():
            raise PreconditionError("the stack is not up, or not healthy: `docker compose ps` shows what is missing")
        ensure_stream(self._kinesis, flights)
        create_tables(tables_of(flights, self.settings), self.settings)
        there = self._expect_of_stream()
        bronze = open_table(tables_of(flights, self.settings).bronze, self.settings)
        known = pc.sum(pa.table(bronze.get_add_actions(flatten=True))["num_records"]).as_py() or 0
        if known > there.records:
            raise PreconditionError(
                f"the stream {flights.source.name} holds {there.records:,} records and bronze {known:,}: the others "
                "have aged out, and nothing can be compared any more. `docker compose down --volumes` begins again"
            )
        self._put_before = there.records
        self._first = max(there.arrivals, default=-1) + 1
        self._console.print(f"Kinesis at {self.settings.kinesis_endpoint_url}, with {self._first:,} flights so far")
        self._console.print("Streams of flights run on the Spark cluster (logs: docker compose logs stream-flights)")

    def _await_streams(self) -> None:
        """They run."""

    def _await_airflow(self) -> AirflowClient:
        for dag in ("flights.reprocess", "flights.compact"):
            self._watch("Airflow reads the DAGs", partial(self._airflow.has_dag, dag))
            self._airflow.switch_on(dag)
        return self._airflow

    def _events(self) -> Iterable[Event]:
        chosen = self._options.records
        stop = None if chosen is None else self._first + chosen
        return self._disturbances.events(self._first, stop, self._planned)

    def _expect(self) -> Expected:
        return self._expect_of_stream()

    def _jobs_activity(self) -> dict[str, Any]:
        """What is seen from here of jobs in other containers: the files that they stage and publish."""
        return {"files": sum(1 for _ in Path(self.settings.lake_uri).rglob("*.parquet"))}

    def _logs(self) -> str:
        return "`docker compose logs`"
