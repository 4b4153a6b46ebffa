"""Tidemark's plugin of Airflow, which finds it as an entry point of the installed package."""

from typing import Any

from airflow.plugins_manager import AirflowPlugin

from tidemark.airflow.ui import pools, preload


async def page(scope: Any, receive: Any, send: Any) -> None:
    """The page, imported by the API server at its first request: every process of Airflow loads plugins."""
    from tidemark.airflow.ui.page import app

    await app(scope, receive, send)


class TidemarkPlugin(AirflowPlugin):
    """The pool of the Spark jobs, made as the scheduler starts, and a page in the UI."""

    name = "tidemark"
    listeners = [pools, preload]  # noqa: RUF012  (as its base declares it)
    fastapi_apps = [{"app": page, "url_prefix": "/tidemark", "name": "Tidemark"}]  # noqa: RUF012
    external_views = [  # noqa: RUF012
        {"name": "Tidemark", "href": "/tidemark/", "destination": "nav", "url_route": "tidemark"}
    ]
