"""A running Airflow, as tests ask it: runs, their tasks, logs, and waiting for what becomes of them."""

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import quote

import psutil

from tidemark.airflow.client import AirflowClient
from tidemark.core.settings import Settings
from tidemark.core.waiting import wait_for
from tidemark.embedded.platform import Platform

WAITS_FOR_A_PERSON = ("awaiting_input", "deferred")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def alerts_received() -> Iterator[tuple[str, list[str]]]:
    """A webhook on this machine, and the list of what it is told."""
    told: list[str] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/hook/secret-token"
            told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["text"])
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Pytest's output is not its log."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Hook) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/hook", told
        server.shutdown()


class AirflowWorld:
    """One Airflow and the lake that its jobs work on."""

    def __init__(self, settings: Settings, platform: Platform, alerts: list[str]) -> None:
        self.settings = settings
        self.alerts = alerts
        """What the webhook was told."""
        self.platform = platform
        self.url = platform.airflow_url
        self.client = AirflowClient(self.url)

    def until(self, condition: Callable[[], Any], what: str) -> Any:
        """Wait for a condition as long as jobs move, or Airflow's parts start; a part that is given up is an error."""
        return wait_for(condition, what, depends_on=[self.platform], moves=self._moves)

    def _moves(self) -> dict[str, Any]:
        states = {name: running.state for name, running in self.platform.supervisor.parts.items()}
        return {**self.platform.jobs_activity(), "states": sorted(states.items())}

    def wait_until_it_reads_the_dags(self) -> None:
        self.until(self.client.healthy, "Airflow is healthy")
        self.until(lambda: self.client.has_dag("flights.reprocess"), "Airflow reads the DAGs")

    def send_alerts_to(self, webhook: str) -> None:
        body = {"connection_id": "tidemark_alerts", "conn_type": "http", "host": webhook, "password": "secret-token"}
        answer = self.client.call("POST", "/connections", body)
        assert answer.status_code == 201, answer.text

    def asset_events(self, dag: str) -> dict[str, dict[str, Any]]:
        """What the newest event of each asset says that a DAG has sent one of."""
        listed = self.client.call("GET", f"/assets/events?source_dag_id={dag}&order_by=timestamp&limit=100").json()
        return {event["name"]: event["extra"] for event in listed["asset_events"]}

    def lineage(self) -> list[dict[str, Any]]:
        """OpenLineage's events so far, each of a run of a job with the datasets that it reads and writes."""
        lines = (self.settings.home / "lineage.jsonl").read_text().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def edges(self) -> set[tuple[str, str]]:
        """Which dataset goes into which other, by their short names."""
        return {
            (_short(read), _short(written))
            for event in self.lineage()
            for read in event["inputs"]
            for written in event["outputs"]
        }

    def pause(self, dag: str) -> None:
        assert self.client.call("PATCH", f"/dags/{dag}", {"is_paused": True}).status_code == 200

    def switch_on(self, *dags: str) -> None:
        """Let the scheduler run some DAGs; all wait for that at first."""
        for dag in dags:
            self.until(lambda dag=dag: self.client.has_dag(dag), f"Airflow reads {dag}")
            self.client.switch_on(dag)

    def runs(self, dag: str, kind: str) -> "list[Run]":
        """The runs of a DAG that were started in some way: scheduled, backfill, asset_triggered."""
        listed = self.client.call("GET", f"/dags/{dag}/dagRuns?limit=100").json()["dag_runs"]
        return [Run(self, dag, run["dag_run_id"]) for run in listed if run["run_type"] == kind]

    def trigger(self, dag: str, **conf: Any) -> "Run":
        return Run(self, dag, self.client.trigger(dag, conf))

    def refused(self, dag: str, **conf: Any) -> str:
        """What the API says to a run that it does not start."""
        answer = self.client.call("POST", f"/dags/{dag}/dagRuns", {"logical_date": None, "conf": conf})
        assert answer.status_code in (400, 422), answer.text
        return answer.text

    def backfill(self, dag: str, first: str, last: str, **options: Any) -> "list[Run]":
        """Airflow's own backfill from a date to a date, both included."""
        body = {"dag_id": dag, "from_date": f"{first}T00:00:00Z", "to_date": f"{last}T00:00:00Z", **options}
        answer = self.client.call("POST", "/backfills", body)
        assert answer.status_code == 200, answer.text
        return list(self.until(lambda: self.runs(dag, "backfill"), "the backfill's runs"))


