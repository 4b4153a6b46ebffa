"""spark-submit entry: compacts the tables of a pipeline."""

from typing import Annotated

import typer

from tidemark.registry import get_pipeline
from tidemark.settings import get_settings
from tidemark_spark.compact import compact
from tidemark_spark.job import run_job, show
from tidemark_spark.session import session


def main(
    pipeline: Annotated[str, typer.Option(help="Name of the pipeline.")],
    min_files: Annotated[int, typer.Option(help="Leave tables with fewer files alone.", min=2)] = 8,
) -> None:
    """OPTIMIZE the tables of a pipeline where the streams no longer write."""
    done = compact(session(f"{pipeline}.compact"), get_pipeline(pipeline), get_settings(), min_files=min_files)
    show(
        f"compacted {pipeline}", ["table", "files before", "files after", "removed", "added"], [tuple(c) for c in done]
    )


run_job(main)
