"""Recompute event dates from bronze.

One DAG per pipeline, ``<pipeline>.reprocess``. It seals the log and waits until the refine stream has passed the seal.
It stages the range's slice of silver and its partial aggregates, and checks the pipeline's suite on what is staged.
Then it publishes the slice. If an expectation of severity critical fails, the run fails with the figures, and nothing
is changed. The streams continue meanwhile, and every serving answer stays correct, because a date is published in one
commit.

- **Daily**: a run covers its data interval. For older dates, use Airflow's own backfill. The pool *tidemark_spark*
  limits how many drivers run at once.
- **By hand**: trigger with *From* and *To* (exclusive). With *Dry run*, the task *plan* prints how much would be read
  and how long it would take, and the run ends.
- **A long range waits for approval** in the task *approve* (Required Actions) before Spark starts.
- **Two runs on one date**: the second run waits in *plan*, and its log names the first.
- **A driver that was lost** is started again, twice. A refused run is not started again, because the data would have
  to change first.
- **A run that takes long** raises an alert while it is still running (`TIDEMARK_REPROCESS_LIMIT_SECONDS`).
- Running it twice is harmless.

After that, the run checks that the batch tables cover what was published. It sends events of the assets of silver, the
batch tables and the serving views. ``<pipeline>.validate`` and ``<pipeline>.reconcile`` run on these events, over the
same dates.
"""

from datetime import timedelta

from airflow.sdk import CronDataIntervalTimetable, dag

from tidemark.airflow.alerts import late_alert
from tidemark.airflow.assets import table_asset, tell_batch, tell_serving
from tidemark.airflow.steps.forms import reprocess_params
from tidemark.airflow.steps.planning import approve, plan_reprocess
from tidemark.airflow.steps.tasks import dag_arguments, over_range
from tidemark.core.settings import get_settings
from tidemark.definition import Pipeline

DAILY = CronDataIntervalTimetable("0 0 * * *", timezone="UTC")
"""Each run's interval is the day before, whatever Airflow's configuration makes of ``@daily``."""
MAX_ACTIVE_RUNS = 8
"""Runs on disjoint dates may go on at once, as far as the pool lets them."""


def reprocess_dag(pipeline: Pipeline) -> None:
    """The DAG of one pipeline."""
    bronze, silver = table_asset(pipeline, "bronze"), table_asset(pipeline, "silver")

    @dag(
        **dag_arguments(pipeline, "reprocess", DAILY, max_active_runs=MAX_ACTIVE_RUNS),
        doc_md=__doc__,
        params=reprocess_params(),
        deadline=late_alert(timedelta(seconds=get_settings().reprocess_limit_seconds)),
    )
    def reprocess() -> None:
        wait = ["--wait-seconds", "{{ params.wait_seconds }}"]
        recompute = over_range("reprocess", pipeline, wait, inlets=[bronze], outlets=[silver])
        plan_reprocess(pipeline, silver) >> approve() >> recompute >> tell_batch(pipeline) >> tell_serving(pipeline)

    reprocess()
