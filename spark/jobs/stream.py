"""spark-submit entry: runs the streams of a pipeline until they fail or the process is ended."""

import logging
from typing import Annotated

import typer

from tidemark.core.settings import get_settings
from tidemark.lake.evolution import create_tables
from tidemark.lake.files.durability import refuse_damaged
from tidemark.lake.generations import deduplication_id, refuse_incompatible
from tidemark.lake.tables import tables_of
from tidemark.monitoring.health import health
from tidemark.pipelines import get_pipeline
from tidemark.quality import load_suite
from tidemark_spark.driver.job import PipelineOption, result, run_job
from tidemark_spark.driver.session import session
from tidemark_spark.driver.streams import (
    checkpoint_location,
    ensure_local_folder,
    run_to_end,
    start_ingest,
    start_refine,
)
from tidemark_spark.driver.supervisor import Supervisor
from tidemark_spark.speed.progress import ProgressLog

log = logging.getLogger("tidemark.stream")


def main(
    pipeline: PipelineOption,
    ingest: Annotated[bool, typer.Option(help="Run the ingest stream.")] = True,
    refine: Annotated[bool, typer.Option(help="Run the refine stream.")] = True,
    available_now: Annotated[bool, typer.Option(help="Stop after reading everything that is available.")] = False,
) -> None:
    """Run the ingest and the refine stream of a pipeline in one driver."""
    settings, definition = get_settings(), get_pipeline(pipeline)
    suite = load_suite(definition, settings)
    ensure_local_folder(settings.state_uri)
    chosen = [stream for stream, wanted in (("ingest", ingest), ("refine", refine)) if wanted]
    # Before the tables change: the streams of the definition before this one may still run on them.
    supervisor = Supervisor(pipeline, chosen, settings)
    refuse_damaged(
        tables_of(definition, settings),
        [
            checkpoint_location(definition, "ingest", settings),
            f"{checkpoint_location(definition, 'refine', settings)}/{deduplication_id(definition)}",
        ],
        settings,
    )
    refuse_incompatible(definition, suite, settings)
    create_tables(tables_of(definition, settings), settings)
    spark = session(f"{pipeline}.stream")
    progress = ProgressLog()
    spark.streams.addListener(progress)
    spark.streams.addListener(supervisor)
    queries = []
    if ingest:
        queries.append(start_ingest(spark, definition, settings, available_now=available_now))
        if available_now:
            supervisor.watch(queries)
            run_to_end(spark, queries)
    if refine:
        queries.append(start_refine(spark, definition, suite, settings, available_now=available_now))
    supervisor.watch(queries)
    log.info("streams of %s are running: %s", pipeline, ", ".join(query.name for query in queries))
    run_to_end(spark, queries)
    supervisor.close()
    # Spark tells them of the end later, when Python is gone, and prints that nobody listens.
    spark.streams.removeListener(supervisor)
    spark.streams.removeListener(progress)
    reached = health(definition, settings)
    result({"position": reached.position, "refined": reached.refined, "lag_seconds": reached.lag_seconds})


run_job(main)
