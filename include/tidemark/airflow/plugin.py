"""Tidemark's plugin of Airflow, which finds it as an entry point of the installed package."""

from airflow.plugins_manager import AirflowPlugin

from tidemark.airflow import pools


class TidemarkPlugin(AirflowPlugin):
    """The pool of the Spark jobs, made as the scheduler starts."""

    name = "tidemark"
    listeners = [pools]  # noqa: RUF012  (as its base declares it)
