"""Streams and consumers by the ARNs that requests name them by."""

from kinesis_emulator.errors import in_use, invalid, not_found
from kinesis_emulator.state import Request, State
from kinesis_emulator.state.arns import local_names
from kinesis_emulator.state.stream import Consumer, Stream


def named_resource(
    state: State, request: Request, action: str, *, active: bool = False
) -> tuple[Stream, Consumer | None]:
    """The stream that ResourceARN names, or the consumer with its stream.

    Raises:
        KinesisError: ResourceNotFoundException; AccessDeniedException for an ARN of another account;
            ResourceInUseException while the stream is not ACTIVE, if that is wanted.
    """
    arn = request["ResourceARN"]
    name, of_stream = local_names(arn, state.options.region, action)
    stream = (state.changeable if active else state.stream)({"StreamName": name}, action)
    return stream, None if of_stream is None else _consumer(stream, arn)


def named_consumer(state: State, request: Request, action: str) -> tuple[Stream, Consumer]:
    """A consumer and its stream, by ConsumerARN or by StreamARN and ConsumerName.

    Raises:
        KinesisError: ResourceNotFoundException; AccessDeniedException for an ARN of another account;
            InvalidArgumentException where neither is given, or they contradict.
    """
    arn, stream_arn, name = (request.get(key) for key in ("ConsumerARN", "StreamARN", "ConsumerName"))
    if arn is None:
        if stream_arn is None or name is None:
            raise invalid("Either ConsumerARN or both StreamARN and ConsumerName must be provided.")
        stream = state.stream({"StreamARN": stream_arn}, action)
        if name not in stream.consumers:
            raise not_found(f"Consumer {name} under stream {stream.arn}")
        return stream, stream.consumers[name]
    stream = state.stream({"StreamName": local_names(arn, state.options.region, action)[0]}, action)
    consumer = _consumer(stream, arn)
    if stream_arn not in (None, stream.arn) or name not in (None, consumer.name):
        raise invalid(f"ConsumerARN {arn} is not consumer {name} of stream {stream_arn}.")
    return stream, consumer


def active_consumer(state: State, request: Request, action: str) -> tuple[Stream, Consumer]:
    """As ``named_consumer``; raises ResourceInUseException while it is CREATING."""
    stream, consumer = named_consumer(state, request, action)
    if consumer.status(state.ms()) != "ACTIVE":
        raise in_use(f"Consumer {consumer.arn} is not ACTIVE yet")
    return stream, consumer


def _consumer(stream: Stream, arn: str) -> Consumer:
    for consumer in stream.consumers.values():
        if consumer.arn == arn:
            return consumer
    raise not_found(f"Consumer {arn}")
