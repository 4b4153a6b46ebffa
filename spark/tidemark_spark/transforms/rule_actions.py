"""What becomes of rows that break an expectation whose action is ``warn`` or ``fail``: they are counted, or refused.

Both are told by the pass over the rows that runs anyway: a micro-batch is collected once, and a reprocess observes what
it stages. Neither costs a Spark job while nothing is wrong.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, Observation, SparkSession
from pyspark.sql import functions as F

from tidemark.core.errors import ExpectationError, QualityGateError
from tidemark.definition import Pipeline
from tidemark.quality import Action, Suite
from tidemark.quality.suite import EXPECTATION

SAMPLES = 3
"""Rows that an error shows of each expectation that was broken."""
_SAMPLE_CHARACTERS = 300


def broken_counts(rows: pa.Table, column: str) -> dict[str, int]:
    """How many rows break each expectation that ``column`` (``_warned`` or ``_failed``) names."""
    return _counts(pc.list_flatten(rows[column]))


def warnings_by_batch(silver: pa.Table) -> dict[int, list[dict[str, Any]]]:
    """By ingest_batch, how many of silver's rows break each expectation with the action ``warn``."""
    warned = silver.select(["ingest_batch", "_warned"]).filter(pc.greater(pc.list_value_length(silver["_warned"]), 0))
    by_batch: dict[int, list[dict[str, Any]]] = {}
    for number in pc.unique(warned["ingest_batch"]).to_pylist():
        counts = broken_counts(warned.filter(pc.equal(warned["ingest_batch"], number)), "_warned")
        by_batch[number] = [{"expectation": name, "rows": rows} for name, rows in sorted(counts.items())]
    return by_batch


def refuse_failed(
    rows: pa.Table, pipeline: Pipeline, what: str = "micro-batch", counts: Mapping[str, int] | None = None
) -> None:
    """Check that no row breaks an expectation whose action is ``fail``; ``counts``: of all rows, if these are samples.

    Raises:
        QualityGateError: some do; the message names the expectations, how many rows broke them, and a few of these.
    """
    found = counts or broken_counts(rows, "_failed")
    if not found:
        return
    told = []
    for name, count in found.items():
        breaking = rows.filter([f"{EXPECTATION}{name}" in names for names in rows["_failed"].to_pylist()])
        samples = [_sample(row, pipeline) for row in breaking.slice(0, SAMPLES).to_pylist()]
        told.append(f"{name}: {count:,} rows, such as {' and '.join(samples)}")
    raise QualityGateError(
        f"nothing of the {what} was published, as rows break expectations of {pipeline.suite} whose action is fail: "
        f"{'; '.join(told)}. Fix the suite or the definition, or give the expectation the action quarantine or warn, "
        "and start again: the records are kept in bronze"
    )


class ObservedActions:
    """Counts the rows of a data frame that break expectations with the actions warn and fail, while it is computed."""

    def __init__(self, parsed: DataFrame, suite: Suite, inside: Column) -> None:
        self._parsed, self._inside = parsed, inside
        self._names: dict[Action, list[str]] = {
            "warn": [rule.name for rule in suite.with_action("warn")],
            "fail": [rule.name for rule in suite.with_action("fail")],
        }
        self._observation = Observation()
        counted = [
            F.count_if(inside & (F.size("reasons") == 0) & _names("_warned", name)).alias(f"warn{n}")
            for n, name in enumerate(self._names["warn"])
        ] + [
            F.count_if(inside & _names("_failed", name)).alias(f"fail{n}") for n, name in enumerate(self._names["fail"])
        ]
        self._counts_any = bool(counted)
        self.rows = parsed.observe(self._observation, *counted) if counted else parsed

    def counts(self, action: Action) -> dict[str, int]:
        """Rows that broke each expectation; only once the data frame has been computed. Copies of an event count."""
        if not self._counts_any:
            return {}
        observed = self._observation.get
        counts = {name: observed[f"{action}{n}"] for n, name in enumerate(self._names[action])}
        return {name: count for name, count in counts.items() if count}

    def refuse_failed(self, what: str, pipeline: Pipeline) -> None:
        """Raises QualityGateError, as ``refuse_failed`` does, if rows broke an expectation whose action is fail."""
        counts = self.counts("fail")
        if not counts:
            return
        broken = self._parsed.where(self._inside & (F.size("_failed") > 0))
        samples = [broken.where(_names("_failed", name)).limit(SAMPLES).toArrow() for name in counts]
        refuse_failed(pa.concat_tables(samples), pipeline, what, counts)


def check_rules(spark: SparkSession, pipeline: Pipeline, suite: Suite) -> None:
    """Evaluate every row rule once, on the driver and without a job, so that a wrong one fails before a stream starts.

    Raises:
        ExpectationError: Spark cannot evaluate a rule, such as one whose regular expression is none; it is named.
    """
    values = {"STRING": "''", "BINARY": "X''", "BOOLEAN": "true", "DATE": "'1970-01-01'", "TIMESTAMP": "'1970-01-01'"}
    columns = list(pipeline.event_schema)
    sample = ", ".join(f"CAST({values.get(c.type.sql, '0')} AS {c.type.sql}) AS `{c.name}`" for c in columns)
    for rule in suite.rules:
        try:
            spark.sql(f"SELECT {rule.broken} FROM (SELECT {sample})").collect()
        except PySparkException as error:
            why = str(error).splitlines()[0]
            raise ExpectationError(
                f"{pipeline.suite}: Spark cannot evaluate {rule.name} ({rule.broken}): {why}"
            ) from error


def _names(column: str, expectation: str) -> Column:
    return F.array_contains(column, f"{EXPECTATION}{expectation}")


def _counts(names: pa.Array) -> dict[str, int]:
    counted = Counter(names.to_pylist())
    return {name.removeprefix(EXPECTATION): count for name, count in sorted(counted.items())}


def _sample(row: Mapping[str, Any], pipeline: Pipeline) -> str:
    event = {name: row[name] for name in pipeline.event_schema.names}
    event["shard_id"], event["sequence_number"] = row["shard_id"], row["sequence_number"]
    text = orjson.dumps(event, default=str).decode()
    return text if len(text) <= _SAMPLE_CHARACTERS else text[:_SAMPLE_CHARACTERS] + "…"
