"""The DAGs of all pipelines. An Airflow of your own needs no more than this file in its DAG folder."""

from tidemark.airflow.dags import make_dags

make_dags()
