"""Recompute event dates from bronze.

One DAG a pipeline, ``<pipeline>.reprocess``. It seals the log, waits until the refine stream has passed the seal,
stages the range's slice of silver and its partial aggregates, checks the pipeline's suite on what is staged, and
publishes it: a broken expectation of severity critical fails the run with its figures, and nothing is changed. The
streams go on meanwhile, and every serving answer stays right: publishing a date is one commit.

- **Daily** over its data interval. Older dates: Airflow's own backfill; the pool *tidemark_spark* limits how many
  drivers run at once.
- **By hand**: trigger with *From* and *To* (exclusive). With *Dry run*, the task *plan* says how much would be read and
  how long it would take, and the run ends.
- **A long range waits for approval** in the task *approve* (Required Actions) before Spark starts.
- **Two runs on one date**: the second one waits in *plan*, and its log names the first.
- **A driver that was lost** is started again, twice. A refusal is not: the data would have to change first.
- Running it twice is harmless.
"""

from airflow.sdk import dag

from tidemark.airflow.forms import reprocess_params
from tidemark.airflow.planning import approve, plan_reprocess
from tidemark.airflow.tasks import DRIVER_LOST, dag_arguments, over_range, table_asset
from tidemark.definition import Pipeline
from tidemark.registry import load_pipelines

MAX_ACTIVE_RUNS = 8
"""Runs on disjoint dates may go on at once, as far as the pool lets them."""


def reprocess_dag(pipeline: Pipeline) -> None:
    """The DAG of one pipeline."""
    tables = ["silver", *(f"batch_{rollup.name}" for rollup in pipeline.rollups)]

    @dag(
        **dag_arguments(pipeline, "reprocess", max_active_runs=MAX_ACTIVE_RUNS),
        doc_md=__doc__,
        schedule="@daily",
        params=reprocess_params(),
    )
    def reprocess() -> None:
        outlets = [table_asset(pipeline, table) for table in tables]
        wait = ["--wait-seconds", "{{ params.wait_seconds }}"]
        (
            plan_reprocess(pipeline, outlets[0])
            >> approve()
            >> over_range("reprocess", pipeline, wait, outlets=outlets, **DRIVER_LOST)
        )

    reprocess()


for definition in load_pipelines().values():
    reprocess_dag(definition)
