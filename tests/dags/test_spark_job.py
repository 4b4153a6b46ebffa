"""The operator of the Spark jobs: what it makes of how a driver ended. spark-submit is real; no session is started."""

import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from tidemark.settings import Settings
from tidemark.spark_conf import pyspark_folder

JOB = """
import os, signal
from tidemark.errors import CoverageError, QualityGateError
from tidemark_spark.job import result, run_job

def main() -> None:
    {body}

run_job(main)
"""
CONTEXT = {"ti": SimpleNamespace(dag_id="flights.reprocess", run_id="by_hand", try_number=1)}


@pytest.fixture
def connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_SPARK_DEFAULT", '{"conn_type": "spark", "host": "local[1]"}')
    monkeypatch.setenv("SPARK_HOME", str(pyspark_folder()))
    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")


def job(tmp_path: Path, body: str, **settings: Any) -> Any:
    from tidemark.airflow.spark import SparkJob

    application = tmp_path / "job.py"
    application.write_text(JOB.format(body=body))
    (tmp_path / "lake").mkdir()
    settings_ = Settings(lake_uri=str(tmp_path / "lake"), **settings)
    return SparkJob(
        settings=settings_, job="reprocess", pipeline="flights", task_id="reprocess", application=str(application)
    )


def test_a_refusal_fails_without_a_retry_and_says_why(tmp_path: Path, connection: None) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    with pytest.raises(AirflowFailException, match=r"^reprocess was refused: the mean is off$"):
        job(tmp_path, 'raise QualityGateError("the mean is off")').execute(CONTEXT)


def test_a_killed_driver_may_be_tried_again_and_nothing_of_it_is_left(tmp_path: Path, connection: None) -> None:
    from airflow.sdk.exceptions import AirflowException, AirflowFailException

    operator = job(tmp_path, "os.kill(os.getppid(), signal.SIGKILL); signal.pause()")
    with pytest.raises(AirflowException) as raised:
        operator.execute(CONTEXT)
    assert not isinstance(raised.value, AirflowFailException)
    left = [p for p in psutil.process_iter(["cmdline"]) if str(tmp_path) in " ".join(p.info["cmdline"] or [])]
    assert psutil.wait_procs(left, timeout=20)[1] == []


def test_what_a_job_says_of_itself_is_the_value_of_its_task(tmp_path: Path, connection: None) -> None:
    # A JVM that logs a stack trace as it ends makes the hook forget the lines before.
    body = 'result({"run": os.environ["TIDEMARK_RUN"], "rows": 7}); print("java.lang.IllegalStateException: late")'
    done = job(tmp_path, body).execute(CONTEXT)
    assert done == {"run": "flights.reprocess, run by_hand, try 1", "rows": 7}


def test_a_missing_connection_is_named_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.sdk import BaseHook
    from airflow.sdk.exceptions import AirflowFailException, AirflowNotFoundException

    def none(conn_id: str) -> None:
        raise AirflowNotFoundException(conn_id)

    monkeypatch.setattr(BaseHook, "get_connection", none)  # which asks the scheduler, and there is none here
    with pytest.raises(AirflowFailException, match="add it under Admin"):
        job(tmp_path, "pass").execute(CONTEXT)


def test_a_full_disk_starts_nothing(tmp_path: Path, connection: None) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    with pytest.raises(AirflowFailException, match="make room"):
        job(tmp_path, "pass", min_free_bytes=2**60).execute(CONTEXT)


def test_a_driver_ends_with_its_task_though_its_jvm_lives(tmp_path: Path) -> None:
    from tidemark_spark.parents import lost, watched

    chain = watched(str(os.getppid()))
    assert [process.pid for process in chain] == [os.getpid(), os.getppid()]
    assert lost(chain) is None
    assert lost([chain[0], psutil.Process(1)]) is not None or os.getppid() == 1
