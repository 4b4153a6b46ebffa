"""spark-submit entry: checks a range of silver against the pipeline's suite; refused if one is broken."""

from tidemark.errors import QualityGateError
from tidemark.quality import load_suite
from tidemark.registry import get_pipeline
from tidemark.settings import get_settings
from tidemark.tables import tables_of
from tidemark_spark.job import FromOption, PipelineOption, ToOption, parse_range, run_job, show
from tidemark_spark.parse import dated
from tidemark_spark.session import session
from tidemark_spark.validate import critical_failures, validate


def main(pipeline: PipelineOption, from_: FromOption, to: ToOption) -> None:
    """Run the suite of a pipeline on silver's event dates [from, to)."""
    start, end = parse_range(from_, to)
    settings, definition = get_settings(), get_pipeline(pipeline)
    suite = load_suite(definition, settings)
    silver = session(f"{pipeline}.validate").read.format("delta").load(tables_of(definition, settings).silver.uri)
    checked = validate(silver.where(dated(start, end)), suite)
    rows = [("passed" if c.success else "FAILED", c.severity, c.expectation, c.unexpected, c.observed) for c in checked]
    show(
        f"{pipeline} [{start}, {end}) against {definition.suite}",
        ["result", "severity", "expectation", "unexpected", "observed"],
        rows,
    )
    if critical := critical_failures(checked):
        raise QualityGateError(f"{pipeline} [{start}, {end}) breaks {definition.suite}: {critical}")


run_job(main)
