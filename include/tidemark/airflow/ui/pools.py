"""A listener of Airflow that makes the pool of the Spark jobs: tasks of a pool that is missing would never run."""

import contextlib
from typing import Any

from airflow.listeners import hookimpl
from sqlalchemy.exc import IntegrityError

from tidemark.airflow.ui.components import is_service
from tidemark.core.settings import get_settings


@hookimpl
def on_starting(component: Any) -> None:
    """Make the pool as the scheduler or another part starts, unless it is there: its slots are the operator's."""
    if not is_service(component):
        return
    from airflow.models.pool import Pool  # needs the database to be set up, which it is by now

    settings = get_settings()
    if Pool.get_pool(settings.spark_pool) is not None:
        return
    with contextlib.suppress(IntegrityError):  # another part that starts was faster
        Pool.create_or_update_pool(
            name=settings.spark_pool,
            slots=settings.spark_slots,
            description="Spark drivers of Tidemark's batch jobs that run at once",
            include_deferred=False,
        )
