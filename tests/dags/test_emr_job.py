"""Jobs on EMR Serverless, against moto's AWS over HTTP: what is asked of it, and what becomes of each answer."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import boto3
import pytest
from moto.emrserverless import emrserverless_backends
from moto.server import ThreadedMotoServer

from tidemark.core.errors import SettingsError
from tidemark.core.settings import Settings
from tidemark.core.spark_start.conf import OUTCOME_VARIABLE
from tidemark_spark.driver.job import _end, result

ROLE = "arn:aws:iam::123456789012:role/tidemark"
FILES = ("tidemark.zip", "environment.tar.gz", "jars/delta.jar", "jobs/reprocess.py")
OUTCOME = f"spark.emr-serverless.driverEnv.{OUTCOME_VARIABLE}"


@pytest.fixture(autouse=True)
def _no_instance_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    # Each client would wait for an address that answers on instances of EC2 only.
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture(scope="module")
def emr() -> Iterator[Any]:
    """A client of AWS, where a bucket holds a bundle's manifest; the environment and a connection lead there."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    url = "http://{}:{}".format(*server.get_host_and_port())
    connection = {"conn_type": "aws", "login": "test", "password": "test", "extra": {"endpoint_url": url}}
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "test")
        patch.setenv("AWS_ENDPOINT_URL", url)
        patch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(connection))
        s3 = boto3.client("s3", region_name="us-east-1")
        s3.create_bucket(Bucket="bucket")
        manifest = {"files": {name: {} for name in FILES}}
        s3.put_object(Bucket="bucket", Key="bundle/manifest.json", Body=json.dumps(manifest).encode())
        yield boto3.client("emr-serverless", region_name="us-east-1")
    server.stop()


@pytest.fixture
def settings(emr: Any) -> Settings:
    """An application of its own for each test."""
    application = emr.create_application(name="tidemark", releaseLabel="emr-8.0.0", type="SPARK")["applicationId"]
    # moto takes an application without any job run for none.
    emr.start_job_run(applicationId=application, executionRoleArn=ROLE, name="somebody else's")
    return Settings(
        spark_runs_on="emr_serverless",
        emr_application_id=application,
        emr_execution_role_arn=ROLE,
        emr_log_uri="s3://bucket/logs",
        spark_bundle="s3://bucket/bundle/",
        lake_uri="s3://bucket/lake",
        state_uri="s3://bucket/state",
        storage_options={"AWS_SECRET_ACCESS_KEY": "of a store"},
    )


def job(settings: Settings, *, streaming: bool = False) -> Any:
    from tidemark.airflow.operators.emr import EmrJob

    name = "stream" if streaming else "reprocess"
    arguments = ["--from", "2013-01-01", "--to", "2013-01-02; rm -rf $HOME"]
    return EmrJob(settings=settings, job=name, pipeline="flights", arguments=arguments, streaming=streaming)


def context(attempt: int = 1, run: str = "by_hand") -> Any:
    names = {"dag_id": "flights.reprocess", "task_id": "reprocess", "run_id": run, "map_index": -1}
    return {"ti": SimpleNamespace(**names, id=uuid4(), try_number=attempt, xcom_push=lambda **_: None)}


def deferred(operator: Any, its: Any) -> Any:
    from airflow.sdk.exceptions import TaskDeferred

    with pytest.raises(TaskDeferred) as raised:
        operator.execute(its)
    return raised.value


def event_of(trigger: Any) -> dict[str, Any]:
    async def first() -> Any:
        return (await anext(trigger.run())).payload

    return dict(asyncio.run(first()))


def runs(settings: Settings) -> list[Any]:
    """The job runs that Tidemark has started, as moto keeps them."""
    return emrserverless_backends["123456789012"]["us-east-1"].job_runs[str(settings.emr_application_id)][1:]


def ended(settings: Settings, state: str, say: Any, its: Any) -> Any:
    """What becomes of a job that says something and ends so."""
    waiting = deferred(job(settings), its)
    [run] = runs(settings)
    run.state = state
    say(properties_of(run)[OUTCOME])
    event = event_of(waiting.trigger)
    assert event["status"] == ("success" if state == "SUCCESS" else "failure")
    return job(settings).execute_complete(its, event=event, **waiting.kwargs)


