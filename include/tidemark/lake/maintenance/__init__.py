"""Compaction and VACUUM of the tables, by delta-rs."""
