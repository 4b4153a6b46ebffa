"""What Airflow's connection of type Amazon Web Services is good for here: the clients that Tidemark's tasks use."""

from typing import TYPE_CHECKING, Any

from tidemark.core.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_kinesis import KinesisClient

AWS_CONNECTION = "aws_default"
"""The provider's own. Without it credentials are those of AWS's default chain, as everywhere in Tidemark."""


def kinesis_client(settings: Settings) -> "KinesisClient":
    """A client of Kinesis with the connection's credentials; settings say the region, and the endpoint if one does."""
    # The provider takes a second to import, and DAGs are parsed all the time.
    from airflow.providers.amazon.aws.hooks.kinesis import KinesisHook

    hook = KinesisHook(aws_conn_id=AWS_CONNECTION, region_name=settings.aws_region)
    endpoint = settings.kinesis_endpoint_url or hook.conn_config.get_service_endpoint_url("kinesis")
    client: KinesisClient = hook.get_session(settings.aws_region).client(
        "kinesis", endpoint_url=endpoint, config=hook.config, verify=hook.verify
    )
    return client


def s3_client() -> Any:
    """A client of S3, all of it by the connection."""
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook

    return S3Hook(aws_conn_id=AWS_CONNECTION).get_conn()
