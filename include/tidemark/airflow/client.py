"""Airflow's REST API, as far as Tidemark uses it. Never imports Airflow."""

import uuid
from typing import Any
from urllib.parse import quote

import httpx
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_fixed

from tidemark.errors import JobError

_retry = retry(
    retry=retry_if_exception_type((httpx.TransportError, JobError)),
    stop=stop_after_attempt(5),
    wait=wait_fixed(1),
    reraise=True,
)


class AirflowClient:
    """A client of one Airflow; tokens are asked for when first needed.

    ``login``: user and password, where Airflow asks for them.
    """

    def __init__(self, base_url: str, login: tuple[str, str] | None = None) -> None:
        self._http = httpx.Client(base_url=base_url, timeout=30)
        self._login = login
        self._token: str | None = None

    def healthy(self) -> bool:
        """Whether the API answers and the scheduler and the DAG processor live."""
        try:
            answer = self._http.get("/api/v2/monitor/health")
        except httpx.TransportError:
            return False
        if answer.status_code != httpx.codes.OK:
            return False
        parts = answer.json()
        return all(parts[name]["status"] == "healthy" for name in ("metadatabase", "scheduler", "dag_processor"))

    def has_dag(self, dag_id: str) -> bool:
        """Whether Airflow has read the DAG."""
        answer = self.call("GET", f"/dags/{quote(dag_id)}")
        return answer.status_code == httpx.codes.OK

    def switch_on(self, dag_id: str) -> None:
        """Let the scheduler run a DAG.

        Raises:
            JobError: Airflow refused it; the message is Airflow's.
        """
        answer = self.call("PATCH", f"/dags/{quote(dag_id)}", {"is_paused": False})
        if answer.status_code != httpx.codes.OK:
            raise JobError(f"Airflow refused to switch {dag_id} on: {answer.text}")

    def trigger(self, dag_id: str, conf: dict[str, Any]) -> str:
        """Start a run by hand, with the form's values; returns its id.

        Raises:
            JobError: Airflow refused it; the message is Airflow's.
        """
        # The id is ours, so that a call that is repeated because its answer was lost starts no second run.
        run_id = f"tidemark__{uuid.uuid4()}"
        body = {"dag_run_id": run_id, "logical_date": None, "conf": conf}
        answer = self.call("POST", f"/dags/{quote(dag_id)}/dagRuns", body)
        if answer.status_code not in (httpx.codes.OK, httpx.codes.CONFLICT):
            raise JobError(f"Airflow refused a run of {dag_id}: {answer.text}")
        return run_id

    def run_state(self, dag_id: str, run_id: str) -> str:
        """State of a run: queued, running, success or failed."""
        return str(self.call("GET", f"/dags/{quote(dag_id)}/dagRuns/{quote(run_id)}").json()["state"])

    def failed_tasks(self, dag_id: str, run_id: str) -> list[str]:
        """Tasks of a run that failed."""
        answer = self.call("GET", f"/dags/{quote(dag_id)}/dagRuns/{quote(run_id)}/taskInstances").json()
        return [task["task_id"] for task in answer["task_instances"] if task["state"] in ("failed", "upstream_failed")]

    def headers(self) -> dict[str, str]:
        """What identifies this client in a request.

        Raises:
            JobError: Airflow knows no such user, or not by this password.
        """
        if self._token is None:
            if self._login is None:
                answer = self._http.get("/auth/token")
            else:
                user, password = self._login
                answer = self._http.post("/auth/token", json={"username": user, "password": password})
            if answer.status_code == httpx.codes.UNAUTHORIZED:
                raise JobError("Airflow refused the login: check the password")
            self._token = answer.raise_for_status().json()["access_token"]
        return {"Authorization": f"Bearer {self._token}"}

    @_retry
    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> httpx.Response:
        """One call of the API below ``/api/v2``.

        Raises:
            JobError: Airflow answered five times, a second apart, with an error of its own; SQLite, its database in the
                embedded default, locks under load.
        """
        answer = self._http.request(method, f"/api/v2{path}", json=body, headers=self.headers())
        if answer.is_server_error:
            raise JobError(f"Airflow answers {answer.status_code} to {method} {path}: {answer.text}")
        return answer
