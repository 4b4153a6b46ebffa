"""The oldest Airflow that the wheel allows, with the oldest of its providers; run by `make test-airflow`."""

from pathlib import Path

from packaging.requirements import Requirement
from test_airflow import check
from wheel_environments import Environment, metadata_of

ITS_OWN = ("cadwyn==6.2.0", "fastapi==0.135.3")
"""What Airflow's own constraints for 3.2.0 had of its API server, which no later version runs."""


def oldest(tidemark: Path, name: str) -> str:
    """The lower bound of a requirement."""
    asked = [Requirement(line) for line in metadata_of(tidemark).get_all("Requires-Dist", [])]
    # Each extra that includes another one repeats its requirements.
    [found] = {part.version for one in asked if one.name == name for part in one.specifier if part.operator == ">="}
    return str(found)


def test_the_oldest_airflow_makes_the_dags_of_a_users_definitions(
    tidemark: Path, definitions: Path, tmp_path: Path
) -> None:
    providers = ("amazon", "apache-spark", "standard")
    names = ("apache-airflow", *(f"apache-airflow-providers-{name}" for name in providers))
    pins = {name: oldest(tidemark, name) for name in names}
    airflow = pins["apache-airflow"] = f"{pins['apache-airflow']}.0"
    environment = Environment.make(tmp_path / "venv")
    environment.install(*ITS_OWN, f"{tidemark}[airflow]", *(f"{name}=={number}" for name, number in pins.items()))
    check(environment, tmp_path / "home", definitions, airflow)
