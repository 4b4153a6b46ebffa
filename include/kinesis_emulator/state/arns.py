"""Amazon Resource Names of streams and consumers, and refusals of those that are of elsewhere."""

from kinesis_emulator.errors import KinesisError, not_found

ACCOUNT = "000000000000"


def stream_arn(region: str, name: str) -> str:
    """The ARN of a stream."""
    return f"arn:aws:kinesis:{region}:{ACCOUNT}:stream/{name}"


def local_names(arn: str, region: str, action: str) -> tuple[str, str | None]:
    """The stream that an ARN names, and the consumer (name and time, as the ARN has it) if it names one.

    The ARN has the form that the service's model demands.

    Raises:
        KinesisError: AccessDeniedException for another account's, as no policy of a resource there allows anything;
            ResourceNotFoundException for another partition's or region's, and for what is not a stream or a consumer.
    """
    _, partition, _, of_region, account, resource = arn.split(":", 5)
    kind, _, rest = resource.partition("/")
    name, _, of_stream = rest.partition("/")
    if account != ACCOUNT:
        raise KinesisError(
            "AccessDeniedException",
            f"User: arn:aws:iam::{ACCOUNT}:root is not authorized to perform: kinesis:{action} on resource: {arn} "
            f"because no resource-based policy allows the kinesis:{action} action",
        )
    if kind != "stream" or (partition, of_region) != ("aws", region):
        raise not_found(f"{arn} in region {region} under account {ACCOUNT}")
    what, _, consumer = of_stream.partition("/")
    return name, (consumer if what == "consumer" else of_stream) if of_stream else None
