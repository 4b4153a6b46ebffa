"""spark-submit entry: compacts the tables of a pipeline."""

from datetime import timedelta
from typing import Annotated

import typer

from tidemark.definition.window import parse_duration
from tidemark.errors import TidemarkError
from tidemark.registry import get_pipeline
from tidemark.settings import get_settings
from tidemark_spark.compact import compact
from tidemark_spark.fold import fold
from tidemark_spark.job import PipelineOption, run_job, show
from tidemark_spark.session import session


def main(
    pipeline: PipelineOption,
    min_files: Annotated[int, typer.Option(help="Leave tables with fewer files alone.", min=2)] = 8,
    grace: Annotated[str, typer.Option(help="Speed rows younger than this are not folded.")] = "1 hour",
) -> None:
    """Fold the speed tables, and OPTIMIZE the tables of a pipeline where the streams no longer write."""
    spark, settings, definition = session(f"{pipeline}.compact"), get_settings(), get_pipeline(pipeline)
    folded = fold(spark, definition, settings, grace=parse_grace(grace))
    columns = ["table", "dates", "rows before", "covered rows removed", "rows after", "files before", "files after"]
    show(f"folded {pipeline}", columns, [tuple(f) for f in folded])
    done = compact(spark, definition, settings, min_files=min_files)
    show(
        f"compacted {pipeline}", ["table", "files before", "files after", "removed", "added"], [tuple(c) for c in done]
    )


def parse_grace(text: str) -> timedelta:
    """A duration such as ``1 hour``, longer than the longest query and the longest reprocess."""
    try:
        return parse_duration(text)
    except ValueError as error:
        raise TidemarkError(f"--grace: {error}") from error


run_job(main)
