"""The serving view: batch and speed partial aggregates merged into one answer, exact at every instant."""

from tidemark.serving.sql import serving_sql
from tidemark.serving.view import Snapshot, answer, pin

__all__ = ["Snapshot", "answer", "pin", "serving_sql"]
