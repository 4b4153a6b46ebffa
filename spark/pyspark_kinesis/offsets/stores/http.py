"""What stores over HTTP share: kept-alive connections, and patience with what a repetition may cure."""

from collections.abc import Callable, Mapping
from typing import TypeVar

import urllib3

from pyspark_kinesis.api.connections import Connections
from pyspark_kinesis.api.retries import TransientError, patiently
from pyspark_kinesis.errors import EndpointError, OptionError

T = TypeVar("T")


class PatientHttp:
    """Requests to one service, repeated with jitter; safe to share between threads, not across a fork."""

    def __init__(self, place: str, patience_seconds: float, connections: int, profile: str | None = None) -> None:
        self.place = place
        self.patience_seconds = patience_seconds
        self._connections = Connections(connections, profile)

    def repeat(self, attempt: Callable[[], T]) -> T:
        """What ``attempt`` returns, repeated while it raises TransientError; EndpointError when patience ends."""
        try:
            return patiently(attempt, self.patience_seconds, f"the ledger at {self.place}")
        except TransientError as error:
            raise EndpointError(
                f"the ledger at {self.place} kept failing for {self.patience_seconds:.0f} s: {error}. Check that it is "
                "up and reachable from the driver and the executors (ledgerLocation, ledgerEndpointUrl, proxies), then "
                "restart the query: it resumes where it was"
            ) from error

    def send(self, method: str, url: str, body: bytes, headers: Mapping[str, str]) -> urllib3.BaseHTTPResponse:
        """One request with its whole answer, redirects included as they are. Raises TransientError, OptionError."""
        try:
            return self._connections.send(method, url, body=body, headers=headers)
        except urllib3.exceptions.LocationValueError as error:
            raise OptionError(
                f"the ledger's address {url} is not a URL ({error}): correct ledgerEndpointUrl"
            ) from error
        except urllib3.exceptions.HTTPError as error:
            raise TransientError(str(error)) from error
