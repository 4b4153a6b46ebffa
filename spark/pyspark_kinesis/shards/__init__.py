"""Shards: their lineage, their retention, and reading one on from a position."""
