"""Operators that run the jobs of spark/jobs: by spark-submit, and on EMR."""
