"""Tidemark on Spark: the streams and the jobs, derived from the definitions of ``tidemark.pipelines``."""
