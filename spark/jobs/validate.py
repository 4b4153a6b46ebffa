"""spark-submit entry: checks a range of silver against the pipeline's suite; exit code 1 if one is broken."""

from typing import Annotated

import typer

from tidemark.errors import QualityGateError
from tidemark.quality import load_suite
from tidemark.registry import get_pipeline
from tidemark.settings import get_settings
from tidemark.tables import tables_of
from tidemark_spark.job import parse_range, run_job, show
from tidemark_spark.session import session
from tidemark_spark.validate import between, critical_failures, validate


def main(
    pipeline: Annotated[str, typer.Option(help="Name of the pipeline.")],
    from_: Annotated[str, typer.Option("--from", help="First event date.")],
    to: Annotated[str, typer.Option("--to", help="Event date after the last.")],
) -> None:
    """Run the suite of a pipeline on silver's event dates [from, to)."""
    start, end = parse_range(from_, to)
    settings, definition = get_settings(), get_pipeline(pipeline)
    suite = load_suite(definition, settings)
    silver = session(f"{pipeline}.validate").read.format("delta").load(tables_of(definition, settings).silver.uri)
    checked = validate(between(silver, start, end), suite)
    rows = [("passed" if c.success else "FAILED", c.severity, c.expectation, c.unexpected, c.observed) for c in checked]
    show(
        f"{pipeline} [{start}, {end}) against {definition.suite}",
        ["result", "severity", "expectation", "unexpected", "observed"],
        rows,
    )
    if critical := critical_failures(checked):
        raise QualityGateError(f"{pipeline} [{start}, {end}) breaks {definition.suite}: {critical}")


run_job(main)
