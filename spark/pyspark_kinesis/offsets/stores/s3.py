"""A ledger on S3, or on a server that speaks its protocol.

botocore signs and finds the endpoint and the credentials, urllib3 sends: half of what a put costs with boto3.
Sources: the S3 API reference (PutObject, GetObject, ListObjectsV2, DeleteObjects) and the S3 user guide, "How to
prevent object overwrites with conditional writes".
"""

import base64
import hashlib
import html
import threading
from collections.abc import Iterator
from functools import cached_property
from urllib.parse import quote, urlencode
from xml.etree import ElementTree as ET

import urllib3
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.session import get_session

from pyspark_kinesis.api.credentials import Identity, Keys
from pyspark_kinesis.api.retries import TransientError
from pyspark_kinesis.errors import AccessError, LedgerError
from pyspark_kinesis.offsets.stores.http import PatientHttp

_ACCESS = {"ExpiredToken", "InvalidToken", "TokenRefreshRequired", "RequestTimeTooSkewed"}
# 409: another conditional request to the key is under way, or the bucket is being changed.
_TRANSIENT = {"ConditionalRequestConflict", "OperationAborted", "RequestTimeout", "SlowDown", "Throttling"}
_CANARY = "put-if-absent.json"
_CANARY_CONTENT = b'{"why": "shows each new process that this store refuses to write a file that is there"}\n'
_DELETED_A_CALL = 1000


class S3Store:
    """A store under a prefix of a bucket. AWS promises what it needs: strong reads, and If-None-Match on PUT.

    Of another server, the first put of each process makes sure of the latter; a server that ignores it would lose
    exactly-once without a word. Throttles, 5xx, conflicts and broken connections are repeated for
    ``patience_seconds``, then raise EndpointError. AccessError and LedgerError name what else is refused.
    """

    concurrency = 16

    def __init__(
        self,
        bucket: str,
        prefix: str,
        *,
        region: str,
        endpoint_url: str | None = None,
        patience_seconds: float = 60.0,
        profile: str | None = None,
    ) -> None:
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._region = region
        self._endpoint_url = endpoint_url
        self._http = PatientHttp(f"s3://{bucket}/{prefix}", patience_seconds, self.concurrency, profile)
        self._profile = profile
        self._refuses_second = endpoint_url is None
        self._lock = threading.Lock()

    def put_if_absent(self, path: str, content: bytes) -> bool:
        if not self._refuses_second:
            with self._lock:
                self._try_out()
        return self._put(path, content)

    def get(self, path: str) -> bytes | None:
        answer = self._call("GET", self._prefix + path, accepted=("NoSuchKey",))
        return answer.data if answer.status == 200 else None

    def list(self, folder: str) -> list[str]:
        start = self._prefix + (f"{folder}/" if folder else "")
        names: list[str] = []
        for page in self._pages(prefix=start, delimiter="/"):
            names += _texts(page, "Contents/Key") + _texts(page, "CommonPrefixes/Prefix")
        return sorted(name for name in (name.removeprefix(start).rstrip("/") for name in names) if name)

    def delete(self, path: str) -> None:
        self._call("DELETE", self._prefix + path, accepted=("NoSuchKey",))

    def delete_folder(self, folder: str) -> None:
        # All pages first: some servers' continuation tokens do not survive that what they point at is deleted.
        keys = [key for page in self._pages(prefix=f"{self._prefix}{folder}/") for key in _texts(page, "Contents/Key")]
        for first in range(0, len(keys), _DELETED_A_CALL):
            objects = "".join(
                f"<Object><Key>{html.escape(key)}</Key></Object>" for key in keys[first : first + _DELETED_A_CALL]
            )
            body = f"<Delete><Quiet>true</Quiet>{objects}</Delete>".encode()
            digest = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
            answer = self._call("POST", "", query="delete=", body=body, headers={"Content-MD5": digest})
            if refused := _texts(_parsed(answer.data), "Error/Code"):
                raise LedgerError(f"{self._http.place}: {len(refused)} files could not be deleted ({refused[0]})")

    def _try_out(self) -> None:
        if self._refuses_second:
            return
        if self._put(_CANARY, _CANARY_CONTENT) and self._put(_CANARY, _CANARY_CONTENT):
            raise LedgerError(
                f"{self._http.place}: the server at {self._endpoint_url} ignores If-None-Match, so that two attempts "
                "could record different ends of one micro-batch. Take a release of it that has conditional writes, or "
                "put ledgerLocation elsewhere"
            )
        self._refuses_second = True

    def _put(self, path: str, content: bytes) -> bool:
        headers = {"If-None-Match": "*", "Content-Type": "application/json"}
        key, accepted = self._prefix + path, ("PreconditionFailed",)
        return self._call("PUT", key, body=content, headers=headers, accepted=accepted).status == 200

    def _pages(self, **parameters: str) -> Iterator[ET.Element]:
        token: dict[str, str] = {}
        while True:
            query = urlencode({"list-type": "2", **parameters, **token}, quote_via=quote)
            page = _parsed(self._call("GET", "", query=query).data)
            yield page
            following = _texts(page, "NextContinuationToken")
            if not following:
                return
            token = {"continuation-token": following[0]}

    def _call(
        self,
        method: str,
        key: str,
        *,
        query: str = "",
        body: bytes = b"",
        headers: dict[str, str] | None = None,
        accepted: tuple[str, ...] = (),
    ) -> urllib3.BaseHTTPResponse:
        """One request with its repetitions: 2xx, or an error whose code is in ``accepted``."""

        def attempt() -> urllib3.BaseHTTPResponse:
            url = f"{self._base}/{quote(key, safe='/~')}" + (f"?{query}" if query else "")
            request = AWSRequest(method, url, data=body, headers=dict(headers or {}))
            keys = self._keys.current()
            S3SigV4Auth(keys, "s3", self._region).add_auth(request)
            answer = self._http.send(method, url, body, dict(request.headers.items()))
            if 200 <= answer.status < 300:
                return answer
            try:
                self._refuse(answer, accepted)
            except AccessError as error:
                if self._keys.renewed(keys):
                    raise TransientError(f"the credentials were replaced: {error}") from error
                raise
            return answer

        return self._http.repeat(attempt)

    def _refuse(self, answer: urllib3.BaseHTTPResponse, accepted: tuple[str, ...]) -> None:
        """Raise what an error answer means, unless it is accepted."""
        code, message, region = _error(answer)
        if code in accepted:
            return
        region = answer.headers.get("x-amz-bucket-region") or region
        if answer.status in (301, 307, 400) and region and region != self._region:
            self._region = region
            self.__dict__.pop("_base", None)
            raise TransientError(f"the bucket is in {region}")
        what = f"{self._http.place} answered {answer.status} {code} ({message})"
        if code == "NotImplemented":
            raise LedgerError(f"{what}: it lacks what a ledger needs, such as conditional writes; choose another store")
        if answer.status >= 500 or answer.status == 429 or code in _TRANSIENT:
            raise TransientError(what)
        if code == "NoSuchBucket":
            raise LedgerError(f"{what}: create the bucket, or correct ledgerLocation or ledgerEndpointUrl")
        if answer.status in (401, 403) or code in _ACCESS:
            raise AccessError(
                f"{what}: check the clock and the credentials of the default AWS chain, or of awsProfile, on driver "
                "and executors. They must allow s3:GetObject, s3:PutObject and s3:DeleteObject below the prefix, and "
                "s3:ListBucket on the bucket: without the latter, S3 answers 403 for a file that is not there yet"
            )
        raise LedgerError(f"{what}: correct ledgerLocation or ledgerEndpointUrl, or ask who runs the store")

    @cached_property
    def _keys(self) -> Keys:
        try:
            return Keys(Identity(profile=self._profile), self._region)
        except AccessError as error:
            raise AccessError(f"no AWS credentials for the ledger at {self._http.place}: {error}") from error

    @cached_property
    def _base(self) -> str:
        return bucket_url(self._bucket, self._region, self._endpoint_url)


