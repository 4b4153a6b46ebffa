"""spark-submit entry: runs the streams of a pipeline until they fail or the process is ended."""

import logging
from typing import Annotated

import typer

from tidemark.delta import create_tables
from tidemark.errors import JobError
from tidemark.quality import load_suite
from tidemark.registry import get_pipeline
from tidemark.settings import get_settings
from tidemark.tables import tables_of
from tidemark_spark.job import run_job
from tidemark_spark.session import session
from tidemark_spark.streams import ensure_local_folder, start_ingest, start_refine

log = logging.getLogger("tidemark.stream")


def main(
    pipeline: Annotated[str, typer.Option(help="Name of the pipeline.")],
    ingest: Annotated[bool, typer.Option(help="Run the ingest stream.")] = True,
    refine: Annotated[bool, typer.Option(help="Run the refine stream.")] = True,
    available_now: Annotated[bool, typer.Option(help="Stop once everything there is has been read.")] = False,
) -> None:
    """Run the ingest and the refine stream of a pipeline in one driver."""
    settings, definition = get_settings(), get_pipeline(pipeline)
    suite = load_suite(definition, settings)
    create_tables(tables_of(definition, settings), settings)
    ensure_local_folder(settings.state_uri)
    spark = session(f"{pipeline}.stream")
    if ingest:
        query = start_ingest(spark, definition, settings, available_now=available_now)
        if available_now:
            query.awaitTermination()
    if refine:
        start_refine(spark, definition, suite, settings, available_now=available_now)
    log.info("streams of %s are running: %s", pipeline, ", ".join(q.name for q in spark.streams.active))
    queries = spark.streams.active
    while queries and all(query.isActive for query in queries):
        spark.streams.awaitAnyTermination()
        spark.streams.resetTerminated()
    failed = [f"{query.name}: {query.exception()}" for query in queries if query.exception() is not None]
    if available_now and not failed:
        for query in queries:
            query.awaitTermination()
        return
    for query in spark.streams.active:
        query.stop()
    if failed:
        raise JobError("; ".join(failed))


run_job(main)
