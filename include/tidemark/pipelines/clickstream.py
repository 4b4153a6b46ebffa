"""Clicks, views and purchases of a made-up shop, with the faults of a real one: duplicates, late and broken events."""

from tidemark.definition import ApproxDistinct, Count, KinesisStream, Pipeline, Quantile, Rollup, Sum, Window

clickstream = Pipeline(
    name="clickstream",
    description="What users of a shop do: events, value and users by kind of event.",
    source=KinesisStream("clickstream", shards=2),
    schema="event_id STRING, user_id BIGINT, event STRING, value DECIMAL(12,2), event_time TIMESTAMP",
    event_time="event_time",
    key=["event_id"],
    rollups=[
        Rollup(
            "activity",
            by=["event"],
            window=Window("10 minutes", every="5 minutes"),
            measures={
                "events": Count(),
                "revenue": Sum("value"),
                "users": ApproxDistinct("user_id"),
                "p95_value": Quantile("value", 0.95),
            },
        ),
    ],
    suite="expectations/clickstream.json",
    sample="tidemark.pipelines.producers.clickstream:events",
)
