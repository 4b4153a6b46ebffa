"""Tidemark: pipelines defined once, served exactly, from a stream and a batch layer over one log."""