def properties_of(run: Any) -> dict[str, str]:
    [spark] = run.configuration_overrides["applicationConfiguration"]
    return dict(spark["properties"])


def test_a_job_run_is_told_all_that_it_needs_as_data_and_no_key_of_a_store(settings: Settings) -> None:
    deferred(job(settings), context())
    [run] = runs(settings)
    assert run.name == "flights.reprocess.reprocess by_hand"
    assert run.job_driver == {
        "sparkSubmit": {
            "entryPoint": "s3://bucket/bundle/jobs/reprocess.py",
            "entryPointArguments": [
                "--pipeline", "flights", "--from", "2013-01-01", "--to", "2013-01-02; rm -rf $HOME",
            ],
        }
    }  # fmt: skip
    told = properties_of(run)
    assert told["spark.jars"] == "s3://bucket/bundle/jars/delta.jar"
    assert told["spark.archives"] == (
        "s3://bucket/bundle/tidemark.zip#tidemark,s3://bucket/bundle/environment.tar.gz#environment"
    )
    assert told["spark.emr-serverless.driverEnv.PYTHONPATH"] == told["spark.executorEnv.PYTHONPATH"] == "./tidemark"
    assert told["spark.emr-serverless.driverEnv.PYSPARK_PYTHON"] == "./environment/bin/python"
    assert told["spark.emr-serverless.driverEnv.TIDEMARK_LAKE_URI"] == "s3://bucket/lake"
    assert told["spark.emr-serverless.driverEnv.TIDEMARK_RUN"] == "flights.reprocess, run by_hand, try 1"
    assert len(told) <= 100, "more are refused by the API"
    assert "of a store" not in str(run.configuration_overrides)
    assert "127.0.0.1" not in str(told)


