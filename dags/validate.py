"""Check silver against the pipeline's suite of expectations, with Great Expectations.

One DAG a pipeline, ``<pipeline>.validate``, over the data interval, or `from` and `to` when triggered by hand. A broken
expectation fails the run, whose log shows every expectation with its figures.
"""

from datetime import UTC, datetime

from airflow.sdk import dag

from tidemark.airflow.tasks import DATA_REFUSED, over_range, plan, range_params, schedule
from tidemark.definition import Pipeline
from tidemark.registry import load_pipelines


def validate_dag(pipeline: Pipeline) -> None:
    """The DAG of one pipeline."""

    @dag(
        dag_id=f"{pipeline.name}.validate",
        doc_md=__doc__,
        schedule=schedule("@daily"),
        start_date=datetime(2026, 1, 1, tzinfo=UTC),
        catchup=False,
        max_active_runs=1,
        params=range_params(),
        tags=["tidemark", pipeline.name],
    )
    def validate() -> None:
        plan() >> over_range("validate", pipeline, **DATA_REFUSED)

    validate()


for definition in load_pipelines().values():
    validate_dag(definition)
