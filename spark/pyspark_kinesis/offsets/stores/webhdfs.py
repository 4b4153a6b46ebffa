"""A ledger on HDFS, over WebHDFS: HTTP only, no JVM and no native library in a Python worker.

Source: Hadoop's "WebHDFS REST API". HttpFS speaks the same. The user is named, not proven: Kerberos and delegation
tokens are out of scope.
"""

import getpass
import os
import uuid
from typing import Any
from urllib.parse import quote, urlencode

import orjson
import urllib3

from pyspark_kinesis.api.retries import TransientError
from pyspark_kinesis.errors import AccessError, LedgerError
from pyspark_kinesis.offsets.stores.http import PatientHttp

# A generic IOException is what the lack of a live DataNode looks like.
_TRANSIENT = {"StandbyException", "RetriableException", "SafeModeException", "IOException", "RemoteException"}
_ACCESS = {"AccessControlException", "SecurityException", "AuthenticationException", "InvalidToken"}


class WebHdfsStore:
    """A store in an HDFS folder. A put is acknowledged by all DataNodes of its pipeline, as HDFS does by default.

    With several NameNodes, whichever is active is used. What may pass (a NameNode in standby or safe mode, 5xx, a
    broken connection) is repeated for ``patience_seconds``, then raises EndpointError.
    """

    concurrency = 8

    def __init__(
        self, namenodes: list[str], root: str, *, user: str | None = None, patience_seconds: float = 60.0
    ) -> None:
        self._namenodes = [url.rstrip("/") for url in namenodes]
        self._root = root
        self._user = user or os.environ.get("HADOOP_USER_NAME") or getpass.getuser()
        self._active = 0
        self._http = PatientHttp(f"{self._namenodes[0]}{root or '/'}", patience_seconds, self.concurrency)

    def put_if_absent(self, path: str, content: bytes) -> bool:
        folder, _, name = path.rpartition("/")

        def write() -> str:
            # A name of its own for each attempt: one that broke off may still hold the lease of its file.
            draft = f"{folder}/.{name}.{uuid.uuid4().hex}".lstrip("/")
            self._once("PUT", draft, "CREATE", content, overwrite="false")
            return draft

        draft = self._http.repeat(write)
        # RENAME refuses a target that exists: a reader sees a whole file or none, and of two writers one wins.
        renamed = self._call("PUT", draft, "RENAME", destination=f"{self._root}/{path}")
        if renamed is not None and orjson.loads(renamed)["boolean"]:
            return True
        self.delete(draft)
        if self.get(path) is None:
            raise LedgerError(f"HDFS refuses to rename {draft} to {path} in {self._http.place}: is that a folder?")
        return False

    def get(self, path: str) -> bytes | None:
        return self._call("GET", path, "OPEN")

    def list(self, folder: str) -> list[str]:
        listed = self._call("GET", folder, "LISTSTATUS")
        statuses: list[dict[str, Any]] = orjson.loads(listed)["FileStatuses"]["FileStatus"] if listed else []
        return sorted(name for name in (str(status["pathSuffix"]) for status in statuses) if name[:1] not in ("", "."))

    def delete(self, path: str) -> None:
        self._call("DELETE", path, "DELETE", recursive="true")

    def delete_folder(self, folder: str) -> None:
        self.delete(folder)

    def _call(self, method: str, path: str, operation: str, **parameters: str) -> bytes | None:
        """One operation with its repetitions; None if there is no such file."""
        return self._http.repeat(lambda: self._once(method, path, operation, None, **parameters))

    def _once(self, method: str, path: str, operation: str, content: bytes | None, **parameters: str) -> bytes | None:
        """One operation: the NameNode's answer, or that of the DataNode that it sends us to.

        ``content`` goes to the latter only: the NameNode would have to read it to no purpose.
        """
        turn = self._active
        query = urlencode({"op": operation, "user.name": self._user, **parameters}, quote_via=quote)
        url = f"{self._namenodes[turn % len(self._namenodes)]}/webhdfs/v1{quote(f'{self._root}/{path}')}?{query}"
        try:
            answer = self._http.send(method, url, b"", {})
            if answer.status == 307:
                headers = {} if content is None else {"Content-Type": "application/octet-stream"}
                answer = self._http.send(method, answer.headers["Location"], content or b"", headers)
            if 200 <= answer.status < 300:
                return answer.data
            self._refuse(answer)
            return None
        except TransientError:
            # Another thread may have moved on already.
            if self._active == turn:
                self._active = turn + 1
            raise

    def _refuse(self, answer: urllib3.BaseHTTPResponse) -> None:
        """Raise what an error answer means, unless it is that there is no such file."""
        try:
            remote = orjson.loads(answer.data)["RemoteException"]
            name, message = str(remote["exception"]), str(remote.get("message", "")).partition("\n")[0]
        except (ValueError, KeyError, TypeError):
            name, message = "", answer.data[:200].decode(errors="replace")
        if name == "FileNotFoundException":
            return
        what = f"{self._http.place} answered {answer.status} {name} ({message})"
        if name in _ACCESS or answer.status == 401:
            raise AccessError(
                f"{what}: give the user {self._user!r} the folder of ledgerLocation, or name another one, as "
                "webhdfs://user@host:port/path or in HADOOP_USER_NAME. Kerberos is not supported"
            )
        if name in _TRANSIENT or answer.status >= 500:
            raise TransientError(what)
        raise LedgerError(f"{what}: check ledgerLocation, and the space and quota that HDFS has for it")