def _short(dataset: dict[str, Any]) -> str:
    """``kinesis://us-east-1/flights``, or the last two parts of a table's place: ``flights/bronze``."""
    if dataset["namespace"] != "file":
        return f"{dataset['namespace']}/{dataset['name']}"
    return "/".join(dataset["name"].split("/")[-2:])


class Run:
    """One run of a DAG."""

    def __init__(self, world: AirflowWorld, dag: str, run_id: str) -> None:
        self.world = world
        self.dag = dag
        self.id = run_id
        self._path = f"/dags/{dag}/dagRuns/{quote(run_id, safe='')}"

    def state(self) -> str:
        return self.world.client.run_state(self.dag, self.id)

    def end(self) -> str:
        """The state in which the run ends; of one that fails, pytest is told what its failed tasks said."""
        self.world.until(lambda: self.state() in ("success", "failed"), f"{self.dag} ends: {self.tasks()}")
        state = self.state()
        if state == "failed":
            tasks = self.tasks()
            print(f"{self.dag} {self.id} failed: {tasks}")
            for task in (name for name, became in tasks.items() if became == "failed"):
                print(f"log of {task}: {self.log(task)[-8_000:]}")
        return state

    def tasks(self) -> dict[str, str | None]:
        """State of each task."""
        answer = self._get("/taskInstances")["task_instances"]
        return {task["task_id"]: task["state"] for task in answer}

    def tries(self, task: str) -> int:
        return int(self._get(f"/taskInstances/{task}")["try_number"])

    def log(self, task: str) -> str:
        """The log of all tries of a task."""
        found = []
        for number in range(1, max(self.tries(task), 1) + 1):
            with contextlib.suppress(KeyError):
                found.append(json.dumps(self._get(f"/taskInstances/{task}/logs/{number}?full_content=true")["content"]))
        return "\n".join(found)

    def value(self, task: str) -> Any:
        """What a task returned."""
        return self._get(f"/taskInstances/{task}/xcomEntries/return_value?deserialize=true")["value"]

    def answer(self, task: str, choice: str) -> None:
        """Answer a task that waits for a person."""
        body = {"chosen_options": [choice], "params_input": {}}
        answer = self.world.client.call("PATCH", f"{self._path}/taskInstances/{task}/-1/hitlDetails", body)
        assert answer.status_code == 200, answer.text

    def end_answering(self, task: str, choice: str) -> str:
        """The state in which the run ends, where a task asks a person: as often as it asks, the answer is the same.

        Airflow may take a quick answer for a lost task, which asks again: apache/airflow issue 67287.
        """

        def ended() -> bool:
            if self.tasks()[task] in WAITS_FOR_A_PERSON:
                self.answer(task, choice)
            return self.state() in ("success", "failed")

        self.world.until(ended, f"{self.dag} ends: {self.tasks()}")
        return self.end()

    def remove(self) -> None:
        """End the run and delete it: Airflow deletes none that goes on."""
        ended = self.world.client.call("PATCH", self._path, {"state": "failed"})
        assert ended.status_code == 200, ended.text
        deleted = self.world.client.call("DELETE", self._path)
        assert deleted.status_code == 204, deleted.text

    def driver(self) -> psutil.Process | None:
        """The Python driver of a job of this run, if there is one now."""
        for process in psutil.process_iter(["pid", "name"]):
            with contextlib.suppress(psutil.Error):
                if self.id in process.environ().get("TIDEMARK_RUN", "") and process.name().startswith("python"):
                    return process
        return None

    def _get(self, path: str) -> dict[str, Any]:
        return dict(self.world.client.call("GET", f"{self._path}{path}").json())
