"""Batch validation: the pipeline's suite, run by Great Expectations on a range of silver."""

import importlib
import os
import threading
from typing import Any, NamedTuple

from pyspark.sql import DataFrame

from tidemark.errors import ExpectationError
from tidemark.quality import Suite

os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")


class Checked(NamedTuple):
    """The result of one expectation on a slice."""

    expectation: str
    success: bool
    observed: str
    unexpected: int
    severity: str


def import_ahead() -> None:
    """Import Great Expectations in the background, which takes seconds that a Spark job leaves to Python anyway."""
    threading.Thread(target=importlib.import_module, args=("great_expectations",), daemon=True).start()


def validate(rows: DataFrame, suite: Suite) -> list[Checked]:
    """Run every expectation of the suite on the rows.

    Raises:
        ExpectationError: an expectation could not be evaluated at all, which is neither success nor failure (with
            Spark's ANSI mode on, a type mismatch comes back as a failure with exception information).
    """
    import great_expectations as gx  # takes seconds to import, and only this job needs it

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}  # type: ignore[assignment]  # it reads a plain dict
    gx_suite = context.suites.add(
        gx.ExpectationSuite(name=suite.name, expectations=list(suite.content["expectations"]))
    )
    batch = (
        context.data_sources.add_spark("spark")
        .add_dataframe_asset("silver")
        .add_batch_definition_whole_dataframe("slice")
    )
    definition = context.validation_definitions.add(
        gx.ValidationDefinition(name=suite.name, data=batch, suite=gx_suite)
    )
    results = definition.run(batch_parameters={"dataframe": rows}, result_format="SUMMARY").results
    checked, broken = [], []
    for result in results:
        config = result.expectation_config
        if config is None:
            raise ExpectationError(f"suite {suite.name!r}: Great Expectations gave a result without its expectation")
        name = f"{config.type}({config.kwargs.get('column', '')})"
        raised = [info for info in _exceptions(result.exception_info) if info.get("raised_exception")]
        if raised:
            broken.append(f"{name}: {raised[0].get('exception_message')}")
            continue
        detail = result.result or {}
        observed = detail.get("observed_value", detail.get("partial_unexpected_list", ""))
        severity = _severity(config)
        unexpected = int(detail.get("unexpected_count") or 0)
        checked.append(Checked(name, bool(result.success), str(observed)[:120], unexpected, severity))
    if broken:
        raise ExpectationError(f"suite {suite.name!r} could not be evaluated: " + "; ".join(broken))
    return checked


def _severity(config: Any) -> str:
    """GX's own severity, but for expectations with an action: rows that break them are in silver if it is ``warn``."""
    action = (config.meta or {}).get("action")
    if action in ("warn", "fail"):
        return "warning" if action == "warn" else "critical"
    return str(getattr(config.severity, "value", config.severity) or "critical")


def critical_failures(checked: list[Checked]) -> str:
    """What keeps rows from being published, with its figures: broken expectations of severity critical; or nothing."""
    return "; ".join(
        f"{c.expectation}: observed {c.observed or 'nothing'}, {c.unexpected:,} unexpected"
        for c in checked
        if not c.success and c.severity == "critical"
    )


def _exceptions(info: object) -> list[dict[str, object]]:
    if not isinstance(info, dict):
        return []
    return [info] if "raised_exception" in info else [value for value in info.values() if isinstance(value, dict)]
