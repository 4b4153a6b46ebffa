"""spark-submit entry: recomputes the event dates of a range from bronze and publishes them."""

from datetime import date
from typing import Annotated

import typer

from tidemark.core.locks import claim_dates, when_free
from tidemark.core.settings import get_settings
from tidemark.pipelines import get_pipeline
from tidemark.quality import load_suite
from tidemark_spark.batch.reprocess import reprocess
from tidemark_spark.driver.job import PipelineOption, parse_range, result, run_job, show, waiting
from tidemark_spark.driver.session import session


def main(
    pipeline: PipelineOption,
    from_: Annotated[str | None, typer.Option("--from", help="First event date.")] = None,
    to: Annotated[str | None, typer.Option("--to", help="The event date after the last one (exclusive).")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All event dates, after a changed definition.")] = False,
    wait_seconds: Annotated[
        float, typer.Option(help="Seconds without progress after which waiting for refine ends.")
    ] = 300,
) -> None:
    """Reprocess the event dates [from, to) of a pipeline, or all of them."""
    start, end = (date.min, date.max) if everything else parse_range(from_, to)
    settings, definition = get_settings(), get_pipeline(pipeline)
    suite = load_suite(definition, settings)
    with when_free(lambda: claim_dates(pipeline, start, end, settings), waiting):
        spark = session(f"{pipeline}.reprocess")
        done = reprocess(spark, definition, suite, settings, start, end, wait_seconds=wait_seconds)
    rows: list[tuple[str, object]] = [("bronze rows read", done.bronze_rows), ("silver rows", done.silver_rows)]
    rows += [(f"batch_{name} rows", count) for name, count in done.batch_rows.items()]
    rows += [("put into quarantine", done.reclassified.quarantined), ("taken out of it", done.reclassified.recovered)]
    rows += [("event dates published", len(done.published))]
    rows += [("covered through segment", done.covered_segment), ("seconds", f"{done.seconds:.1f}")]
    show(f"reprocessed {pipeline}, {'all' if everything else f'[{start}, {end})'}", ["what", "figure"], rows)
    result(
        {
            "from": start,
            "to": end,
            "bronze_rows": done.bronze_rows,
            "silver_rows": done.silver_rows,
            "batch_rows": done.batch_rows,
            "published_dates": len(done.published),
            "covered_segment": done.covered_segment,
            "seconds": round(done.seconds, 1),
        }
    )


run_job(main)
