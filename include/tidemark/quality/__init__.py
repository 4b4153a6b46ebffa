"""Data quality: one suite of expectations for the stream's row rules and the batch's checks."""

from tidemark.quality.suite import Action, BatchOnly, RowRule, Suite, load_suite

__all__ = ["Action", "BatchOnly", "RowRule", "Suite", "load_suite"]
