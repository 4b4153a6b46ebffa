"""Watch the streams, and raise an alert if they are behind or silent for longer than the definition allows.

One DAG per pipeline, ``<pipeline>.watch``, every five minutes. The task *limits* fails if refine lags behind bronze by
more than ``max_lag``, or if no record has come for ``max_staleness``. Its message names what to look at. The alert goes
to the recipient in the connection *tidemark_alerts*. If bronze has grown, the task sends an event of bronze's asset.
The task only reads the tables' logs, and starts no Spark. A watch that has not finished after five minutes raises an
alert too.
"""

from datetime import timedelta

from airflow.sdk import dag

from tidemark.airflow.alerts import late_alert
from tidemark.airflow.steps.streams import limits
from tidemark.airflow.steps.tasks import dag_arguments
from tidemark.definition import Pipeline

EVERY_MINUTES = 5
"""A watch that is not done when the next one is due is late itself."""


def watch_dag(pipeline: Pipeline) -> None:
    """The DAG of one pipeline."""

    @dag(
        **dag_arguments(pipeline, "watch", f"*/{EVERY_MINUTES} * * * *"),
        doc_md=__doc__,
        deadline=late_alert(timedelta(minutes=EVERY_MINUTES)),
    )
    def watch() -> None:
        limits(pipeline)

    watch()
