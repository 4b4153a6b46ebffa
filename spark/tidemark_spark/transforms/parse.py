"""From bronze records to typed events with the reasons why a row is not one. Used by the stream and by the batch.

What a row becomes is a function of the record and of the definition alone: not of the clock, of the session's settings,
or of the rows beside it.
"""

from collections.abc import Iterator
from datetime import date

import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from tidemark.core.documents import ORDINAL, PROBLEM, RAW, Splitter
from tidemark.definition import Pipeline
from tidemark.definition.schema import FLOATS, ColumnType
from tidemark.lake.tables import silver_schema
from tidemark.quality import Action, Suite
from tidemark.quality.suite import EXPECTATION
from tidemark_spark.transforms import values

_LARGEST_SUMMABLE = "1e18D"
_OUT_OF_RANGE = "_out_of_range"


def parse(records: DataFrame, pipeline: Pipeline, suite: Suite) -> DataFrame:
    """Records with the definition's typed columns, ``event_date`` and ``reasons`` (empty for a valid event).

    ``records`` are rows of bronze or of quarantine, or events that ``split`` has made of them; grain of the result: one
    row an event. Nothing is dropped. A field is read as text and cast (``transforms.values``), so a number in
    quotes is a number; a value that does not cast is ``wrong_type``, an absent or null one of a required column is
    ``missing``. ``_warned`` and ``_failed`` name the expectations with these actions that a row breaks; a row with
    reasons has the former in these.
    """
    events = records if RAW in records.columns else split(records, pipeline)
    columns = list(pipeline.event_schema)
    text = {column.name: F.col(RAW)[column.name] for column in columns}
    typed = [values.typed(text[column.name], column.type).alias(column.name) for column in columns]
    # Spark moves a filter below a projection, and evaluates there again each expression that the filter names: values
    # would be cast once a reason. It moves none below a generator.
    read = events.select("*", F.inline(F.array(F.struct(*typed))))
    bounded = {c.name: values.holdable(F.col(c.name), c.type) for c in columns if values.is_bounded(c.type)}
    return (
        read.withColumn("event_date", values.event_date(pipeline.event_time, pipeline.timezone))
        .withColumn(_OUT_OF_RANGE, _out_of_range(text[pipeline.event_time], pipeline))
        .withColumns(bounded)
        .withColumn("reasons", _named(_reasons(pipeline, suite)))
        .withColumn("_warned", _named(_broken(suite, "warn")))
        .withColumn("_failed", _named(_broken(suite, "fail")))
        .withColumn("reasons", _all_broken(suite))
        .drop(RAW, PROBLEM, _OUT_OF_RANGE)
    )


def split(records: DataFrame, pipeline: Pipeline) -> DataFrame:
    """The events of rows of bronze or quarantine (``tidemark.core.documents``): one row an event.

    A row that has an ``event_ordinal``, as in quarantine, is one event already.
    """
    holds, names = pipeline.records, list(pipeline.event_schema.names)
    if holds == "object":
        return _read(records, names)
    kept = [field for field in records.schema.fields if field.name != ORDINAL]
    texts = T.StructType([T.StructField(name, T.StringType()) for name in names])
    made = [(ORDINAL, T.LongType()), (PROBLEM, T.StringType()), (RAW, texts)]

    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        splitter = Splitter(names, holds)
        return (events for batch in batches for events in splitter.events(batch))

    return records.mapInArrow(run, T.StructType([*kept, *(T.StructField(name, kind) for name, kind in made)]))


def _read(records: DataFrame, names: list[str]) -> DataFrame:
    """The events of records that are one each: only the bytes pass through Python, and no other column."""
    texts = ", ".join(f"`{name}`: STRING" for name in names)

    def run(data: pa.Array) -> pa.Array:
        [raw, problems] = Splitter(names, "object").objects(data.to_pylist())
        return pa.StructArray.from_arrays([problems, raw], names=[PROBLEM, RAW])

    read = F.arrow_udf(run, f"STRUCT<{PROBLEM}: STRING, {RAW}: STRUCT<{texts}>>")  # type: ignore[attr-defined]  # pyspark exports it, and says so nowhere
    known = [] if ORDINAL in records.columns else [F.lit(None).cast("bigint").alias(ORDINAL)]
    return records.withColumn("_read", read("data")).select("*", *known, "_read.*").drop("_read")


def dated(start: date, end: date) -> Column:
    """Whether a row has an event date in ``[start, end)``."""
    return (F.col("event_date") >= F.lit(start)) & (F.col("event_date") < F.lit(end))


