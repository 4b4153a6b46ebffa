"""The operator of all Spark jobs: it says on the run's page what ended one, and leaves no driver behind."""

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from airflow.providers.apache.spark.hooks.spark_submit import SparkSubmitHook
from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator
from airflow.sdk import BaseHook, Context
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowNotFoundException

from tidemark.airflow.assets import emit_asset_events
from tidemark.airflow.lineage import StatesLineage
from tidemark.core.errors import REFUSED, PreconditionError, TidemarkError
from tidemark.core.locks import RUN_VARIABLE
from tidemark.core.settings import Settings
from tidemark.core.spark_start.conf import PARENTS_VARIABLE, RESULT, job_path, spark_conf, submit_variables
from tidemark.core.stream_locks import stop_file

STOP_SECONDS = 40
"""How long a task that is ended waits for its streams to finish; Airflow allows 60 s before it kills."""
_WRONG_ARGUMENTS = 2
_ERROR = "error: "


class SparkJob(StatesLineage, SparkSubmitOperator):
    """A job of spark/jobs by spark-submit; its value is what the job said of itself (``driver.job.result``).

    A refusal (``tidemark.core.errors.REFUSED``) fails without a retry, as nothing would be otherwise the next time.
    Whatever else ends a job, above all a lost driver, is retried as the task says. In deploy mode ``cluster`` exit
    codes do not come back, and a refusal is retried too.

    Args:
        settings: Where lake, state and bundle are; where the job runs, its connection says.
        job: Name of the script in spark/jobs, without ``.py``.
        pipeline: Name of the pipeline, for the assets that the run updates.
        arguments: What ``SparkSubmitOperator`` takes: ``conn_id``, ``application_args``, and a task's policy.
    """

    def __init__(self, *, settings: Settings, job: str, pipeline: str, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._settings = settings
        self._job = job
        self._pipeline = pipeline
        self._log_lines: list[str] = []

    def execute(self, context: Context) -> dict[str, Any] | None:  # type: ignore[override]
        """Run the job to its end.

        Raises:
            AirflowFailException: it was refused, or cannot start: no connection, no jars, no bundle, or no space.
            AirflowException: it failed, and may be tried again.
        """
        self._check_connection()
        self._check_space()
        ti = context["ti"]
        run = f"{ti.dag_id}, run {ti.run_id}, try {ti.try_number}"
        hook = self._hook = self._placed({RUN_VARIABLE: run})
        try:
            super().execute(context)
        except AirflowException as error:
            self._fail(hook, error)
        done = self._result()
        self._figures = done or {}
        emit_asset_events(context, self.outlets, self._pipeline, self._settings, self._figures)
        return done

    def on_kill(self) -> None:
        """End spark-submit, and with it the driver; one in a YARN cluster by ``yarn application -kill``."""
        if self._hook is not None:
            self._hook.on_kill()  # the operator's own takes it that YARN's REST API tracks the driver

    def _placed(self, variables: dict[str, str]) -> SparkSubmitHook:
        """The hook, with the settings that are right for the master that the connection names."""
        connection = self._get_hook()._connection
        master, cluster = connection["master"], connection["deploy_mode"] == "cluster"
        if cluster and master.startswith("spark://"):
            raise AirflowFailException(
                f"connection {self._conn_id!r}: a standalone cluster runs no Python driver in deploy mode cluster: "
                "take deploy-mode out of its extra, then clear this task"
            )
        try:
            conf = spark_conf(self._settings, master, "cluster" if cluster else "client")
            self.application = self.application or str(job_path(self._job, self._settings, master))
        except PreconditionError as error:
            raise AirflowFailException(f"{error}; then clear this task") from None
        if cluster:  # that driver is not a process of this machine
            conf |= {f"spark.yarn.appMasterEnv.{name}": value for name, value in variables.items()}
        self.conf = conf
        hook = self._get_hook()
        if not cluster:
            parents = {PARENTS_VARIABLE: f"{os.getpid()},{os.getppid()}"}
            # Its argument env_vars does not reach the driver in YARN's client mode.
            hook._env = {**submit_variables(self._settings, master), **variables, **parents}
        return hook

    def _get_hook(self) -> SparkSubmitHook:
        hook = super()._get_hook()
        read = hook._process_spark_submit_log
        # The hook itself keeps the last lines only, and drops even those once a JVM logs a stack trace as it ends.
        hook._process_spark_submit_log = lambda lines: read(self._kept(lines))  # type: ignore[assignment, method-assign]
        return hook

    def _kept(self, lines: Iterator[str]) -> Iterator[str]:
        self._log_lines.clear()
        for line in lines:
            if line.startswith((_ERROR, RESULT)):
                self._log_lines.append(line.rstrip("\n"))
            yield line

    def _result(self) -> dict[str, Any] | None:
        found = [line for line in self._log_lines if line.startswith(RESULT)]
        return dict(json.loads(found[-1].removeprefix(RESULT))) if found else None

    def _fail(self, hook: SparkSubmitHook, error: AirflowException) -> None:
        said = [line.removeprefix(_ERROR) for line in self._log_lines if line.startswith(_ERROR)]
        code = getattr(hook._submit_sp, "returncode", None)
        if code in (REFUSED, _WRONG_ARGUMENTS):
            raise AirflowFailException(f"{self._job} was refused: {said[-1] if said else error}") from None
        if said:
            raise AirflowException(f"{self._job} failed (exit code {code}): {said[-1]}") from None
        raise error

    def _check_connection(self) -> None:
        try:
            BaseHook.get_connection(self._conn_id)
        except AirflowNotFoundException:
            # The hook would ask for YARN instead.
            raise AirflowFailException(
                f"there is no connection {self._conn_id!r}, which says where Spark runs: add it under Admin, "
                "Connections (type Spark, host local[2], yarn or spark://HOST:7077), then clear this task"
            ) from None

    def _check_space(self) -> None:
        lake, least = self._settings.lake_uri, self._settings.min_free_bytes
        if "://" in lake or not Path(lake).is_dir():
            return
        free = shutil.disk_usage(lake).free
        if free < least:
            raise AirflowFailException(
                f"no space for a job: {lake} has {free / 2**30:.1f} GiB free, and {least / 2**30:.1f} must be "
                "(TIDEMARK_MIN_FREE_BYTES): make room, then clear this task. Nothing was started"
            )


class StreamJob(SparkJob):
    """The driver of a pipeline's streams. Ended in the UI, it finishes the micro-batch that runs."""

    def on_kill(self) -> None:
        """Ask the streams to stop, wait for that, and then make sure."""
        process = getattr(self._hook, "_submit_sp", None)
        with contextlib.suppress(TidemarkError, OSError, subprocess.TimeoutExpired):
            if process is not None and process.poll() is None:
                stop_file(self._pipeline, self._settings).touch()
                process.wait(timeout=STOP_SECONDS)
        super().on_kill()
