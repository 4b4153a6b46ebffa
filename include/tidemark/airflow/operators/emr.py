"""Jobs of spark/jobs on Amazon EMR Serverless, by the Amazon provider: no task waits, a trigger does.

Sources: the API reference of EMR Serverless (StartJobRun, ListJobRuns, CancelJobRun), and its user guide, "Using Python
libraries with EMR Serverless" and "Job resiliency".
"""

import json
from typing import Any, NoReturn
from urllib.parse import urlsplit

from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.providers.amazon.aws.operators.emr import EmrServerlessStartJobOperator
from airflow.providers.amazon.aws.triggers.emr import EmrServerlessStartJobTrigger
from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from botocore.exceptions import ClientError

from tidemark.airflow.assets import emit_asset_events
from tidemark.airflow.lineage import StatesLineage
from tidemark.core.errors import REFUSED, SettingsError
from tidemark.core.locks import RUN_VARIABLE
from tidemark.core.settings import Settings
from tidemark.core.spark_start.conf import (
    BUNDLE_CODE,
    BUNDLE_ENVIRONMENT,
    CODE_FOLDER,
    ENVIRONMENT_FOLDER,
    OUTCOME_ERROR,
    OUTCOME_RESULT,
    OUTCOME_VARIABLE,
    job_variables,
    session_conf,
)

_POLL_SECONDS = 20
_FOREVER = 2**31
_ALIVE = ["SUBMITTED", "PENDING", "SCHEDULED", "RUNNING", "QUEUED", "CANCELLING"]
_DRIVER = "spark.emr-serverless.driverEnv."


def check_emr(settings: Settings) -> None:
    """Check that the settings say where on EMR Serverless jobs run.

    Raises:
        SettingsError: a setting is missing or malformed; the message lists all of them.
    """
    problems = [
        f"TIDEMARK_{name.upper()} is not set"
        for name in ("emr_application_id", "emr_execution_role_arn")
        if not getattr(settings, name)
    ]
    problems += [
        f"TIDEMARK_{name.upper()} must be an s3:// URI, and is {getattr(settings, name) or 'not set'}"
        for name in ("spark_bundle", "emr_log_uri", "lake_uri", "state_uri")
        if not str(getattr(settings, name) or "").startswith("s3://")
    ]
    if problems:
        raise SettingsError(f"TIDEMARK_SPARK_RUNS_ON=emr_serverless: {'; '.join(problems)}")