def valid_events(parsed: DataFrame, pipeline: Pipeline) -> DataFrame:
    """The parsed rows that are events, in silver's columns; the others are in quarantine since refine met them."""
    return parsed.where(F.size("reasons") == 0).select(*silver_schema(pipeline).names)


def key_columns(pipeline: Pipeline) -> list[Column]:
    """The values of the key, in a form that is equal for two rows exactly if they are one event.

    Both layers compare these: times to the microsecond, one zero, text as it is.
    """
    return [_comparable(name, pipeline.event_schema[name]).alias(name) for name in pipeline.key]


def event_key(pipeline: Pipeline) -> Column:
    """A digest of ``key_columns`` (SHA-256 of their JSON): what the stream remembers of an event."""
    return F.unhex(F.sha2(F.to_json(F.struct(*key_columns(pipeline)), {"ignoreNullFields": "false"}), 256))


def record_key() -> Column:
    """A digest that is unique to an event's place in the log, for rows that have no event key."""
    place = ["stream", "shard_id", "sequence_number", "sub_sequence_number", ORDINAL]
    return F.unhex(F.sha2(F.concat_ws("/", *place), 256))


def _comparable(name: str, column: ColumnType) -> Column:
    value = F.col(name)
    if column.sql in FLOATS:
        return F.when(value == 0, F.lit(0).cast(column.sql)).otherwise(value)
    # As JSON, a time has no microseconds, and depends on the session's zone.
    return F.unix_micros(value) if column.sql == "TIMESTAMP" else value


_PARSED = f"({RAW} IS NOT NULL AND {PROBLEM} IS NULL)"


def _out_of_range(text: Column, pipeline: Pipeline) -> Column:
    """Whether a row has an event time, and no reader could hold it, or its date is before the definition's earliest."""
    at = F.col(pipeline.event_time)
    before = F.col("event_date") < F.lit(pipeline.earliest)
    unheld = F.col("event_date").isNull() | values.holdable(at, pipeline.event_schema[pipeline.event_time]).isNull()
    return F.coalesce(values.is_beyond_years(text), F.lit(False)) | (at.isNotNull() & (unheld | before))


def _named(reasons: list[Column]) -> Column:
    return F.array_remove(F.array(*reasons), "") if reasons else F.expr("CAST(array() AS ARRAY<STRING>)")


def _all_broken(suite: Suite) -> Column:
    if not suite.with_action("warn"):
        return F.col("reasons")
    # A row that is quarantined names all that it broke.
    return F.when(F.size("reasons") > 0, F.concat("reasons", "_warned")).otherwise(F.col("reasons"))


def _broken(suite: Suite, action: Action) -> list[Column]:
    # A row that is not an event at all breaks no expectation: its reason is that it did not parse.
    return [
        F.when(F.expr(f"{_PARSED} AND {rule.broken}"), F.lit(f"{EXPECTATION}{rule.name}")).otherwise("")
        for rule in suite.with_action(action)
    ]


def _reasons(pipeline: Pipeline, suite: Suite) -> list[Column]:
    """Of each reason, its name where it applies, and an empty text elsewhere."""

    def reason(name: str, when: str) -> Column:
        return F.when(F.expr(when), F.lit(name)).otherwise("")

    parsed, at = _PARSED, pipeline.event_time
    reasons = [
        F.coalesce(PROBLEM, F.lit("")),
        reason("event_time_out_of_range", f"{parsed} AND {_OUT_OF_RANGE}"),
    ]
    required = {*pipeline.key, at, *pipeline.required}
    for column in pipeline.event_schema:
        name = column.name
        sent, lost = f"{RAW}.`{name}` IS NOT NULL", f"`{name}` IS NULL"
        if column.type.sql != "STRING":
            untyped = f"{lost} AND NOT {_OUT_OF_RANGE}" if name == at else lost
            reasons.append(reason(f"wrong_type:{name}", f"{parsed} AND {sent} AND {untyped}"))
        if name in required:
            reasons.append(reason(f"missing:{name}", f"{parsed} AND {RAW}.`{name}` IS NULL"))
        if column.type.sql in FLOATS:
            outside = f"isnan(`{name}`) OR abs(CAST(`{name}` AS DOUBLE)) >= {_LARGEST_SUMMABLE}"
            reasons.append(reason(f"not_finite:{name}", f"{parsed} AND `{name}` IS NOT NULL AND ({outside})"))
    ahead = int(pipeline.max_future.total_seconds())
    limit = f"approximate_arrival_timestamp + INTERVAL '{ahead}' SECOND"
    reasons.append(reason("event_time_in_future", f"`{at}` > {limit}"))
    return reasons + _broken(suite, "quarantine")
