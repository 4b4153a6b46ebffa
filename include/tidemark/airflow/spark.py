"""The operator of all Spark jobs: it says on the run's page what ended one, and leaves no driver behind."""

import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from airflow.providers.apache.spark.hooks.spark_submit import SparkSubmitHook
from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator
from airflow.sdk import BaseHook, Context
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowNotFoundException

from tidemark.errors import REFUSED
from tidemark.locks import RUN_VARIABLE
from tidemark.settings import Settings
from tidemark.spark_conf import PARENTS_VARIABLE, RESULT

_WRONG_ARGUMENTS = 2


class SparkJob(SparkSubmitOperator):
    """A job of spark/jobs by spark-submit; its value is what the job said of itself (``tidemark_spark.job.result``).

    A refusal (``tidemark.errors.REFUSED``) fails without a retry, as nothing would be otherwise the next time. Whatever
    else ends a job, above all a lost driver, is retried as the task says. In deploy mode ``cluster`` exit codes do not
    come back, and a refusal is retried too.
    """

    def __init__(self, *, settings: Settings, job: str, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._settings = settings
        self._job = job

    def execute(self, context: Context) -> dict[str, Any] | None:  # type: ignore[override]
        """Run the job to its end.

        Raises:
            AirflowFailException: it was refused, or cannot start: the connection is missing, or there is no space.
            AirflowException: it failed, and may be tried again.
        """
        self._check_connection()
        self._check_space()
        ti = context["ti"]
        run = f"{ti.dag_id}, run {ti.run_id}, try {ti.try_number}"
        self.env_vars = {RUN_VARIABLE: run, PARENTS_VARIABLE: f"{os.getpid()},{os.getppid()}"}
        hook = self._hook = self._get_hook()
        if hook._connection["deploy_mode"] == "cluster":
            hook._env_vars = None  # that driver is no process of this machine
        try:
            super().execute(context)
        except AirflowException as error:
            self._fail(hook, error)
        return _result(hook._last_submit_log_lines)

    def _fail(self, hook: SparkSubmitHook, error: AirflowException) -> None:
        said = [line for line in hook._last_submit_log_lines if line.startswith("error: ")]
        code = getattr(hook._submit_sp, "returncode", None)
        if code in (REFUSED, _WRONG_ARGUMENTS):
            raise AirflowFailException(f"{self._job} was refused: {said[-1][7:] if said else error}") from None
        if said:
            raise AirflowException(f"{self._job} failed (exit code {code}): {said[-1][7:]}") from None
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


def _result(lines: Iterable[str]) -> dict[str, Any] | None:
    found = [line for line in lines if line.startswith(RESULT)]
    return dict(json.loads(found[-1].removeprefix(RESULT))) if found else None
