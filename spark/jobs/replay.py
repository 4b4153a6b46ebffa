"""spark-submit entry: moves quarantined records that pass now into silver, by a reprocess of their event dates."""

from typing import Annotated

import typer

from tidemark.core.settings import get_settings
from tidemark.pipelines import get_pipeline
from tidemark.quality import load_suite
from tidemark_spark.batch.replay import replay
from tidemark_spark.driver.job import PipelineOption, run_job, show
from tidemark_spark.driver.session import session


def main(
    pipeline: PipelineOption,
    wait_seconds: Annotated[float, typer.Option(help="Seconds to wait for refine to pass the sealed segment.")] = 300,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be moved.")] = False,
) -> None:
    """Replay the quarantine of a pipeline."""
    settings, definition = get_settings(), get_pipeline(pipeline)
    suite, spark = load_suite(definition, settings), session(f"{pipeline}.replay")
    done = replay(spark, definition, suite, settings, wait_seconds=wait_seconds, dry_run=dry_run)
    show(f"quarantine of {pipeline}: records that pass now", ["event date", "records"], list(done.passing.items()))
    if not dry_run:
        figures = [("taken out of quarantine", done.released), ("in silver now", done.in_silver)]
        figures += [("copies of events that silver holds", done.copies)]
        show(f"replayed {pipeline}", ["what", "records"], figures)


run_job(main)
