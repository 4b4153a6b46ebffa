"""Measures as partial aggregates: one definition that the speed layer, the batch layer and the serving view share.

A measure keeps one or more *states*. Each state has a partial aggregate over events, and a merge that is associative,
commutative and has a zero, so that any grouping and order of merges gives the same result as one pass (the requirement
of a lambda architecture; cf. Boykin et al., "Summingbird", VLDB 2014). ``finish`` turns merged states into the answer.
Expressions are SQL text, because states are made by Spark and merged by whichever engine reads the serving view.
"""

from tidemark.definition.measures.base import Dialect, Measure, State, Stored, quote
from tidemark.definition.measures.counts import Count, CountIf
from tidemark.definition.measures.extremes import First, Last, Max, Min
from tidemark.definition.measures.sketches import (
    HLL_LOG2_BUCKETS,
    KLL_K,
    TOP_K_COUNTERS,
    ApproxDistinct,
    Quantile,
    TopK,
)
from tidemark.definition.measures.sums import Mean, Sum
from tidemark.definition.measures.variance import StdDev, Variance

__all__ = [
    "HLL_LOG2_BUCKETS",
    "KLL_K",
    "TOP_K_COUNTERS",
    "ApproxDistinct",
    "Count",
    "CountIf",
    "Dialect",
    "First",
    "Last",
    "Max",
    "Mean",
    "Measure",
    "Min",
    "Quantile",
    "State",
    "StdDev",
    "Stored",
    "Sum",
    "TopK",
    "Variance",
    "quote",
]
