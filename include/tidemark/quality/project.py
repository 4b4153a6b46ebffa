"""Editing suites with Great Expectations' own API: a context whose suites are the project's files."""

from pathlib import Path
from typing import TYPE_CHECKING

from tidemark.core.settings import Settings, get_settings

if TYPE_CHECKING:
    from great_expectations.data_context.data_context.ephemeral_data_context import EphemeralDataContext


def gx_project(folder: Path | None = None, settings: Settings | None = None) -> "EphemeralDataContext":
    """A context of Great Expectations that reads and saves the suites in ``folder``, the project's unless given.

    ``gx_project().suites.get("flights")`` is expectations/flights.json; its ``save()`` writes the file. The streams
    take it up when they are next started, the batch in its next run.
    """
    import great_expectations as gx  # takes seconds to import
    from great_expectations.data_context.types.base import DataContextConfig, InMemoryStoreBackendDefaults

    stores = InMemoryStoreBackendDefaults(init_temp_docs_sites=False)
    stores.stores[stores.expectations_store_name]["store_backend"] = {
        "class_name": "TupleFilesystemStoreBackend",
        "base_directory": str(folder or (settings or get_settings()).project_file("expectations")),
        "filepath_suffix": ".json",
        "suppress_store_backend_id": True,
    }
    config = DataContextConfig(store_backend_defaults=stores, data_docs_sites={}, analytics_enabled=False)
    return gx.get_context(mode="ephemeral", project_config=config)