def test_the_figures_of_a_job_come_back(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def say(uri: str) -> None:
        monkeypatch.setenv(OUTCOME_VARIABLE, uri)
        result({"silver_rows": 7})

    assert ended(settings, "SUCCESS", say, context()) == {"silver_rows": 7}


def test_a_refusal_comes_back_and_is_not_tried_again(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    def say(uri: str) -> None:
        monkeypatch.setenv(OUTCOME_VARIABLE, uri)
        with pytest.raises(SystemExit):
            _end(65, "the mean is off")

    with pytest.raises(AirflowFailException, match=r"^reprocess was refused: the mean is off$"):
        ended(settings, "FAILED", say, context())


def test_a_driver_that_says_nothing_may_be_tried_again_and_its_log_is_named(settings: Settings) -> None:
    from airflow.sdk.exceptions import AirflowException, AirflowFailException

    with pytest.raises(
        AirflowException, match=r"ended as FAILED .*s3://bucket/logs/applications/.*/SPARK_DRIVER/"
    ) as e:
        ended(settings, "FAILED", lambda _: None, context())
    assert not isinstance(e.value, AirflowFailException)


def test_a_retry_waits_for_the_driver_that_runs_and_starts_none(settings: Settings) -> None:
    first = deferred(job(settings), context())
    runs(settings)[0].state = "RUNNING"
    again = deferred(job(settings), context(attempt=2))
    assert again.kwargs == first.kwargs
    assert len(runs(settings)) == 1
    runs(settings)[0].state = "FAILED"
    assert deferred(job(settings), context(attempt=2)).kwargs != first.kwargs
    assert len({run.client_token for run in runs(settings)}) == 2


def test_runs_of_a_batch_job_go_on_beside_each_other_and_streams_never(settings: Settings) -> None:
    deferred(job(settings), context(run="monday"))
    runs(settings)[0].state = "RUNNING"
    deferred(job(settings), context(run="tuesday"))
    assert len(runs(settings)) == 2
    streams = deferred(job(settings, streaming=True), context(run="monday"))
    runs(settings)[2].state = "RUNNING"
    assert deferred(job(settings, streaming=True), context(run="tuesday")).kwargs == streams.kwargs
    assert len(runs(settings)) == 3


def test_a_job_run_that_is_being_cancelled_is_waited_out(settings: Settings) -> None:
    from airflow.sdk.exceptions import AirflowException

    deferred(job(settings, streaming=True), context())
    runs(settings)[0].state = "CANCELLING"
    with pytest.raises(AirflowException, match="the next try starts"):
        job(settings, streaming=True).execute(context(run="next"))


def test_a_task_that_is_ended_cancels_its_job_run(settings: Settings) -> None:
    waiting = deferred(job(settings, streaming=True), context())
    runs(settings)[0].state = "RUNNING"
    asyncio.run(waiting.trigger.on_kill())
    assert runs(settings)[0].state == "CANCELLED"


def test_a_trigger_that_could_not_go_on_is_not_the_end_of_the_job(settings: Settings) -> None:
    from airflow.sdk.exceptions import TaskDeferred

    waiting = deferred(job(settings), context())
    runs(settings)[0].state = "RUNNING"
    with pytest.raises(TaskDeferred):
        job(settings).execute_complete(context(), event={"status": "failure", "message": "no route"}, **waiting.kwargs)


def test_a_stopped_application_is_started_first(settings: Settings, emr: Any) -> None:
    emr.stop_application(applicationId=str(settings.emr_application_id))
    waiting = deferred(job(settings), context())
    assert (waiting.method_name, runs(settings)) == ("execute", [])
    operator = job(settings)
    with pytest.raises(Exception, match="did not start"):
        operator.execute(context(), event={"status": "failure", "message": "quota"})
    assert deferred(operator, context()).method_name == "execute_complete"


def test_a_bundle_or_an_application_that_is_not_there_is_named(settings: Settings) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    with pytest.raises(AirflowFailException, match="tidemark package"):
        job(settings.model_copy(update={"spark_bundle": "s3://bucket/none"})).execute(context())
    with pytest.raises(AirflowFailException, match="TIDEMARK_EMR_APPLICATION_ID"):
        job(settings.model_copy(update={"emr_application_id": "00none"})).execute(context())


def test_settings_that_lack_something_are_refused_with_all_of_it() -> None:
    with pytest.raises(SettingsError) as raised:
        job(Settings(spark_runs_on="emr_serverless", lake_uri="s3://bucket/lake"))
    for name in ("EMR_APPLICATION_ID", "EMR_EXECUTION_ROLE_ARN", "EMR_LOG_URI", "SPARK_BUNDLE", "STATE_URI"):
        assert f"TIDEMARK_{name}" in str(raised.value)
    assert "LAKE_URI" not in str(raised.value)


def test_one_setting_moves_all_jobs_there_with_the_same_dag_files(monkeypatch: pytest.MonkeyPatch) -> None:
    from tidemark.airflow.steps import streams, tasks
    from tidemark.pipelines.flights import flights

    s3 = {name: f"s3://bucket/{name}" for name in ("spark_bundle", "emr_log_uri", "lake_uri", "state_uri")}
    there = Settings(
        spark_runs_on="emr_serverless", emr_application_id="00abc", emr_execution_role_arn=ROLE, retry_seconds=7, **s3
    )
    monkeypatch.setattr(tasks, "get_settings", lambda: there)
    batch = tasks.over_range("reprocess", flights, **tasks.TASK_LOST)
    assert (batch.task_type, batch.task_id, batch.retries) == ("EmrJob", "reprocess", 2)
    assert batch.config == {"mode": "BATCH", "retryPolicy": {"maxAttempts": 1}}
    kept = streams.streams(flights)
    assert kept.config == {"mode": "STREAMING", "retryPolicy": {"maxFailedAttemptsPerHour": 1}}
    assert kept.retries > 1
    scheduled = streams.streams(replace(flights, streams="scheduled"))
    assert scheduled.config["mode"] == "BATCH"
    assert scheduled.job_driver["sparkSubmit"]["entryPointArguments"][-1] == "--available-now"
