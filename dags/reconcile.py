"""Compare what is served with a recomputation from bronze.

One DAG a pipeline, ``<pipeline>.reconcile``. It runs over the dates that a reprocess has published, when the assets of
all serving views tell of it, or over *From* and *To* when triggered by hand. It recomputes the range from bronze alone,
through the position in the log that the serving view states, and compares every pane with the speed layer and with the
serving view. A served value that drifts fails the run; the log shows its pane, both values and the likely cause. It
changes nothing, and the streams go on meanwhile.
"""

from airflow.sdk import dag

from tidemark.airflow.assets import serving_assets
from tidemark.airflow.steps.forms import range_params
from tidemark.airflow.steps.planning import plan
from tidemark.airflow.steps.tasks import dag_arguments, over_range
from tidemark.definition import Pipeline
from tidemark.pipelines import load_pipelines


def reconcile_dag(pipeline: Pipeline) -> None:
    """The DAG of one pipeline."""

    @dag(
        **dag_arguments(pipeline, "reconcile", serving_assets(pipeline)),
        doc_md=__doc__,
        params=range_params(),
    )
    def reconcile() -> None:
        plan(pipeline.name) >> over_range("reconcile", pipeline)

    reconcile()


for definition in load_pipelines().values():
    reconcile_dag(definition)
