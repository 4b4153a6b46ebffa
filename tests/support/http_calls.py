"""Calls over HTTP that wait as long as a busy machine takes: httpx's own 5 s are for a quiet one."""

from functools import partial

import httpx

SECONDS = 120

get = partial(httpx.get, timeout=SECONDS)
post = partial(httpx.post, timeout=SECONDS)
request = partial(httpx.request, timeout=SECONDS)
stream = partial(httpx.stream, timeout=SECONDS)
client = partial(httpx.Client, timeout=SECONDS)
