"""Tidemark in Airflow: what the DAG files wire, and a standalone Airflow for the embedded default."""
