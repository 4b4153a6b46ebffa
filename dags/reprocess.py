"""Recompute event dates from bronze.

One DAG a pipeline, ``<pipeline>.reprocess``. It seals the log, waits until the refine stream has passed the seal,
stages the range's slice of silver and its partial aggregates, checks the pipeline's suite on what is staged, and
publishes it: a broken expectation of severity critical fails the run with its figures, and nothing is changed. The
streams go on meanwhile, and every serving answer stays right: publishing a date is one commit.

- **Daily** over its data interval; backfill older dates with Airflow's own backfill.
- **By hand**: trigger with `from` and `to` (exclusive).
- Running it twice is harmless.
"""

from airflow.sdk import dag

from tidemark.airflow.tasks import (
    DRIVER_LOST,
    dag_arguments,
    over_range,
    plan,
    range_params,
    schedule,
    table_asset,
)
from tidemark.definition import Pipeline
from tidemark.registry import load_pipelines


def reprocess_dag(pipeline: Pipeline) -> None:
    """The DAG of one pipeline."""
    tables = ["silver", *(f"batch_{rollup.name}" for rollup in pipeline.rollups)]

    @dag(
        **dag_arguments(pipeline, "reprocess"),
        doc_md=__doc__,
        schedule=schedule("@daily"),
        params=range_params(),
    )
    def reprocess() -> None:
        recompute = over_range("reprocess", pipeline, outlets=[table_asset(pipeline, t) for t in tables], **DRIVER_LOST)
        plan() >> recompute

    reprocess()


for definition in load_pipelines().values():
    reprocess_dag(definition)
