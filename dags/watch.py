"""Watch the streams, and raise an alert where they are behind or silent for longer than the definition allows.

One DAG a pipeline, ``<pipeline>.watch``, every five minutes. The task *limits* fails if refine lags behind bronze by
more than ``max_lag``, or if no record has come for ``max_silence``; its message says what to look at, and the alert
goes to whom the connection *tidemark_alerts* names. Where bronze has grown, it tells so by its asset. It reads the
tables' logs only, and starts no Spark.
"""

from airflow.sdk import dag

from tidemark.airflow.streams import limits
from tidemark.airflow.tasks import dag_arguments
from tidemark.definition import Pipeline
from tidemark.registry import load_pipelines


def watch_dag(pipeline: Pipeline) -> None:
    """The DAG of one pipeline."""

    @dag(**dag_arguments(pipeline, "watch"), doc_md=__doc__, schedule="*/5 * * * *")
    def watch() -> None:
        limits(pipeline)

    watch()


for definition in load_pipelines().values():
    watch_dag(definition)
