"""The one-definition model: a pipeline is stated once, in typed Python, and everything else is derived from it."""

from tidemark.definition.measures import ApproxDistinct, Count, CountIf, Max, Mean, Measure, Min, Quantile, Sum
from tidemark.definition.pipeline import KinesisStream, Pipeline, Rollup
from tidemark.definition.window import Window

__all__ = [
    "ApproxDistinct",
    "Count",
    "CountIf",
    "KinesisStream",
    "Max",
    "Mean",
    "Measure",
    "Min",
    "Pipeline",
    "Quantile",
    "Rollup",
    "Sum",
    "Window",
]
