"""A definition of a user's own, in a folder or a package of theirs."""

from tidemark.definition import Count, KinesisStream, Pipeline, Rollup, Sum, Window

taxis = Pipeline(
    name="taxis",
    source=KinesisStream("taxis"),
    schema="id STRING, zone STRING, fare DECIMAL(12,2), at TIMESTAMP",
    event_time="at",
    key=["id"],
    rollups=[Rollup("daily", by=["zone"], window=Window("1 day"), measures={"rides": Count(), "fares": Sum("fare")})],
    suite="expectations/taxis.json",
)
