"""Data quality: one suite of expectations for the stream's row rules and the batch's checks."""

from tidemark.quality.suite import RowRule, Suite, load_suite

__all__ = ["RowRule", "Suite", "load_suite"]
