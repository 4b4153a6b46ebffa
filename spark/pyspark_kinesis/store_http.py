"""What stores over HTTP share: kept-alive connections, and patience with what a repetition may cure."""

from collections.abc import Callable, Mapping
from typing import TypeVar

import urllib3
from tenacity import Retrying, retry_if_exception_type, stop_before_delay, wait_random_exponential

from pyspark_kinesis.errors import EndpointError, OptionError

T = TypeVar("T")

_TIMEOUT = urllib3.Timeout(connect=5.0, read=30.0)
_FIRST_PATIENCE_SECONDS = 5.0


class TransientError(Exception):
    """A failure that a repetition may cure."""


class PatientHttp:
    """Requests to one service, repeated with jitter; safe to share between threads, not across a fork."""

    def __init__(self, place: str, patience_seconds: float, connections: int) -> None:
        self.place = place
        self.patience_seconds = patience_seconds
        self._pool = urllib3.PoolManager(num_pools=8, maxsize=connections, retries=False, timeout=_TIMEOUT)
        self._reached = False

    def repeat(self, attempt: Callable[[], T]) -> T:
        """What ``attempt`` returns, repeated while it raises TransientError; EndpointError when patience ends."""
        # Nobody waits a minute to be told of a typing error in an address.
        patience = self.patience_seconds if self._reached else min(self.patience_seconds, _FIRST_PATIENCE_SECONDS)
        retrying = Retrying(
            retry=retry_if_exception_type(TransientError),
            stop=stop_before_delay(patience),
            wait=wait_random_exponential(multiplier=0.05, max=5.0),
            reraise=True,
        )
        try:
            return retrying(attempt)
        except TransientError as error:
            raise EndpointError(
                f"the ledger at {self.place} kept failing for {patience:.0f} s: {error}. Check that it is up and "
                "reachable from the driver and the executors (ledgerLocation, ledgerEndpointUrl), then restart the "
                "query: it resumes where it was"
            ) from error

    def send(self, method: str, url: str, body: bytes, headers: Mapping[str, str]) -> urllib3.BaseHTTPResponse:
        """One request with its whole answer, redirects included as they are. Raises TransientError, OptionError."""
        try:
            answer = self._pool.urlopen(method, url, body=body, headers=headers, redirect=False)
        except urllib3.exceptions.LocationValueError as error:
            raise OptionError(f"the ledger's address {url} is no URL ({error}): correct ledgerEndpointUrl") from error
        except urllib3.exceptions.HTTPError as error:
            raise TransientError(str(error)) from error
        self._reached = True
        return answer
