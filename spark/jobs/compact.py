"""spark-submit entry: folds, compacts and vacuums the tables of a pipeline, each where it pays."""

from dataclasses import asdict, astuple
from datetime import timedelta
from typing import Annotated

import typer

from tidemark.core.errors import JobError, TidemarkError
from tidemark.core.settings import get_settings
from tidemark.definition.window import parse_duration
from tidemark.lake.maintenance import MIN_SMALL_FILES
from tidemark.lake.maintenance.compaction import compact
from tidemark.lake.maintenance.vacuum import check_retention, vacuum
from tidemark.pipelines import get_pipeline
from tidemark_spark.driver.job import PipelineOption, result, run_job, show
from tidemark_spark.driver.session import session
from tidemark_spark.speed.fold import fold


def main(
    pipeline: PipelineOption,
    min_files: Annotated[
        int, typer.Option(help="Rewrite a table only if that removes this many files.", min=1)
    ] = MIN_SMALL_FILES,
    grace: Annotated[str, typer.Option(help="Speed rows younger than this are not folded.")] = "1 hour",
    retention: Annotated[str, typer.Option(help="VACUUM keeps the files of versions younger than this.")] = "7 days",
) -> None:
    """Fold the speed tables, OPTIMIZE where the streams no longer write, and VACUUM what nobody reads any more."""
    spark, settings, definition = session(f"{pipeline}.compact"), get_settings(), get_pipeline(pipeline)
    grace_, kept = parse_span("--grace", grace), parse_span("--retention", retention)
    check_retention(definition, settings, kept, grace_)
    folded = fold(spark, definition, settings, grace=grace_)
    columns = ["table", "dates", "rows before", "covered rows removed", "rows after", "files before", "files after"]
    show(f"folded {pipeline}", columns, [tuple(f) for f in folded])
    done = compact(definition, settings, min_files=min_files, say=typer.echo)
    columns = ["table", "files before", "small", "their bytes", "removed", "added", "clustered", "files after", "left"]
    show(f"compacted {pipeline}", columns, [astuple(c)[: len(columns)] for c in done])
    cleaned = vacuum(definition, settings, kept, grace_)
    show(f"vacuumed {pipeline}", ["table", "files removed", "log files removed"], [tuple(v) for v in cleaned])
    result(
        {
            "folded": {f.table: f._asdict() for f in folded},
            "compacted": {c.table: asdict(c) for c in done if c.files_removed},
            "left_alone": {c.table: c.small_files for c in done if not c.files_removed},
            "vacuumed": {v.table: v._asdict() for v in cleaned},
        }
    )
    if failed := [f"{c.table}: {c.left}" for c in done if c.failed]:
        raise JobError(f"OPTIMIZE of {pipeline} failed, all else was done: {'; '.join(failed)}")


def parse_span(option: str, text: str) -> timedelta:
    """A duration such as ``1 hour``."""
    try:
        return parse_duration(text)
    except ValueError as error:
        raise TidemarkError(f"{option}: {error}") from error


run_job(main)
