"""Runs both streams of a schedule's pipeline until it is killed. Argument: the schedule's folder."""

import logging
import os
import sys
import threading
import time
from pathlib import Path

from merge_mutations import mutate
from merge_world import STARTED, STARTING, World

from tidemark.quality import load_suite
from tidemark_spark.driver.session import local_session
from tidemark_spark.driver.streams import run_to_end, start_ingest, start_refine


def end_with_parent() -> None:
    """The parent says nothing; its end is the end of this process."""
    sys.stdin.read()
    os._exit(1)


def main(folder: Path) -> None:
    logging.basicConfig(level=logging.INFO, stream=sys.stdout)
    logging.getLogger("py4j").setLevel(logging.WARNING)
    print(STARTING, flush=True)
    threading.Thread(target=end_with_parent, daemon=True).start()
    world = World.load(folder)
    mutate(world.mutation)
    pipeline, settings = world.pipeline, world.settings
    spark = local_session("streams", settings)
    ingest = start_ingest(spark, pipeline, settings, available_now=False)
    # One after the other: Spark waits ten seconds for a Python process, and a busy machine cannot start all in time.
    while ingest.isActive and not ingest.status["message"].startswith("Waiting for"):
        time.sleep(0.1)
    refine = start_refine(spark, pipeline, load_suite(pipeline, settings), settings, available_now=False)
    print(STARTED, flush=True)
    run_to_end(spark, [ingest, refine])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
