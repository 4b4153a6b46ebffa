"""Fixtures of the layers' tests."""

from layers import refine, settings

__all__ = ["refine", "settings"]
