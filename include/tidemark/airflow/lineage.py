"""Lineage by dataset, from the stream to what is served, as OpenLineage states it.

Datasets are named as its naming specification says: a Delta table by where it is (namespace ``file`` or
``s3://BUCKET``, name its path), so that other tools' lineage of the same table meets ours. A stream is
``kinesis://REGION`` and its name, a serving view ``tidemark`` and its name in SQL. The schemas are those of the
definition. Off until Airflow is told where events go (``AIRFLOW__OPENLINEAGE__TRANSPORT``).
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow.sdk import Asset

from tidemark.airflow.assets import serving_assets, stream_asset
from tidemark.core.settings import Settings, get_settings
from tidemark.definition import Pipeline, Rollup
from tidemark.lake.tables import Table, tables_of
from tidemark.pipelines import get_pipeline

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage
    from openlineage.client.event_v2 import Dataset, OutputDataset

VIEWS = "tidemark"
"""Namespace of the serving views, which are SQL texts and no files."""


class StatesLineage:
    """What makes an operator of a Spark job tell OpenLineage of it; Airflow asks only where lineage is switched on."""

    _settings: Settings
    _job: str
    _pipeline: str
    _figures: Mapping[str, Any] = MappingProxyType({})
    """What the job said of itself, once it has ended."""

    def get_openlineage_facets_on_start(self) -> "OperatorLineage[Any, Any]":
        """What the job reads and writes, as it starts: a stream's end may be months away."""
        return job_lineage(self._job, self._pipeline, self._settings, self._figures)

    def get_openlineage_facets_on_complete(self, _: Any) -> "OperatorLineage[Any, Any]":
        """The same as it ends, with the rows that it wrote."""
        return self.get_openlineage_facets_on_start()


def dataset_of(asset: Asset, _context: Any = None) -> "Dataset":
    """The dataset of an asset, by its address."""
    from openlineage.client.event_v2 import Dataset

    address = urlsplit(asset.uri)
    path = address.path.strip("/")
    if address.scheme == "kinesis":
        return Dataset(namespace=f"kinesis://{address.netloc}", name=path)
    pipeline = get_pipeline(address.netloc)
    if path.startswith("serving/"):
        return _view(pipeline, pipeline.rollup(path.removeprefix("serving/")))
    [table] = [table for table in tables_of(pipeline, get_settings()) if table.name == path]
    return _read(table)


def table_name(table: Table) -> tuple[str, str]:
    """Namespace and name of a table."""
    address = urlsplit(table.uri)
    if address.scheme:
        return f"{address.scheme.replace('s3a', 's3')}://{address.netloc}", address.path.lstrip("/")
    return "file", str(Path(table.uri).absolute())


def job_lineage(job: str, name: str, settings: Settings, figures: Mapping[str, Any]) -> "OperatorLineage[Any, Any]":
    """What a Spark job reads and writes; ``figures``: what it said of itself, if it has ended."""
    from airflow.providers.openlineage.extractors import OperatorLineage

    pipeline = get_pipeline(name)
    tables = tables_of(pipeline, settings)
    match job:
        case "stream":
            written = [tables.bronze, tables.silver, tables.quarantine, *tables.speed.values()]
            return OperatorLineage([dataset_of(stream_asset(pipeline))], [_written(table) for table in written])
        case "reprocess":
            rows = figures.get("batch_rows", {})
            batch = [_written(table, rows.get(rollup)) for rollup, table in tables.batch.items()]
            silver = _written(tables.silver, figures.get("silver_rows"))
            return OperatorLineage([_read(tables.bronze)], [silver, *batch])
        case "validate":
            return OperatorLineage([_read(tables.silver)], [_written(tables.validations)])
        case "reconcile":
            return OperatorLineage([_read(tables.bronze), *map(dataset_of, serving_assets(pipeline))])
        case _:  # compaction changes no data
            return OperatorLineage()


def _read(table: Table) -> "Dataset":
    from openlineage.client.event_v2 import Dataset

    return Dataset(*table_name(table), facets=_schema(table))


def _written(table: Table, rows: int | None = None) -> "OutputDataset":
    from openlineage.client.event_v2 import OutputDataset
    from openlineage.client.facet_v2 import output_statistics_output_dataset as statistics

    facts: dict[str, Any] = {}
    if rows is not None:
        facts["outputStatistics"] = statistics.OutputStatisticsOutputDatasetFacet(rowCount=rows)
    return OutputDataset(*table_name(table), facets=_schema(table), outputFacets=facts)


def _view(pipeline: Pipeline, rollup: Rollup) -> "Dataset":
    from openlineage.client.event_v2 import Dataset

    columns = {name: pipeline.column_type(name).sql for name in rollup.by}
    times = dict.fromkeys(("window_start", "window_end"), "TIMESTAMP")
    fields = {**columns, **times, **dict.fromkeys(rollup.measures)}
    return Dataset(VIEWS, f"{pipeline.name}.{rollup.name}", facets=_facet(fields))


def _schema(table: Table) -> dict[str, Any]:
    return _facet({field.name: str(field.type) for field in table.schema})


def _facet(fields: Mapping[str, str | None]) -> dict[str, Any]:
    from openlineage.client.facet_v2 import schema_dataset as schema

    listed = [schema.SchemaDatasetFacetFields(name=name, type=kind) for name, kind in fields.items()]
    return {"schema": schema.SchemaDatasetFacet(fields=listed)}
