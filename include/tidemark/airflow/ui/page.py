"""A page in the UI: every pipeline at a glance, with links to the runs that repair it; for those who are logged in.

Served by the API server, below ``/tidemark``, as plain HTML; it reads the tables' logs each time it is asked for.
"""

from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from airflow.api_fastapi.core_api.security import get_user
from fastapi import Depends, FastAPI
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, Template

from tidemark.core.settings import get_settings
from tidemark.monitoring.overview import overview
from tidemark.pipelines import load_pipelines

app = FastAPI(title="Tidemark", dependencies=[Depends(get_user)], docs_url=None, redoc_url=None, openapi_url=None)


@app.get("/", response_class=HTMLResponse)
def page() -> str:
    """The page."""
    now = datetime.now(UTC)
    return render(now)


def render(now: datetime) -> str:
    """The page's HTML as of a moment."""
    settings = get_settings()
    found = [overview(pipeline, settings, now) for pipeline in load_pipelines().values()]
    return _template().render(pipelines=found, now=now, lake=settings.lake_uri)


@cache
def _template() -> Template:
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True)
    environment.filters["ago"] = ago
    return environment.get_template("page.html.jinja")


def ago(seconds: float | None) -> str:
    """Seconds in the largest fitting unit."""
    if seconds is None:
        return "never"
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"
