"""A small Kinesis client: signed JSON requests over kept-alive connections, records decoded to columns.

botocore's own parser is most of what a read with it costs; so botocore signs and finds the endpoint and the
credentials here, and nothing else. Source of names and error codes: the Kinesis Data Streams API
reference (``Kinesis_20131202``).
"""

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import orjson
import urllib3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import BotoCoreError
from botocore.session import Session

from pyspark_kinesis.api.connections import Connections
from pyspark_kinesis.api.credentials import DEFAULT as DEFAULT_IDENTITY
from pyspark_kinesis.api.credentials import Identity, Keys
from pyspark_kinesis.api.decoding import Page, decode
from pyspark_kinesis.api.positions import TRIM_HORIZON, Shard, iterator_arguments
from pyspark_kinesis.api.retries import TransientError, patiently
from pyspark_kinesis.api.service_clock import ServiceClock
from pyspark_kinesis.errors import (
    AccessError,
    EndpointError,
    IteratorExpiredError,
    RequestRefusedError,
    ShardGoneError,
    StreamNotFoundError,
    SubscriptionError,
)

_THROTTLES = {
    "ProvisionedThroughputExceededException",
    "LimitExceededException",
    "KMSThrottlingException",
    "ThrottlingException",
    "Throttling",
    "RequestLimitExceeded",
    "RequestThrottled",
    "TooManyRequestsException",
}
_ACCESS = {
    "AccessDeniedException",
    "AccessDenied",
    "ExpiredTokenException",
    "ExpiredToken",
    "IncompleteSignatureException",
    "IncompleteSignature",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "MissingAuthenticationTokenException",
    "MissingAuthenticationToken",
    "OptInRequired",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
}
_CONNECTIONS = 32
# A page's token lives five minutes. A list that outlasts it, with throttles and retries, is begun anew so often.
_LISTINGS = 5

_Answer = TypeVar("_Answer")


# All of an account may ask for stream summaries 20 times a second.
_SUMMARY_KNOWN_SECONDS = 600.0


@dataclass(frozen=True)
class Summary:
    """Of a stream: how long it keeps a record, and when it was made (epoch seconds), which tells it from namesakes."""

    retention_seconds: float
    """How long the stream keeps a record."""
    created_at: float
    """When the stream was made, in epoch seconds."""


@dataclass
class Tally:
    """What requests cost, summed up."""

    calls: int = 0
    """Requests sent, repetitions included."""
    throttles: int = 0
    """Answers that said to ask less often."""
    bytes: int = 0
    """Bytes of the answers' bodies."""
    subscriptions: int = 0
    """SubscribeToShard calls."""
    events: int = 0
    """Events of subscriptions."""


