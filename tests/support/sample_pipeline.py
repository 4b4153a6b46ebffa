"""A small valid definition whose parts a test may replace by wrong ones."""

from typing import Any

from tidemark.definition import Count, KinesisStream, Max, Mean, Min, Pipeline, Rollup, Sum, Window

VISITS = Rollup(
    "visits",
    by=["shop"],
    window=Window("10 minutes", every="5 minutes"),
    measures={
        "visits": Count(),
        "paid": Count("amount"),
        "revenue": Sum("amount"),
        "mean": Mean("amount"),
        "least": Min("amount"),
        "most": Max("amount"),
    },
)


def make_pipeline(**replaced: Any) -> Pipeline:
    definition: dict[str, Any] = {
        "name": "shops",
        "source": KinesisStream("shops"),
        "schema": "id STRING, shop STRING, amount DECIMAL(12,2), open BOOLEAN, weight DOUBLE, at TIMESTAMP",
        "event_time": "at",
        "key": ["id"],
        "rollups": [VISITS],
        "suite": "expectations/shops.json",
    }
    return Pipeline(**{**definition, **replaced})


def make_rollup(**replaced: Any) -> Rollup:
    parts = {"name": VISITS.name, "by": VISITS.by, "window": VISITS.window, "measures": VISITS.measures}
    return Rollup(**{**parts, **replaced})
