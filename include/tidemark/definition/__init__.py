"""The one-definition model: a pipeline is stated once, in typed Python, and everything else is derived from it."""

from tidemark.definition.measures import (
    ApproxDistinct,
    Count,
    CountIf,
    Dialect,
    First,
    Last,
    Max,
    Mean,
    Measure,
    Min,
    Quantile,
    State,
    StdDev,
    Sum,
    TopK,
    Variance,
    quote,
)
from tidemark.definition.pipeline import KinesisStream, Pipeline, Rollup
from tidemark.definition.window import SessionWindow, Window

__all__ = [
    "ApproxDistinct",
    "Count",
    "CountIf",
    "Dialect",
    "First",
    "KinesisStream",
    "Last",
    "Max",
    "Mean",
    "Measure",
    "Min",
    "Pipeline",
    "Quantile",
    "Rollup",
    "SessionWindow",
    "State",
    "StdDev",
    "Sum",
    "TopK",
    "Variance",
    "Window",
    "quote",
]
