"""What Airflow, which finds it as an entry point of the installed package, is told of Tidemark's assets."""

from typing import Any


def provider_info() -> dict[str, Any]:
    """The schemes of the assets, and what makes OpenLineage's datasets of them; imported by every Airflow process."""
    uris = {"handler": None, "to_openlineage_converter": "tidemark.airflow.lineage.dataset_of"}
    return {
        "package-name": "tidemark",
        "name": "Tidemark",
        "description": "Kinesis to Delta, batch and real-time merged exactly.",
        "asset-uris": [{"schemes": ["tidemark"], **uris}, {"schemes": ["kinesis"], **uris}],
    }
