"""Connections as botocore makes them: through the proxies and with the certificate authorities that are set.

Sources: "Using environment variables" and "Configuration" of the botocore and boto3 guides: HTTP_PROXY, HTTPS_PROXY,
NO_PROXY, AWS_CA_BUNDLE (``ca_bundle`` of a profile), REQUESTS_CA_BUNDLE.
"""

import os
import ssl
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import urllib3
from botocore.exceptions import BotoCoreError
from botocore.httpsession import ProxyConfiguration, where
from botocore.session import Session
from botocore.utils import get_environ_proxies

from pyspark_kinesis.errors import AccessError

_MAX_SERVERS = 64
# Long enough for 10 MB over a slow line; a call that hangs longer is tried again.
_TIMEOUT = urllib3.Timeout(connect=5.0, read=30.0)


class Connections:
    """Connections of one process that stay open; safe to share between threads, not across a fork.

    Where there are many servers (a ledger on HDFS meets all its DataNodes), those of the one that was asked longest ago
    are closed; an answer that is still being read is read to its end.
    """

    def __init__(self, size: int, profile: str | None = None) -> None:
        self._size = size
        self._profile = profile
        # The one that was asked last comes last.
        self._pools: OrderedDict[tuple[str, ...], urllib3.PoolManager] = OrderedDict()
        self._lock = threading.Lock()

    def send(self, method: str, url: str, **how: Any) -> urllib3.BaseHTTPResponse:
        """The answer to one request, not repeated; redirects are the caller's to follow.

        Raises:
            AccessError: a bundle of certificate authorities, or a profile, cannot be read.
            urllib3.exceptions.HTTPError: the server cannot be reached, or its answer broke off.
        """
        return self._pool(url).urlopen(method, url, redirect=False, **how)

    def _pool(self, url: str) -> urllib3.PoolManager:
        server = urlsplit(url)[:2]
        with self._lock:
            # As in botocore, the environment counts as it is when a server is first asked.
            if server not in self._pools:
                self._pools[server] = self._made(url, tls=server[0] == "https")
            self._pools.move_to_end(server)
            if len(self._pools) > _MAX_SERVERS:
                self._pools.popitem(last=False)  # urllib3 closes it, once nobody uses it any more
            return self._pools[server]

    def _made(self, url: str, *, tls: bool) -> urllib3.PoolManager:
        how: dict[str, Any] = {"num_pools": 8, "maxsize": self._size, "retries": False, "timeout": _TIMEOUT}
        if tls:
            how["ssl_context"] = self._trusted()
        proxies = ProxyConfiguration(get_environ_proxies(url))
        # botocore's types leave out that there may be none.
        proxy: str | None = proxies.proxy_url_for(url) or None
        if proxy is None:
            return urllib3.PoolManager(**how)
        return urllib3.ProxyManager(proxy, proxy_headers=proxies.proxy_headers_for(proxy), **how)

    def _trusted(self) -> ssl.SSLContext:
        """Whom to trust: the bundle that is set, or those of the system and of botocore."""
        bundle = None
        try:
            bundle = Session(profile=self._profile).get_config_variable("ca_bundle")
            bundle = bundle or os.environ.get("REQUESTS_CA_BUNDLE")
            if bundle is None:
                context = ssl.create_default_context()
                context.load_verify_locations(where())
            elif Path(bundle).is_dir():
                context = ssl.create_default_context(capath=bundle)
            else:
                context = ssl.create_default_context(cafile=bundle)
        except (OSError, BotoCoreError) as error:
            raise AccessError(
                f"the certificate authorities {bundle or 'of the AWS configuration'} cannot be read ({error}): correct "
                "AWS_CA_BUNDLE, ca_bundle of the profile, or REQUESTS_CA_BUNDLE"
            ) from error
        # Python sets it since 3.13, botocore does not: certificates that proxies of companies make would be refused.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        return context
