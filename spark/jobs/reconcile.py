"""spark-submit entry: compares a range with a recomputation from bronze; refused if a served value drifts."""

from tidemark.core.errors import DisagreementError
from tidemark.core.settings import get_settings
from tidemark.pipelines import get_pipeline
from tidemark.quality import load_suite
from tidemark_spark.batch.reconcile import reconcile
from tidemark_spark.driver.job import FromOption, PipelineOption, ToOption, parse_range, result, run_job, show
from tidemark_spark.driver.session import session


def main(pipeline: PipelineOption, from_: FromOption, to: ToOption) -> None:
    """Reconcile the event dates [from, to) of a pipeline."""
    start, end = parse_range(from_, to)
    settings, definition = get_settings(), get_pipeline(pipeline)
    suite = load_suite(definition, settings)
    found = reconcile(session(f"{pipeline}.reconcile"), definition, suite, settings, start, end)
    title = f"{pipeline} [{start}, {end}) against bronze through ingest_batch {found.position}"
    figures = [("events", found.events), ("panes compared", found.panes), ("values compared", found.values)]
    figures += [("served values that drift", found.served), ("values of the speed layer that drift", found.speed)]
    show(title, ["what", "figure"], figures)
    if found.drifts:
        columns = ["rollup", "layer", "pane", "measure", "recomputed", "found", "likely cause"]
        show("drift", columns, [tuple(drift) for drift in found.drifts])
    result(
        {
            "from": start,
            "to": end,
            "position": found.position,
            "events": found.events,
            "panes": found.panes,
            "values": found.values,
            "served_drift": found.served,
            "speed_drift": found.speed,
        }
    )
    if found.served:
        raise DisagreementError(f"{found.served:,} served values of {pipeline} [{start}, {end}) drift from bronze")


run_job(main)
