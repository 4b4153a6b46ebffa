"""Airflow's REST API, as far as Tidemark uses it. Never imports Airflow."""

import uuid
from typing import Any
from urllib.parse import quote

import httpx
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_fixed

from tidemark.core.errors import JobError, UnavailableError

_retry = retry(
    retry=retry_if_exception_type(UnavailableError),
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

    def close(self) -> None:
        """Close its connections, on which a server that ends would wait."""
        self._http.close()

    def healthy(self) -> bool:
        """Whether the API answers and the scheduler and the DAG processor live."""
        parts = self.health()
        needed = ("metadatabase", "scheduler", "dag_processor")
        return parts is not None and all(parts[name]["status"] == "healthy" for name in needed)

    def health(self) -> dict[str, dict[str, Any]] | None:
        """What Airflow says of each of its parts: status and newest heartbeat; None if it does not answer."""
        try:
            answer = self._http.get("/api/v2/monitor/health")
        except httpx.TransportError:
            return None
        return dict(answer.json()) if answer.status_code == httpx.codes.OK else None

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

    def trigger(self, dag_id: str, conf: dict[str, Any], run_id: str | None = None) -> str:
        """Start a run by hand, with the form's values; returns its id.

        ``run_id``: an id of the caller's, with which the same call may be repeated: it starts one run.

        Raises:
            JobError: Airflow refused it; the message is Airflow's.
        """
        # The id is ours, so that a call that is repeated because its answer was lost starts no second run.
        run_id = run_id or f"tidemark__{uuid.uuid4()}"
        body = {"dag_run_id": run_id, "logical_date": None, "conf": conf}
        answer = self.call("POST", f"/dags/{quote(dag_id)}/dagRuns", body)
        if answer.status_code not in (httpx.codes.OK, httpx.codes.CONFLICT):
            raise JobError(f"Airflow refused a run of {dag_id}: {answer.text}")
        return run_id

    def run_state(self, dag_id: str, run_id: str) -> str:
        """State of a run: queued, running, success or failed."""
        return str(self.call("GET", f"/dags/{quote(dag_id)}/dagRuns/{quote(run_id)}").json()["state"])

    def task_states(self, dag_id: str, run_id: str) -> dict[str, str]:
        """State of each task of a run that has one."""
        answer = self.call("GET", f"/dags/{quote(dag_id)}/dagRuns/{quote(run_id)}/taskInstances").json()
        return {task["task_id"]: task["state"] for task in answer["task_instances"] if task["state"]}

    def failed_tasks(self, dag_id: str, run_id: str) -> list[str]:
        """Tasks of a run that failed."""
        states = self.task_states(dag_id, run_id)
        return [task for task, state in states.items() if state in ("failed", "upstream_failed")]

    def why_failed(self, dag_id: str, run_id: str) -> str:
        """The tasks of a run that failed, each with the last error of its log."""
        told = []
        for task in self.failed_tasks(dag_id, run_id):
            path = f"/dags/{quote(dag_id)}/dagRuns/{quote(run_id)}/taskInstances/{quote(task)}"
            number = self.call("GET", path).json().get("try_number", 1)
            answer = self.call("GET", f"{path}/logs/{number}?full_content=true")
            lines = answer.json().get("content", []) if answer.status_code == httpx.codes.OK else []
            errors = [line for line in lines if isinstance(line, dict) and line.get("level") in ("error", "critical")]
            said = [_error_text(line) for line in errors]
            told.append(f"{task}: {said[-1]}" if said else task)
        return "; ".join(told) or "no task of it failed"

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
            UnavailableError: Airflow gave no answer five times, a second apart, or one with an error of its own.
        """
        try:
            answer = self._http.request(method, f"/api/v2{path}", json=body, headers=self.headers())
        except (httpx.TransportError, httpx.HTTPStatusError) as error:
            raise UnavailableError(
                f"Airflow does not answer {method} {path}: {error or type(error).__name__}"
            ) from error
        if answer.status_code == httpx.codes.UNAUTHORIZED and self._token is not None:
            self._token = None  # it has expired
            raise UnavailableError("Airflow does not take the token any more")
        if answer.is_server_error:
            raise UnavailableError(f"Airflow answers {answer.status_code} to {method} {path}: {answer.text}")
        return answer


def _error_text(line: dict[str, Any]) -> str:
    detail = line.get("error_detail") or []
    raised = [f"{one.get('exc_type')}: {one.get('exc_value')}" for one in detail if isinstance(one, dict)]
    return raised[-1] if raised else str(line.get("event", ""))
