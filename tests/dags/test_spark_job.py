"""The operator of the Spark jobs: what it makes of how a driver ended. spark-submit is real; no session is started."""

import json
import os
import sys
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from tidemark.core.settings import Settings
from tidemark.core.spark_start.conf import pyspark_folder

JOB = """
import os, signal
from tidemark.core.errors import CoverageError, QualityGateError
from tidemark_spark.driver.job import result, run_job

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
    from tidemark.airflow.operators.spark import SparkJob

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


def test_what_a_job_says_of_itself_is_the_value_of_its_task_and_part_of_its_lineage(
    tmp_path: Path, connection: None
) -> None:
    # A JVM that logs a stack trace as it ends makes the hook forget the lines before.
    body = 'result({"run": os.environ["TIDEMARK_RUN"], "silver_rows": 7}); print("java.lang.IllegalStateException")'
    operator = job(tmp_path, body)
    assert operator.execute(CONTEXT) == {"run": "flights.reprocess, run by_hand, try 1", "silver_rows": 7}
    silver = operator.get_openlineage_facets_on_complete(None).outputs[0]
    assert (silver.name, silver.outputFacets["outputStatistics"].rowCount) == (f"{tmp_path}/lake/flights/silver", 7)


def test_a_missing_connection_is_named_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.sdk import BaseHook
    from airflow.sdk.exceptions import AirflowFailException, AirflowNotFoundException

    def none(conn_id: str) -> None:
        raise AirflowNotFoundException(conn_id)

    monkeypatch.setattr(BaseHook, "get_connection", none)  # which asks the scheduler, and there is none here
    with pytest.raises(AirflowFailException, match="add it under Admin"):
        job(tmp_path, "pass").execute(CONTEXT)


def on_yarn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str) -> Any:
    """The operator's hook where the connection names YARN, and a bundle is there."""
    from tidemark.airflow.operators.spark import SparkJob

    connection = {"conn_type": "spark", "host": "yarn", "extra": {"deploy-mode": mode, "queue": "night"}}
    monkeypatch.setenv("AIRFLOW_CONN_SPARK_DEFAULT", json.dumps(connection))
    for name in ("tidemark.zip", "environment.tar.gz", "jars/delta.jar"):
        (tmp_path / "bundle" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "bundle" / name).touch()
    settings = Settings(lake_uri="s3://b/lake", state_uri="s3://b/state", spark_bundle=str(tmp_path / "bundle"))
    operator = SparkJob(
        settings=settings,
        job="reprocess",
        pipeline="flights",
        task_id="reprocess",
        name="flights.reprocess",
        application_args=["--pipeline", "flights", "--from", "2013-01-01; id"],
        durable=False,
    )
    hook = operator._placed({"TIDEMARK_RUN": "flights.reprocess, run by_hand, try 1"})
    return hook, hook._build_spark_submit_command(operator.application)


def test_the_command_for_a_driver_in_a_yarn_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hook, command = on_yarn(tmp_path, monkeypatch, "cluster")
    bundle = tmp_path / "bundle"
    conf = [value for flag, value in pairwise(command) if flag == "--conf"]
    assert [part for part in command if part != "--conf" and part not in conf] == [
        *("spark-submit", "--master", "yarn", "--name", "flights.reprocess", "--queue", "night"),
        *("--deploy-mode", "cluster", f"{bundle}/jobs/reprocess.py"),
        *("--pipeline", "flights", "--from", "2013-01-01; id"),
    ]
    told = dict(pair.split("=", 1) for pair in conf)
    assert {key: value for key, value in told.items() if key.startswith("spark.yarn.")} == {
        "spark.yarn.appMasterEnv.TIDEMARK_LAKE_URI": "s3://b/lake",
        "spark.yarn.appMasterEnv.TIDEMARK_STATE_URI": "s3://b/state",
        "spark.yarn.appMasterEnv.PYTHONPATH": "./tidemark",
        "spark.yarn.appMasterEnv.PATH": told["spark.executorEnv.PATH"],
        "spark.yarn.appMasterEnv.TIDEMARK_RUN": "flights.reprocess, run by_hand, try 1",
    }
    assert told["spark.jars"] == f"{bundle}/jars/delta.jar"
    assert told["spark.archives"] == f"{bundle}/tidemark.zip#tidemark,{bundle}/environment.tar.gz#environment"
    assert hook._env is None, "that driver is not a process of this machine"


def test_the_command_for_a_driver_here_and_executors_on_yarn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hook, command = on_yarn(tmp_path, monkeypatch, "client")
    assert "appMasterEnv" not in str(command)
    assert hook._env["TIDEMARK_RUN"] == "flights.reprocess, run by_hand, try 1"
    assert hook._env["TIDEMARK_PARENTS"].startswith(str(os.getpid()))
    assert hook._env["PYTHONPATH"].startswith(str(tmp_path / "bundle" / "tidemark.zip"))


def test_a_standalone_cluster_runs_no_driver_of_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    connection = {"conn_type": "spark", "host": "spark://spark", "port": 7077, "extra": {"deploy-mode": "cluster"}}
    monkeypatch.setenv("AIRFLOW_CONN_SPARK_DEFAULT", json.dumps(connection))
    with pytest.raises(AirflowFailException, match="take deploy-mode out"):
        job(tmp_path, "pass").execute(CONTEXT)


def test_a_full_disk_starts_nothing(tmp_path: Path, connection: None) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    with pytest.raises(AirflowFailException, match="make room"):
        job(tmp_path, "pass", min_free_bytes=2**60).execute(CONTEXT)


def test_a_driver_ends_with_its_task_though_its_jvm_lives(tmp_path: Path) -> None:
    from tidemark_spark.driver.parent_watchdog import lost, watched

    chain = watched(str(os.getppid()))
    assert [process.pid for process in chain] == [os.getpid(), os.getppid()]
    assert lost(chain) is None
    assert lost([chain[0], psutil.Process(1)]) is not None or os.getppid() == 1
