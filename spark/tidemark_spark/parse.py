"""From bronze records to typed events with the reasons why a row is not one. Used by the stream and by the batch."""

from datetime import date

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from tidemark.definition import Pipeline
from tidemark.definition.schema import FLOATS
from tidemark.quality import Action, Suite
from tidemark.quality.suite import EXPECTATION
from tidemark.tables import silver_schema

_LARGEST_SUMMABLE = "1e18D"


def parse(bronze: DataFrame, pipeline: Pipeline, suite: Suite) -> DataFrame:
    """Bronze rows with the definition's typed columns, ``event_date`` and ``reasons`` (empty for a valid event).

    A field is read as text and cast, so a number in quotes is a number; a value that does not cast is ``wrong_type``,
    an absent or null one of a required column is ``missing``. Row for row; nothing is dropped. ``_warned`` and
    ``_failed`` name the expectations with these actions that a row breaks; a row with reasons has the former in these.
    """
    columns = list(pipeline.events)
    raw_schema = ", ".join([*(f"`{c.name}` STRING" for c in columns), "_corrupt STRING"])
    text = "CASE WHEN is_valid_utf8(CAST(data AS STRING)) THEN CAST(data AS STRING) END"
    raw = f"from_json(_text, '{raw_schema}', map('mode', 'PERMISSIVE', 'columnNameOfCorruptRecord', '_corrupt'))"
    typed = ", ".join(f"try_cast(_raw.`{c.name}` AS {c.type.sql}) AS `{c.name}`" for c in columns)
    # Spark moves a filter below a projection, and evaluates there again each expression that the filter names: JSON
    # would be parsed once a reason. It moves none below a generator.
    read = (
        bronze.withColumn("_text", F.expr(text))
        .withColumn("_raw", F.expr(raw))
        .select("*", F.expr(f"inline(array(struct({typed})))"))
    )
    return (
        read.withColumn("event_date", event_date(pipeline))
        .withColumn("reasons", _named(_reasons(pipeline, suite)))
        .withColumn("_warned", _named(_broken(suite, "warn")))
        .withColumn("_failed", _named(_broken(suite, "fail")))
        .withColumn("reasons", _all_broken(suite))
        .drop("_text", "_raw")
    )


def event_date(pipeline: Pipeline) -> Column:
    """The calendar date of the event time in the pipeline's time zone."""
    at = F.col(pipeline.event_time)
    return F.to_date(at if pipeline.timezone == "UTC" else F.from_utc_timestamp(at, pipeline.timezone))


def dated(start: date, end: date) -> Column:
    """Whether a row has an event date in ``[start, end)``."""
    return (F.col("event_date") >= F.lit(start)) & (F.col("event_date") < F.lit(end))


def valid_events(parsed: DataFrame, pipeline: Pipeline) -> DataFrame:
    """The parsed rows that are events, in silver's columns; the others are in quarantine since refine met them."""
    return parsed.where(F.size("reasons") == 0).select(*silver_schema(pipeline).names)


def event_key(pipeline: Pipeline) -> Column:
    """A digest that is equal for two rows exactly if they are one event (SHA-256 of the key's columns as JSON)."""
    return F.unhex(F.sha2(F.to_json(F.struct(*pipeline.key)), 256))


def record_key() -> Column:
    """A digest that is unique to a Kinesis record, for rows that have no event key."""
    return F.unhex(F.sha2(F.concat_ws("/", "stream", "shard_id", "sequence_number", "sub_sequence_number"), 256))


_PARSED = "(_raw IS NOT NULL AND _raw._corrupt IS NULL)"


def _named(reasons: list[Column]) -> Column:
    return F.array_remove(F.array(*reasons), "") if reasons else F.expr("CAST(array() AS ARRAY<STRING>)")


def _all_broken(suite: Suite) -> Column:
    if not suite.with_action("warn"):
        return F.col("reasons")
    # A row that is quarantined names all that it broke.
    return F.when(F.size("reasons") > 0, F.concat("reasons", "_warned")).otherwise(F.col("reasons"))


def _broken(suite: Suite, action: Action) -> list[Column]:
    # A row that is no event at all breaks no expectation: its reason is that it did not parse.
    return [
        F.when(F.expr(f"{_PARSED} AND {rule.broken}"), F.lit(f"{EXPECTATION}{rule.name}")).otherwise("")
        for rule in suite.with_action(action)
    ]


def _reasons(pipeline: Pipeline, suite: Suite) -> list[Column]:
    """Of each reason, its name where it applies, and an empty text elsewhere."""

    def reason(name: str, when: str) -> Column:
        return F.when(F.expr(when), F.lit(name)).otherwise("")

    parsed = _PARSED
    reasons = [
        reason("not_utf8", "_text IS NULL"),
        reason("unparseable_json", "_text IS NOT NULL AND (_raw._corrupt IS NOT NULL OR _raw IS NULL)"),
    ]
    required = {*pipeline.key, pipeline.event_time, *pipeline.required}
    for column in pipeline.events:
        name = column.name
        if column.type.sql != "STRING":
            reasons.append(reason(f"wrong_type:{name}", f"{parsed} AND _raw.`{name}` IS NOT NULL AND `{name}` IS NULL"))
        if name in required:
            reasons.append(reason(f"missing:{name}", f"{parsed} AND _raw.`{name}` IS NULL"))
        if column.type.sql in FLOATS:
            outside = f"isnan(`{name}`) OR abs(CAST(`{name}` AS DOUBLE)) >= {_LARGEST_SUMMABLE}"
            reasons.append(reason(f"not_finite:{name}", f"{parsed} AND `{name}` IS NOT NULL AND ({outside})"))
    ahead = int(pipeline.max_future.total_seconds())
    limit = f"approximate_arrival_timestamp + INTERVAL '{ahead}' SECOND"
    reasons.append(reason("event_time_in_future", f"`{pipeline.event_time}` > {limit}"))
    return reasons + _broken(suite, "quarantine")
