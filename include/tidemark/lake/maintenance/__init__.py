"""Compaction and VACUUM of the tables, by delta-rs."""

MIN_SMALL_FILES = 8
"""Small files that a table must be rid of for a rewrite to pay: the default of ``tidemark compact`` and of its form."""
