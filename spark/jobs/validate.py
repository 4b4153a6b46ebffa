"""spark-submit entry: checks a range of silver against the pipeline's suite; refused if one is broken."""

from collections import Counter
from datetime import UTC, datetime

from tidemark.core.errors import QualityGateError
from tidemark.core.settings import get_settings
from tidemark.core.terminal import one_line
from tidemark.lake.snapshots import active_files, open_table
from tidemark.lake.tables import tables_of
from tidemark.monitoring.check_results import TEXT_CHARACTERS, record, sample_text
from tidemark.pipelines import get_pipeline
from tidemark.quality import load_suite
from tidemark.quality.docs import DataDocs
from tidemark.quality.parameters import slice_parameters
from tidemark_spark.batch.validate import critical_failures, import_ahead, validate
from tidemark_spark.driver.job import FromOption, PipelineOption, ToOption, parse_range, result, run_job, show
from tidemark_spark.driver.session import session
from tidemark_spark.transforms.parse import dated


def main(pipeline: PipelineOption, from_: FromOption, to: ToOption) -> None:
    """Run the suite of a pipeline on silver's event dates [from, to)."""
    start, end = parse_range(from_, to)
    import_ahead()
    settings, definition = get_settings(), get_pipeline(pipeline)
    suite, tables = load_suite(definition, settings), tables_of(definition, settings)
    snapshot = open_table(tables.silver, settings)
    parameters = slice_parameters(definition, active_files(snapshot), start, end, datetime.now(UTC))
    silver = session(f"{pipeline}.validate").read.format("delta").option("versionAsOf", snapshot.version())
    rows = silver.load(tables.silver.uri).where(dated(start, end))
    checked = validate(rows, suite, definition.key, parameters, DataDocs.of(settings))
    record(tables, settings, checked, start, end, "published")
    show(
        f"{pipeline} [{start}, {end}) against {definition.suite} (Data Docs: {settings.data_docs_dir}/index.html)",
        ["result", "severity", "expectation", "asks", "unexpected", "observed", "sample"],
        [
            (
                one.result,
                one.severity,
                one.expectation,
                one.asks,
                one.unexpected,
                one.observed,
                one_line(sample_text(one.samples[:1]), TEXT_CHARACTERS),
            )
            for one in checked
        ],
    )
    counted = Counter(one.result.lower() for one in checked)
    result({"from": start, "to": end, **counted, "data_docs": f"{settings.data_docs_dir}/index.html"})
    if critical := critical_failures(checked):
        raise QualityGateError(f"{pipeline} [{start}, {end}) breaks {definition.suite}: {critical}")


run_job(main)
