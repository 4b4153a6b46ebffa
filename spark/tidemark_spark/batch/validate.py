"""Batch validation: the pipeline's suite, run by Great Expectations on a range of silver."""

import importlib
import logging
import os
import re
import threading
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from tidemark.core.errors import ExpectationError
from tidemark.core.terminal import one_line
from tidemark.monitoring.check_results import ExpectationResult, plain, sample_text, shortened
from tidemark.quality import Suite
from tidemark.quality.docs import RESULTS, DataDocs
from tidemark.quality.parameters import needed_parameters
from tidemark.quality.rules import DERIVABLE
from tidemark.quality.suite import asked

log = logging.getLogger("tidemark.validate")

os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")

SAMPLES = 3
"""Rows that break an expectation which a result shows."""
_OBSERVED_CHARACTERS = 120
_ERROR_CHARACTERS = 400
_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:")
_NAME = "tidemark_name"
"""Key of an expectation's meta under which its name goes through Great Expectations, which gives it another id."""


def import_ahead() -> None:
    """Import Great Expectations in the background, which takes seconds that a Spark job leaves to Python anyway."""
    threading.Thread(target=importlib.import_module, args=("great_expectations",), daemon=True).start()


def expectations_of(suite: Suite, parameters: Mapping[str, Any] | None = None) -> tuple[list[Any], dict[str, str]]:
    """Great Expectations' objects for a suite's entries; by name, why an entry is none.

    Entries whose parameters have no value are in neither.
    """
    # All of it, so that ``import_ahead`` is waited for: one module may be there while expectations are still missing.
    import great_expectations  # noqa: F401
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    made, refused = [], {}
    for name, entry in suite.named():
        if needed_parameters(entry) - set(parameters or {}):
            continue
        meta = {**(entry.get("meta") or {}), _NAME: name}
        # Great Expectations runs only one of two entries that share an id, and needs none.
        told = {key: value for key, value in entry.items() if key != "id"}
        kwargs = entry["kwargs"] if entry["type"] in DERIVABLE else _without_zones(entry["kwargs"])
        try:
            made.append(ExpectationConfiguration(**{**told, "kwargs": kwargs, "meta": meta}).to_domain_obj())
        except Exception as error:  # of many types, pydantic's and its own: whatever it is, nothing was checked
            refused[name] = _one_line(error)
    return made, refused


def _run(
    rows: DataFrame,
    name: str,
    expectations: list[Any],
    result_format: Any,
    parameters: Mapping[str, Any] | None,
    data_docs: DataDocs | None,
) -> list[Any]:
    import great_expectations as gx  # takes seconds to import, and only this job needs it
    from great_expectations.checkpoint.actions import UpdateDataDocsAction
    from great_expectations.data_context.types.base import DataContextConfig, InMemoryStoreBackendDefaults

    from tidemark_spark.batch.results_store import PlainResultsStore

    # Spark hands over times in this process's zone, without saying so; silver's are UTC.
    os.environ["TZ"] = "UTC"
    time.tzset()
    stores = InMemoryStoreBackendDefaults(init_temp_docs_sites=False)
    results = stores.stores[stores.validation_results_store_name]
    sites: dict[str, Any] = {}
    if data_docs and _can_write(data_docs.folder):
        data_docs.prune(name)
        results["store_backend"] = {**_files(data_docs.folder / RESULTS), "filepath_suffix": ".json"}
        sites["tidemark"] = {
            "class_name": "SiteBuilder",
            "show_how_to_buttons": False,
            "store_backend": _files(data_docs.folder),
            "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
        }
    config = DataContextConfig(store_backend_defaults=stores, data_docs_sites=sites, analytics_enabled=False)
    context = gx.get_context(mode="ephemeral", project_config=config)
    # A store of another module than its own cannot be named in Great Expectations' configuration.
    context.stores[stores.validation_results_store_name] = PlainResultsStore(
        store_name=stores.validation_results_store_name,
        store_backend=results["store_backend"],
        runtime_environment={"root_directory": None},
    )
    context.variables.progress_bars = {"globally": False}  # type: ignore[assignment]  # it reads a plain dict
    gx_suite = context.suites.add(gx.ExpectationSuite(name=name, expectations=expectations))
    batch = (
        context.data_sources.add_spark("spark")
        .add_dataframe_asset("silver")
        .add_batch_definition_whole_dataframe("slice")
    )
    definition = context.validation_definitions.add(gx.ValidationDefinition(name=name, data=batch, suite=gx_suite))
    gx_checkpoint = context.checkpoints.add(
        gx.Checkpoint(
            name=name,
            validation_definitions=[definition],
            actions=[],
            result_format=result_format,
        )
    )
    done = gx_checkpoint.run(batch_parameters={"dataframe": rows}, expectation_parameters=dict(parameters or {}))
    if sites:
        try:
            UpdateDataDocsAction(name="data_docs").run(checkpoint_result=done)
        except Exception as error:  # of whatever a page is made of: a verdict does not depend on it
            log.warning("no Data Docs of this run are written: %s", _one_line(error))
    return [result for run in done.run_results.values() for result in run.results]


