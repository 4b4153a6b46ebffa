"""Run in an Airflow with its default configuration: writes what it makes of its DAG folder and its plugins as JSON."""

import json
from importlib.metadata import version
from pathlib import Path

from airflow import plugins_manager
from airflow.configuration import conf
from airflow.dag_processing.dagbag import DagBag
from airflow.providers_manager import ProvidersManager

bag = DagBag(conf.get("core", "dags_folder"))
plugins, errors = plugins_manager._get_plugins()
found = {
    "airflow": version("apache-airflow"),
    "errors": {**bag.import_errors, **errors},
    "tasks": {name: sorted(dag.task_ids) for name, dag in bag.dags.items()},
    "views": [view["name"] for plugin in plugins if plugin.name == "tidemark" for view in plugin.external_views],
    "listeners": [len(plugin.listeners) for plugin in plugins if plugin.name == "tidemark"],
    "provider": "tidemark" in ProvidersManager().providers,
}
# Not printed: Airflow's log is.
Path("found.json").write_text(json.dumps(found))
