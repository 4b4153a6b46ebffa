"""The registered consumer of each stream that a query reads by SubscribeToShard: found, or registered and cleaned up.

A query deregisters what it registered, and nothing else. That it did is noted in the ledger before the call, so that a
restart after a kill goes on with the same consumer and cleans it up in the end. A note has an owner, the process that
plans, so that one that ends late does not deregister what its successor reads by.
"""

import logging
import time
import uuid
from collections.abc import Callable
from typing import Any

from pyspark_kinesis.api.client import KinesisClient
from pyspark_kinesis.errors import (
    ConsumerError,
    EndpointError,
    KinesisSourceError,
    RequestRefusedError,
    StreamNotFoundError,
)
from pyspark_kinesis.offsets.ledger import Ledger
from pyspark_kinesis.options.stream import Options, Stream

# Kinesis takes a few seconds to register a consumer, and to deregister one.
_PATIENCE_SECONDS = 120.0
_POLL_SECONDS = 0.25


class Consumers:
    """The consumers of one query, by stream name."""

    def __init__(
        self, client: KinesisClient, ledger: Ledger, options: Options, *, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._client = client
        self._ledger = ledger
        self._options = options
        self._sleep = sleep
        self._owner = uuid.uuid4().hex
        self._arns: dict[str, str] = {}
        # What this process is to deregister, by stream.
        self._ours: dict[str, dict[str, str]] = {}

    def arn(self, stream: str) -> str:
        """The ARN of a stream's consumer, found or registered at the first call, and ACTIVE.

        Raises ConsumerError, and AccessError where a permission is missing.
        """
        if stream not in self._arns:
            wanted = self._options.stream_named(stream)
            given = self._options.consumer_arns.get(stream)
            found = self._given(given) if given else self._named(wanted, str(self._options.consumer_name))
            self._arns[stream] = found
        return self._arns[stream]

    def close(self) -> None:
        """Deregister what this query registered. Failing is a warning, with what is left to do by hand."""
        for stream, who in self._ours.items():
            try:
                note = self._ledger.consumer(stream)
                if note and note["owner"] == self._owner:
                    self._client.call("DeregisterStreamConsumer", who)
                    self._ledger.note_consumer(stream, None)
                    logging.getLogger(__name__).info("deregistered the consumer %s of %s", who["ConsumerName"], stream)
            except StreamNotFoundError:
                self._ledger.note_consumer(stream, None)
            except Exception as error:
                logging.getLogger(__name__).warning(
                    "the consumer %s of %s stays registered, and is paid for, until the query runs again and ends, or "
                    "until you deregister it: %s", who["ConsumerName"], stream, error,
                )  # fmt: skip
        self._ours = {}

    def _given(self, arn: str) -> str:
        if self._described({"ConsumerARN": arn}) is None:
            raise ConsumerError(
                f"the consumer {arn} does not exist: register it, correct consumerARN, or set consumerName, which "
                "registers one"
            )
        return self._active({"ConsumerARN": arn})

    def _named(self, stream: Stream, name: str) -> str:
        summary = self._client.call("DescribeStreamSummary", dict(stream.arguments))["StreamDescriptionSummary"]
        who = {"StreamARN": str(summary["StreamARN"]), "ConsumerName": name}
        note = self._ledger.consumer(stream.name)
        if note and note["name"] != name:  # the option was changed after a kill
            self._deregister({**who, "ConsumerName": note["name"]})
            self._ledger.note_consumer(stream.name, None)
            note = None
        found = self._described(who)
        if found is not None and found["ConsumerStatus"] == "DELETING":
            self._wait(who, lambda now: now is None)
            found = None
        if found is None:
            self._take_over(stream.name, who)
            self._register(stream.name, who)
        elif note:
            self._take_over(stream.name, who)
        return self._active(who)

    def _take_over(self, stream: str, who: dict[str, str]) -> None:
        self._ledger.note_consumer(stream, {"name": who["ConsumerName"], "owner": self._owner})
        self._ours[stream] = who

    def _let_go(self, stream: str) -> None:
        self._ledger.note_consumer(stream, None)
        del self._ours[stream]

    def _register(self, stream: str, who: dict[str, str]) -> None:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        try:
            while not self._registered(stream, who):
                if time.monotonic() >= deadline:
                    raise ConsumerError(
                        f"{who['ConsumerName']} cannot be registered, as {who['StreamARN']} is being created, changed "
                        f"or deleted for {_PATIENCE_SECONDS:.0f} s: start the query again once the stream is ACTIVE"
                    )
                self._sleep(_POLL_SECONDS)
        except EndpointError as error:
            if "LimitExceeded" not in str(error):
                raise
            self._let_go(stream)
            raise ConsumerError(
                f"{who['ConsumerName']} cannot be registered on {who['StreamARN']} ({error}). A stream has at most 20 "
                "consumers: deregister one, or leave consumerName out, which reads by GetRecords"
            ) from error

    def _registered(self, stream: str, who: dict[str, str]) -> bool:
        """Whether there is one now; False while the stream is not ACTIVE."""
        try:
            self._client.call("RegisterStreamConsumer", who)
        except RequestRefusedError as error:
            if error.code != "ResourceInUseException":
                raise
            if self._described(who) is None:
                return False
            # Somebody else was faster, so it is theirs; or the answer to this one's first try was lost, and it stays.
            self._let_go(stream)
        return True

    def _deregister(self, who: dict[str, str]) -> None:
        try:
            self._client.call("DeregisterStreamConsumer", who)
        except StreamNotFoundError:
            pass
        except KinesisSourceError as error:
            logging.getLogger(__name__).warning("the former consumer %s stays registered: %s", who, error)

    def _active(self, who: dict[str, str]) -> str:
        return str(self._wait(who, lambda now: now is not None and now["ConsumerStatus"] == "ACTIVE")["ConsumerARN"])

    def _wait(self, who: dict[str, str], reached: Callable[[dict[str, Any] | None], bool]) -> dict[str, Any]:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not reached(found := self._described(who)):
            if time.monotonic() >= deadline:
                raise ConsumerError(
                    f"the consumer {who} is {found['ConsumerStatus'] if found else 'missing'} for "
                    f"{_PATIENCE_SECONDS:.0f} s: start the query again, or leave consumerName out"
                )
            self._sleep(_POLL_SECONDS)
        return found or {}

    def _described(self, who: dict[str, str]) -> dict[str, Any] | None:
        try:
            return dict(self._client.call("DescribeStreamConsumer", who)["ConsumerDescription"])
        except StreamNotFoundError:
            return None