def _widened(rows: DataFrame) -> DataFrame:
    """The rows with each SMALLINT as an INT: Great Expectations takes no mean of a SMALLINT, nor what is made of it."""
    small = {field.name for field in rows.schema if isinstance(field.dataType, T.ShortType)}
    return rows.withColumns({name: F.col(f"`{name}`").cast("int") for name in small}) if small else rows


def validate(
    rows: DataFrame,
    suite: Suite,
    key: Sequence[str],
    parameters: Mapping[str, Any] | None = None,
    data_docs: DataDocs | None = None,
) -> list[ExpectationResult]:
    """Run every expectation of the suite on the rows; in the suite's order.

    ``key``: columns that identify a row, for the samples. ``parameters``: the values of ``{"$PARAMETER": …}`` in the
    suite. ``data_docs``: the site that the results are added to, beside those of the runs that it still keeps. An
    expectation that needs a parameter which has no value is reported as skipped. One that could not be evaluated has
    failed, as nobody knows whether it holds: ``observed`` gives the reason.

    Raises:
        ExpectationError: such a one is critical. With Spark's ANSI mode on, a type mismatch is such a case.
    """
    summary = {
        "result_format": "SUMMARY",
        "unexpected_index_column_names": list(key),
        "partial_unexpected_count": SAMPLES,
        "return_unexpected_index_query": False,
    }
    expectations, errors = expectations_of(suite, parameters)
    results = _run(_widened(rows), suite.name, expectations, summary, parameters, data_docs) if expectations else []
    found = {result.expectation_config.meta[_NAME]: result for result in results}
    checked = []
    for name, expectation in suite.named():
        severity = _severity(expectation)
        if lacking := ", ".join(sorted(needed_parameters(expectation) - set(parameters or {}))):
            checked.append(ExpectationResult(name, None, f"not checked: {lacking} has no value", 0, severity))
            continue
        result = found.get(name)
        raised = [info for info in _exceptions(result and result.exception_info) if info.get("raised_exception")]
        if raised:
            errors[name] = _one_line(raised[0].get("exception_message"))
        elif result is None:
            errors.setdefault(name, "Great Expectations gave no result")
        if result is None or raised:
            text = f"not evaluated: {errors[name]}"
            checked.append(ExpectationResult(name, False, text, 0, severity, (), asked(expectation["kwargs"])))
            continue
        detail = result.result or {}
        observed = plain(detail.get("observed_value", detail.get("partial_unexpected_list", "")))
        samples = detail.get("partial_unexpected_index_list") or detail.get("partial_unexpected_list") or []
        unexpected = int(detail.get("unexpected_count") or 0)
        text = sample_text(observed) if isinstance(observed, list | dict) else str(observed)
        text = "" if observed == [] else one_line(text, _OBSERVED_CHARACTERS)
        asks = asked(result.expectation_config.kwargs)
        checked.append(
            ExpectationResult(
                name, bool(result.success), text, unexpected, severity, tuple(shortened(samples[:SAMPLES])), asks
            )
        )
    if critical := {one.expectation for one in checked if one.blocks_publication} & set(errors):
        raise ExpectationError(_not_evaluated(suite, {name: errors[name] for name in suite.names if name in critical}))
    return checked


def _not_evaluated(suite: Suite, errors: Mapping[str, str]) -> str:
    told = "; ".join(f"{name}: {error}" for name, error in errors.items())
    return (
        f"suite {suite.name!r} could not be evaluated: {told}. Correct these expectations, or give them the severity "
        "warning: what is critical and was not checked holds the slice back"
    )


def _without_zones(value: Any) -> Any:
    """Arguments with times in UTC that carry no zone, which is how Spark hands over what they are compared with."""
    if isinstance(value, Mapping):
        return {name: part if name == "row_condition" else _without_zones(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_without_zones(part) for part in value]
    if isinstance(value, str) and _TIME.match(value):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            return value
        return moment.astimezone(UTC).replace(tzinfo=None).isoformat() if moment.tzinfo else value
    return value


def _one_line(error: object) -> str:
    return one_line(" ".join(str(error).split()), _ERROR_CHARACTERS)


def _severity(expectation: Mapping[str, Any]) -> str:
    """GX's own severity, but for expectations with an action: rows that break them are in silver if it is ``warn``."""
    action = (expectation.get("meta") or {}).get("action")
    if action in ("warn", "fail"):
        return "warning" if action == "warn" else "critical"
    return str(expectation.get("severity") or "critical")


def critical_failures(checked: Sequence[ExpectationResult]) -> str:
    """What keeps rows from being published, with figures and samples: broken critical expectations; or nothing."""
    return "; ".join(one.summary() for one in checked if one.blocks_publication)


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
