"""Batch validation: the pipeline's suite, run by Great Expectations on a range of silver."""

import importlib
import logging
import os
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame

from tidemark.errors import ExpectationError
from tidemark.quality import Suite
from tidemark.quality.docs import RESULTS, DataDocs
from tidemark.quality.parameters import needed_parameters
from tidemark.quality.suite import asked
from tidemark.validations import Checked, sample_text

log = logging.getLogger("tidemark.validate")

os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")

SAMPLES = 3
"""Rows that break an expectation which a result shows."""
_OBSERVED_CHARACTERS = 120
_NAME = "tidemark_name"
"""Key of an expectation's meta under which its name goes through Great Expectations, which gives it another id."""


def import_ahead() -> None:
    """Import Great Expectations in the background, which takes seconds that a Spark job leaves to Python anyway."""
    threading.Thread(target=importlib.import_module, args=("great_expectations",), daemon=True).start()


def run_suite(
    rows: DataFrame,
    suite: Suite,
    result_format: Any,
    parameters: Mapping[str, Any] | None = None,
    data_docs: DataDocs | None = None,
) -> list[Any]:
    """Great Expectations' own results of the suite on the rows.

    ``parameters`` are the values of ``{"$PARAMETER": …}`` in the suite; expectations that need others are left out.
    ``data_docs``: the site that the results are added to, beside those of the runs that it still keeps.
    """
    import great_expectations as gx  # takes seconds to import, and only this job needs it
    from great_expectations.checkpoint.actions import UpdateDataDocsAction
    from great_expectations.data_context.types.base import DataContextConfig, InMemoryStoreBackendDefaults

    # Spark hands over times in this process's zone, without saying so; silver's are UTC.
    os.environ["TZ"] = "UTC"
    time.tzset()
    stores = InMemoryStoreBackendDefaults(init_temp_docs_sites=False)
    sites: dict[str, Any] = {}
    if data_docs and _can_write(data_docs.folder):
        data_docs.prune(suite.name)
        results = stores.stores[stores.validation_results_store_name]
        results["store_backend"] = {**_files(data_docs.folder / RESULTS), "filepath_suffix": ".json"}
        sites["tidemark"] = {
            "class_name": "SiteBuilder",
            "show_how_to_buttons": False,
            "store_backend": _files(data_docs.folder),
            "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
        }
    config = DataContextConfig(store_backend_defaults=stores, data_docs_sites=sites, analytics_enabled=False)
    context = gx.get_context(mode="ephemeral", project_config=config)
    context.variables.progress_bars = {"globally": False}  # type: ignore[assignment]  # it reads a plain dict
    expectations = [
        {**expectation, "meta": {**(expectation.get("meta") or {}), _NAME: name}}
        for name, expectation in suite.named()
        if not needed_parameters(expectation) - set(parameters or {})
    ]
    gx_suite = context.suites.add(gx.ExpectationSuite(name=suite.name, expectations=expectations))
    batch = (
        context.data_sources.add_spark("spark")
        .add_dataframe_asset("silver")
        .add_batch_definition_whole_dataframe("slice")
    )
    definition = context.validation_definitions.add(
        gx.ValidationDefinition(name=suite.name, data=batch, suite=gx_suite)
    )
    gx_checkpoint = context.checkpoints.add(
        gx.Checkpoint(
            name=suite.name,
            validation_definitions=[definition],
            actions=[UpdateDataDocsAction(name="data_docs")] if sites else [],
            result_format=result_format,
        )
    )
    done = gx_checkpoint.run(batch_parameters={"dataframe": rows}, expectation_parameters=dict(parameters or {}))
    return [result for run in done.run_results.values() for result in run.results]


def validate(
    rows: DataFrame,
    suite: Suite,
    key: Sequence[str],
    parameters: Mapping[str, Any] | None = None,
    data_docs: DataDocs | None = None,
) -> list[Checked]:
    """Run every expectation of the suite on the rows; in the suite's order.

    ``key``: columns that identify a row, for the samples. ``parameters`` and ``data_docs``: see ``run_suite``. An
    expectation that needs a parameter which has no value is told as skipped.

    Raises:
        ExpectationError: an expectation could not be evaluated at all, which is neither success nor failure (with
            Spark's ANSI mode on, a type mismatch comes back as a failure with exception information).
    """
    summary = {
        "result_format": "SUMMARY",
        "unexpected_index_column_names": list(key),
        "partial_unexpected_count": SAMPLES,
        "return_unexpected_index_query": False,
    }
    results = run_suite(rows, suite, summary, parameters, data_docs)
    found = {result.expectation_config.meta[_NAME]: result for result in results}
    checked, broken = [], []
    for name, expectation in suite.named():
        if name not in found:
            lacking = ", ".join(sorted(needed_parameters(expectation) - set(parameters or {})))
            text = f"not checked: {lacking} has no value" if lacking else "not checked: equal to another expectation"
            checked.append(Checked(name, None, text, 0, _severity(expectation)))
            continue
        raised = [info for info in _exceptions(found[name].exception_info) if info.get("raised_exception")]
        if raised:
            broken.append(f"{name}: {raised[0].get('exception_message')}")
            continue
        detail = found[name].result or {}
        observed = detail.get("observed_value", detail.get("partial_unexpected_list", ""))
        samples = detail.get("partial_unexpected_index_list") or detail.get("partial_unexpected_list") or []
        unexpected = int(detail.get("unexpected_count") or 0)
        text = sample_text(observed) if isinstance(observed, list | dict) else str(observed)
        text = "" if observed == [] else text[:_OBSERVED_CHARACTERS]
        severity, asks = _severity(expectation), asked(found[name].expectation_config.kwargs)
        checked.append(Checked(name, bool(found[name].success), text, unexpected, severity, tuple(samples), asks))
    if broken:
        raise ExpectationError(f"suite {suite.name!r} could not be evaluated: " + "; ".join(broken))
    return checked


def _severity(expectation: Mapping[str, Any]) -> str:
    """GX's own severity, but for expectations with an action: rows that break them are in silver if it is ``warn``."""
    action = (expectation.get("meta") or {}).get("action")
    if action in ("warn", "fail"):
        return "warning" if action == "warn" else "critical"
    return str(expectation.get("severity") or "critical")


def critical_failures(checked: Sequence[Checked]) -> str:
    """What keeps rows from being published, with figures and samples: broken critical expectations; or nothing."""
    return "; ".join(one.told() for one in checked if one.refuses)


def _can_write(folder: Path) -> bool:
    """Whether Data Docs can be kept there; a verdict does not depend on it, so that it is only said if not."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        log.warning("no Data Docs are written: %s; TIDEMARK_DATA_DOCS_DIR names another folder", error)
        return False
    return True


def _files(folder: Path) -> dict[str, str]:
    return {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(folder)}


def _exceptions(info: object) -> list[dict[str, object]]:
    if not isinstance(info, dict):
        return []
    return [info] if "raised_exception" in info else [value for value in info.values() if isinstance(value, dict)]