@dataclass
class KinesisClient:
    """Requests to one endpoint; safe to share between threads, not across a fork.

    Throttles, 5xx and broken connections are repeated with jitter for ``patience_seconds``, then raise EndpointError.
    Credentials that the service refuses are read anew, and the request is repeated if they were replaced.

    Raises:
        AccessError: there are no credentials, or the AWS configuration cannot be used.
    """

    region: str
    """Region that requests are signed for."""
    endpoint_url: str | None = None
    """Where Kinesis is not AWS itself."""
    patience_seconds: float = 60.0
    """How long a request is repeated."""
    identity: Identity = DEFAULT_IDENTITY
    """Which credentials are used."""
    tally: Tally = field(default_factory=Tally)
    """What its requests cost, where a call is not given a tally of its own."""

    def __post_init__(self) -> None:
        self._keys = Keys(self.identity, self.region)
        url = self.endpoint_url
        if url is None:
            try:
                session = Session(profile=self.identity.profile)
                url = session.create_client("kinesis", region_name=self.region).meta.endpoint_url
            except BotoCoreError as error:
                raise AccessError(f"the AWS configuration cannot be used ({error}): check AWS_* and ~/.aws") from error
        self._url = str(url).rstrip("/") + "/"
        self._connections = Connections(_CONNECTIONS, self.identity.profile)
        self.clock = ServiceClock()
        """The service's clock, as its answers tell it."""
        self._summaries: dict[str, tuple[float, Summary]] = {}

    def now(self) -> float:
        """Epoch seconds by the service's clock, see ServiceClock.now."""
        return self.clock.now()

    def shards(self, stream: dict[str, str]) -> list[Shard]:
        """All shards that the stream still lists, open and closed.

        Raises:
            KinesisSourceError: as ``call`` says.
        """
        for _ in range(_LISTINGS - 1):
            try:
                return self._listed(stream)
            except RequestRefusedError as error:
                if error.code != "ExpiredNextTokenException":
                    raise
        return self._listed(stream)

    def _listed(self, stream: dict[str, str]) -> list[Shard]:
        found: list[Shard] = []
        request: dict[str, Any] = dict(stream)
        while True:
            answer = self.call("ListShards", request)
            found += [
                Shard(
                    shard["ShardId"],
                    tuple(shard[key] for key in ("ParentShardId", "AdjacentParentShardId") if shard.get(key)),
                    # Servers other than AWS say of an open shard that it is null.
                    closed=bool(shard.get("SequenceNumberRange", {}).get("EndingSequenceNumber")),
                )
                for shard in answer["Shards"]
            ]
            if not answer.get("NextToken"):
                return found
            request = {"NextToken": answer["NextToken"]}

    def has_shard(self, stream: dict[str, str], shard_id: str) -> bool:
        """Whether a shard that a list leaves out is there all the same: lists may be incomplete or late.

        Raises:
            KinesisSourceError: as ``call`` says.
        """
        try:
            self.call("GetShardIterator", {**stream, "ShardId": shard_id, **iterator_arguments(TRIM_HORIZON)})
        except StreamNotFoundError:
            return False
        return True

    def summary(self, stream: dict[str, str], *, anew: bool = False) -> "Summary":
        """What DescribeStreamSummary says, ten minutes old at most; ``anew``: asked for now.

        Raises:
            KinesisSourceError: as ``call`` says.
        """
        key, now = str(stream), time.monotonic()
        if anew or key not in self._summaries or now - self._summaries[key][0] >= _SUMMARY_KNOWN_SECONDS:
            told = self.call("DescribeStreamSummary", dict(stream))["StreamDescriptionSummary"]
            seconds = float(told["RetentionPeriodHours"]) * 3600
            self._summaries[key] = (now, Summary(seconds, float(told["StreamCreationTimestamp"])))
        return self._summaries[key][1]

    def retention_seconds(self, stream: dict[str, str]) -> float:
        """How long the stream keeps a record, as ``summary`` knows it.

        Raises:
            KinesisSourceError: as ``call`` says.
        """
        return self.summary(stream).retention_seconds

    def iterator(self, stream: dict[str, str], shard_id: str, position: str) -> str:
        """An iterator at a position; it expires five minutes later.

        Raises:
            ShardGoneError: the shard is gone: it closed, and its records aged out.
            StreamNotFoundError: its stream is gone.
            KinesisSourceError: as ``call`` says.
        """
        request = {**stream, "ShardId": shard_id, **iterator_arguments(position)}

        def attempt() -> str:
            try:
                return str(self.call("GetShardIterator", request)["ShardIterator"])
            except StreamNotFoundError as error:
                # The same answer stands for either, and comes of a shard that is too new, too.
                if any(shard.shard_id == shard_id for shard in self.shards(stream)):
                    raise TransientError(str(error)) from error
                raise ShardGoneError(
                    f"the shard {shard_id} of {' '.join(stream.values())} is gone: it closed, and its records aged out"
                ) from error

        try:
            return patiently(attempt, self.patience_seconds, f"an iterator of {shard_id}")
        except TransientError as error:
            raise self._gave_up("GetShardIterator", error) from error

    def records(self, iterator: str, limit: int, stream_arn: str | None = None, tally: Tally | None = None) -> Page:
        """The records of one GetRecords call, repeated as ``call`` is, and counted in ``tally``.

        Raises:
            IteratorExpiredError: the iterator is older than five minutes.
            KinesisSourceError: as ``call`` says.
        """
        request: dict[str, Any] = {"ShardIterator": iterator, "Limit": limit}
        if stream_arn:  # lets the service find the account where the stream is another's
            request["StreamARN"] = stream_arn
        return self._repeated("GetRecords", orjson.dumps(request), decode, tally)

    def subscribe(
        self, consumer_arn: str, shard_id: str, position: str, wait_seconds: float, tally: Tally | None = None
    ) -> urllib3.BaseHTTPResponse:
        """One SubscribeToShard call, not repeated: the answer, whose body is the event stream, for the caller to close.

        Events may be ``wait_seconds`` apart.

        Raises:
            SubscriptionError: what failed may succeed a little later.
            RequestRefusedError: the request is refused; also while another subscription of the consumer holds the
                shard.
            StreamNotFoundError: the consumer or the shard does not exist.
            AccessError: the credentials are refused.
        """
        kind = iterator_arguments(position)
        start = {"Type": kind["ShardIteratorType"], "SequenceNumber": kind.get("StartingSequenceNumber")}
        start["Timestamp"] = kind.get("Timestamp")
        request = {
            "ConsumerARN": consumer_arn,
            "ShardId": shard_id,
            "StartingPosition": {name: value for name, value in start.items() if value is not None},
        }
        tally = tally or self.tally
        tally.subscriptions += 1
        timeout = urllib3.Timeout(connect=5.0, read=wait_seconds)
        try:
            return self._sent("SubscribeToShard", orjson.dumps(request), tally, timeout=timeout, preload_content=False)
        except TransientError as error:
            raise SubscriptionError(str(error)) from error

    def put_records(self, body: bytes) -> dict[str, Any]:
        """The answer of one PutRecords call, its request already JSON, repeated as ``call`` is.

        Records that the service refused are in the answer: it is the caller's to look, and to put these again.

        Raises:
            KinesisSourceError: as ``call`` says.
        """
        return self._repeated("PutRecords", body, lambda answer: dict(orjson.loads(answer)))

    def call(self, action: str, request: dict[str, Any]) -> dict[str, Any]:
        """The answer to one request, repeated while the failure may pass.

        Raises:
            EndpointError: it kept failing for ``patience_seconds``, or the endpoint is not a URL.
            StreamNotFoundError: the stream, or what is in it, does not exist.
            AccessError: the credentials are missing or refused, or lack a permission.
            RequestRefusedError: the service refused it for another reason.
        """
        # The answer to what has nothing to tell (DeregisterStreamConsumer) has no body.
        return self._repeated(action, orjson.dumps(request), lambda body: dict(orjson.loads(body or b"{}")))

    def _repeated(
        self, action: str, request: bytes, read: Callable[[bytes], _Answer], tally: Tally | None = None
    ) -> _Answer:
        """The answer as ``read`` understands it; what it does not understand is asked for again."""
        try:
            return patiently(
                lambda: self._once(action, request, read, tally or self.tally),
                self.patience_seconds,
                f"{action} at {self._url}",
            )
        except TransientError as error:
            raise self._gave_up(action, error) from error

    def _gave_up(self, action: str, error: TransientError) -> EndpointError:
        return EndpointError(
            f"{action} at {self._url} kept failing for {self.patience_seconds:.0f} s: {error}. Check that the endpoint "
            "is up and reachable from the driver and the executors (endpointUrl, region, proxies), then restart the "
            "query: it resumes where it was"
        )

    def _once(self, action: str, body: bytes, read: Callable[[bytes], _Answer], tally: Tally) -> _Answer:
        tally.calls += 1
        # Waits for the whole body: one that breaks off is repeated as a whole.
        answer = self._sent(action, body, tally)
        tally.bytes += len(answer.data)
        try:
            return read(answer.data)
        except (ValueError, TypeError, KeyError) as error:
            raise TransientError(f"the answer is not what the API promises ({error!r})") from error

    def _sent(self, action: str, body: bytes, tally: Tally, **how: Any) -> urllib3.BaseHTTPResponse:
        """The answer to one signed request, if it is a success. Raises TransientError and what _refuse raises."""
        headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": f"Kinesis_20131202.{action}"}
        signed = AWSRequest("POST", self._url, data=body, headers=headers)
        keys = self._keys.current()
        SigV4Auth(keys, "kinesis", self.region).add_auth(signed)
        sent_at = time.time()
        try:
            answer = self._connections.send("POST", self._url, body=body, headers=dict(signed.headers.items()), **how)
            self.clock.learn(answer.headers.get("Date"), sent_at, time.time())
            if answer.status == 200:
                return answer
            data = answer.data
        except urllib3.exceptions.LocationValueError as error:
            raise EndpointError(f"endpointUrl {self._url} is not a URL: {error}") from error
        except urllib3.exceptions.HTTPError as error:
            raise TransientError(str(error)) from error
        tally.bytes += len(data)
        try:
            self._refuse(action, body, answer.status, data, tally)
        except AccessError as error:
            if self._keys.renewed(keys):
                raise TransientError(f"the credentials were replaced: {error}") from error
            raise
        raise AssertionError("unreachable")

    def _refuse(self, action: str, body: bytes, status: int, data: bytes, tally: Tally) -> None:
        """Raise what an error answer means."""
        try:
            answer = orjson.loads(data)
            code = str(answer.get("__type", "")).rsplit("#", 1)[-1]
            message = str(answer.get("message") or answer.get("Message") or "")
        except (ValueError, AttributeError):
            code, message = "", data[:200].decode(errors="replace")
        if code == "ExpiredIteratorException":
            raise IteratorExpiredError(message)
        if code in _THROTTLES or status == 429:
            tally.throttles += 1
            raise TransientError(f"{code}: {message}")
        if code == "ResourceInUseException" and action == "ListShards":
            raise TransientError(f"the stream is being created or deleted: {message}")
        if code == "ResourceNotFoundException":
            raise StreamNotFoundError(
                f"the stream, or its shard, does not exist in region {self.region} at {self._url} ({message}): "
                "create it, or correct streamName or streamARN, region, endpointUrl, or the account of the credentials"
            )
        if code in _ACCESS or status in (401, 403):
            raise AccessError(
                f"{action} was refused with {code or status} ({message}): check the credentials of the default AWS "
                "chain on the driver and the executors, the machine's clock, and that they allow kinesis:ListShards, "
                "kinesis:DescribeStreamSummary, kinesis:GetShardIterator and kinesis:GetRecords on the stream; to "
                "write, kinesis:PutRecords; with a consumer, kinesis:DescribeStreamConsumer, RegisterStreamConsumer, "
                "DeregisterStreamConsumer and SubscribeToShard on the stream and on its consumers (…/consumer/*)"
            )
        if status >= 500:
            raise TransientError(f"HTTP {status} {code} {message}")
        # Records are the user's data, and no business of a log's.
        shown = f"{len(body)} bytes" if action == "PutRecords" else repr(body[:300])
        refusal = f"{action} was refused with {code or status}: {message} (request: {shown})"
        raise RequestRefusedError(code, refusal)


@functools.cache
def shared_client(region: str, endpoint_url: str | None, identity: Identity = DEFAULT_IDENTITY) -> KinesisClient:
    """One client a process, endpoint and identity, so that connections stay open from one micro-batch to the next.

    Raises:
        AccessError: as ``KinesisClient`` says.
    """
    return KinesisClient(region, endpoint_url, identity=identity)
