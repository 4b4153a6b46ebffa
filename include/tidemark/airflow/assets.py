"""The assets: the stream, bronze, silver, each batch table and serving view, and the tasks that tell of their changes.

Read in Airflow's asset graph they are the architecture: the stream to bronze, to silver, to the batch tables, and to
the speed tables; both layers to what is served. An event carries what the tables' own logs say, and the figures of the
run that made it.

What reads tables is imported by the tasks that do: a parse of a DAG file needs none of it.
"""

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any

from airflow.sdk import Asset, task

from tidemark.core.settings import Settings, get_settings
from tidemark.definition import Pipeline
from tidemark.lake.tables import tables_of
from tidemark.pipelines import get_pipeline


def table_asset(pipeline: Pipeline, table: str) -> Asset:
    """The asset of a table: named ``<pipeline>.<table>``."""
    return Asset(name=f"{pipeline.name}.{table}", uri=f"tidemark://{pipeline.name}/{table}", group="tidemark")


def stream_asset(pipeline: Pipeline) -> Asset:
    """The asset of the Kinesis stream that a pipeline reads: the root of its graph."""
    source, region = pipeline.source.name, get_settings().aws_region
    return Asset(name=f"{pipeline.name}.kinesis", uri=f"kinesis://{region}/{source}", group="tidemark")


def batch_assets(pipeline: Pipeline) -> list[Asset]:
    """The assets of the batch tables."""
    return [table_asset(pipeline, f"batch_{rollup.name}") for rollup in pipeline.rollups]


def speed_assets(pipeline: Pipeline) -> list[Asset]:
    """The assets of the speed tables."""
    return [table_asset(pipeline, f"speed_{rollup.name}") for rollup in pipeline.rollups]


def serving_assets(pipeline: Pipeline) -> list[Asset]:
    """The assets of the serving views: named as they are in SQL, ``<pipeline>.<rollup>``."""
    return [
        Asset(name=f"{pipeline.name}.{rollup.name}", uri=f"tidemark://{pipeline.name}/serving/{rollup.name}")
        for rollup in pipeline.rollups
    ]


def emit_asset_events(
    context: Any, outlets: Iterable[Any], pipeline: str, settings: Settings, figures: Mapping[str, Any]
) -> None:
    """Tell of the tables that a job has written by their assets: their facts, and the job's figures."""
    from tidemark.monitoring.asset_facts import table_metadata

    tables = {table.name: table for table in tables_of(get_pipeline(pipeline), settings)}
    for asset in outlets:
        if isinstance(asset, Asset):
            facts = table_metadata(tables[asset.name.removeprefix(f"{pipeline}.")], settings)
            context["outlet_events"][asset].extra = {**figures, **facts}


def tell_batch(pipeline: Pipeline) -> Any:
    """Check that the batch tables cover what the reprocess published, and tell of it by their assets."""
    name = pipeline.name

    @task(task_id="batch_tables", inlets=[table_asset(pipeline, "silver")], outlets=batch_assets(pipeline))
    def tell(ti: Any = None, outlet_events: Any = None) -> dict[str, Any]:
        """Check the coverage of the batch tables, and send their events."""
        from tidemark.monitoring.asset_facts import batch_facts

        done = ti.xcom_pull(task_ids="reprocess")
        start, end = date.fromisoformat(done["from"]), date.fromisoformat(done["to"])
        found = batch_facts(get_pipeline(name), get_settings(), start, end, done["covered_segment"])
        for asset in batch_assets(get_pipeline(name)):
            outlet_events[asset].extra = {**_range(done), **found[asset.name.removeprefix(f"{name}.")]}
        return found

    return tell()


def tell_serving(pipeline: Pipeline) -> Any:
    """Tell by the serving views' assets at which position they answer."""
    name, layers = pipeline.name, [*batch_assets(pipeline), *speed_assets(pipeline)]

    @task(task_id="serving_views", inlets=layers, outlets=serving_assets(pipeline))
    def tell(ti: Any = None, outlet_events: Any = None) -> dict[str, Any]:
        """Send the events of the serving views."""
        from tidemark.monitoring.asset_facts import serving_facts

        done = ti.xcom_pull(task_ids="reprocess")
        found = serving_facts(get_pipeline(name), get_settings())
        for asset in serving_assets(get_pipeline(name)):
            outlet_events[asset].extra = {**_range(done), **found[asset.name.removeprefix(f"{name}.")]}
        return found

    return tell()


def _range(done: Mapping[str, Any]) -> dict[str, Any]:
    return {"from": done["from"], "to": done["to"]}


def triggering_range(events: Any) -> tuple[str, str] | None:
    """The smallest range of event dates that holds those of all events that started a run; None if none tells one."""
    told = [
        event.extra
        for each in (events or {}).values()
        for event in each
        if {"from", "to"} <= (event.extra or {}).keys()
    ]
    if not told:
        return None
    return min(extra["from"] for extra in told), max(extra["to"] for extra in told)