def bucket_url(bucket: str, region: str, endpoint_url: str | None = None) -> str:
    """A bucket's URL at AWS, or at another server."""
    if endpoint_url is not None:
        return f"{endpoint_url.rstrip('/')}/{bucket}"
    # Other servers come as endpoint_url, and are tried out: a configuration file must not bring one in unseen.
    session = get_session()
    session.set_config_variable("ignore_configured_endpoint_urls", True)
    client = session.create_client("s3", region_name=region)
    host = str(client.meta.endpoint_url).removeprefix("https://")
    # A dot in a bucket's name is more than S3's certificate covers.
    return f"https://{host}/{bucket}" if "." in bucket else f"https://{bucket}.{host}"


def _parsed(data: bytes) -> ET.Element:
    try:
        # From the server that holds the ledger; expat itself bounds the expansion of entities.
        return ET.fromstring(data)  # noqa: S314
    except ET.ParseError as error:
        raise LedgerError(f"the answer is not S3's XML ({error}): does ledgerEndpointUrl name an S3 server?") from error


def _texts(element: ET.Element, path: str) -> list[str]:
    return [found.text or "" for found in element.iterfind("/".join(f"{{*}}{name}" for name in path.split("/")))]


def _error(answer: urllib3.BaseHTTPResponse) -> tuple[str, str, str | None]:
    """Code, message, and the bucket's region if the answer tells."""
    try:
        body = _parsed(answer.data)
    except LedgerError:
        # Some servers, and proxies before them, leave the body out.
        code = "PreconditionFailed" if answer.status == 412 else ""
        return code, answer.data[:200].decode(errors="replace"), None
    texts = [_texts(body, name) for name in ("Code", "Message", "Region")]
    code, message, region = (found[0] if found else "" for found in texts)
    return code, message, region or None