class EmrJob(StatesLineage, EmrServerlessStartJobOperator):
    """A job of spark/jobs as a job run of EMR Serverless; its value is what the job said of itself.

    At most one driver at a time: a retry, and for streams any later run, waits for the job run of its name that is
    still alive, and starts none. EMR itself retries nothing: Airflow does. Marked as failed, the job run is cancelled.

    Args:
        settings: Name the application, its role and the places on S3, as ``check_emr`` wants them.
        job: Name of the script in spark/jobs, without ``.py``; also the task's id.
        pipeline: Name of the pipeline.
        arguments: Arguments of the script after ``--pipeline``.
        streaming: Whether the job runs until it is stopped, in EMR's mode STREAMING.
        policy: What any operator takes: ``retries``, ``outlets`` and the like.

    Raises:
        SettingsError: a setting is missing or malformed; the message lists all of them.
    """

    def __init__(
        self, *, settings: Settings, job: str, pipeline: str, arguments: list[str], streaming: bool, **policy: Any
    ) -> None:
        check_emr(settings)
        self._settings = settings
        self._job = job
        self._pipeline = pipeline
        self._streaming = streaming
        self._bundle = str(settings.spark_bundle).rstrip("/")
        submit = {
            "entryPoint": f"{self._bundle}/jobs/{job}.py",
            "entryPointArguments": ["--pipeline", pipeline, *arguments],
        }
        never = {"maxFailedAttemptsPerHour": 1} if streaming else {"maxAttempts": 1}
        super().__init__(
            task_id=job,
            application_id=str(settings.emr_application_id),
            execution_role_arn=str(settings.emr_execution_role_arn),
            job_driver={"sparkSubmit": submit},
            config={"mode": "STREAMING" if streaming else "BATCH", "retryPolicy": never},
            region_name=settings.aws_region,
            wait_for_completion=False,
            deferrable=True,
            waiter_delay=_POLL_SECONDS,
            waiter_max_attempts=_FOREVER,
            **policy,
        )

    def execute(self, context: Context, event: dict[str, Any] | None = None) -> NoReturn:
        """Start the job run, or find the one that is alive, and wait for it without a worker.

        Raises:
            AirflowFailException: there is no such application, or no bundle.
            AirflowException: the job run that is alive is being cancelled; a retry finds it gone.
        """
        if event is not None and event.get("status") != "success":
            raise AirflowException(f"the application {self.application_id} did not start: {event}")
        ti = context["ti"]
        self.name = f"{ti.dag_id}.{ti.task_id}" if self._streaming else f"{ti.dag_id}.{ti.task_id} {ti.run_id}"[:256]
        job_id = self._alive()
        if job_id is None:
            # The id is the try's own: one job run a try, also where the answer to a call was lost and it is sent again.
            self.client_request_token = f"tidemark-{ti.id}"
            run = f"{ti.dag_id}, run {ti.run_id}, try {ti.try_number}"
            self.configuration_overrides = self._overrides(run, self.client_request_token)
            job_id = super().execute(context, event)
        else:
            self.log.info("job run %s is alive: this try waits for it, and starts no second driver", job_id)
        self._wait(str(job_id))

    def execute_complete(  # type: ignore[override]
        self, context: Context, event: dict[str, Any] | None = None, job_id: str = ""
    ) -> dict[str, Any] | None:
        """What the job said of itself, once it has ended.

        Raises:
            AirflowFailException: it was refused.
            AirflowException: it failed, or was cancelled, and may be tried again.
        """
        emr: Any = self.hook.conn
        run = emr.get_job_run(applicationId=self.application_id, jobRunId=job_id)["jobRun"]
        if run["state"] in _ALIVE:
            self._wait(job_id)  # it was the trigger that could not go on
        left = self._left_by(run)
        if run["state"] != "SUCCESS":
            said = self._read_json(f"{left}/{OUTCOME_ERROR}") if left else None
            if said and said["exit_code"] == REFUSED:
                raise AirflowFailException(f"{self._job} was refused: {said['error']}")
            why = said["error"] if said else f"{run.get('stateDetails') or 'no details'}; logs: {self._logs(job_id)}"
            raise AirflowException(f"{self._job} ended as {run['state']} (job run {job_id}): {why}")
        done = self._read_json(f"{left}/{OUTCOME_RESULT}") if left else None
        if done is None:
            self.log.warning("job run %s has left no figures at %s", job_id, left)
        self._figures = done or {}
        emit_asset_events(context, self.outlets, self._pipeline, self._settings, self._figures)
        return done

    def _wait(self, job_id: str) -> NoReturn:
        self.defer(
            trigger=EmrServerlessStartJobTrigger(
                application_id=self.application_id,
                job_id=job_id,
                waiter_delay=self.waiter_delay,
                waiter_max_attempts=self.waiter_max_attempts,
                aws_conn_id=self.aws_conn_id,
                region_name=self.region_name,
                verify=self.verify,
                botocore_config=self.botocore_config,
                cancel_on_kill=True,
            ),
            method_name="execute_complete",
            kwargs={"job_id": job_id},
        )

    def _alive(self) -> str | None:
        emr: Any = self.hook.conn
        pages = emr.get_paginator("list_job_runs").paginate(applicationId=self.application_id, states=_ALIVE)
        try:
            found = [run for page in pages for run in page["jobRuns"] if run.get("name") == self.name]
        except ClientError as error:
            if error.response["Error"]["Code"] != "ResourceNotFoundException":
                raise
            raise AirflowFailException(
                f"there is no application {self.application_id} of EMR Serverless in {self._settings.aws_region}: fix "
                "TIDEMARK_EMR_APPLICATION_ID or TIDEMARK_AWS_REGION"
            ) from None
        if any(run["state"] == "CANCELLING" for run in found):
            raise AirflowException(
                f"a job run of {self.name} is being cancelled: the next try starts when it has ended"
            )
        return found[0]["id"] if found else None

    def _overrides(self, run: str, token: str) -> dict[str, Any]:
        """Spark's settings as a classification: no value passes a command line."""
        manifest = self._read_json(f"{self._bundle}/manifest.json")
        if manifest is None:
            raise AirflowFailException(
                f"there is no bundle at {self._bundle}: make one with `tidemark package --spark 4.1` (the Spark of the "
                "application), and copy it there with `aws s3 sync --delete`"
            )
        files = manifest["files"]
        archives = [f"{self._bundle}/{BUNDLE_CODE}#{CODE_FOLDER}"]
        variables = {
            **job_variables(self._settings, here=False),
            RUN_VARIABLE: run,
            OUTCOME_VARIABLE: f"{self._settings.state_uri.rstrip('/')}/{self._pipeline}/outcomes/{token}",
            "PYTHONPATH": f"./{CODE_FOLDER}",
        }
        conf = {"spark.executorEnv.PYTHONPATH": f"./{CODE_FOLDER}"}
        if BUNDLE_ENVIRONMENT in files:
            archives.append(f"{self._bundle}/{BUNDLE_ENVIRONMENT}#{ENVIRONMENT_FOLDER}")
            python = f"./{ENVIRONMENT_FOLDER}/bin/python"
            variables |= {"PYSPARK_DRIVER_PYTHON": python, "PYSPARK_PYTHON": python}
            conf["spark.executorEnv.PYSPARK_PYTHON"] = python
        properties = {
            **session_conf(self._settings),
            **conf,
            "spark.jars": ",".join(f"{self._bundle}/{name}" for name in files if name.startswith("jars/")),
            "spark.archives": ",".join(archives),
            **{f"{_DRIVER}{name}": value for name, value in variables.items()},
            **self._settings.spark_conf,
        }
        logs = {"s3MonitoringConfiguration": {"logUri": self._settings.emr_log_uri}}
        return {
            "applicationConfiguration": [{"classification": "spark-defaults", "properties": properties}],
            "monitoringConfiguration": logs,
        }

    def _left_by(self, run: dict[str, Any]) -> str | None:
        """Where a job run was told to leave its outcome."""
        for each in (run.get("configurationOverrides") or {}).get("applicationConfiguration") or []:
            if uri := each.get("properties", {}).get(f"{_DRIVER}{OUTCOME_VARIABLE}"):
                return str(uri)
        return None

    def _logs(self, job_id: str) -> str:
        root = str(self._settings.emr_log_uri).rstrip("/")
        return f"{root}/applications/{self.application_id}/jobs/{job_id}/SPARK_DRIVER/"

    def _read_json(self, uri: str) -> dict[str, Any] | None:
        """A JSON object on S3; None if there is none."""
        parts = urlsplit(uri)
        s3 = S3Hook(aws_conn_id=self.aws_conn_id, region_name=self.region_name)
        try:
            return dict(json.loads(s3.read_key(parts.path.lstrip("/"), parts.netloc)))
        except ClientError as error:
            if error.response["Error"]["Code"] in ("404", "NoSuchKey"):
                return None
            raise
