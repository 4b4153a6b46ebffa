"""``asyncio.timeout``, which Python has since 3.11: before that, by the package async-timeout, whose code it became.

Both raise ``asyncio.TimeoutError``, which is the built-in TimeoutError since 3.11.
"""

import sys

if sys.version_info >= (3, 11):
    from asyncio import timeout
else:
    from async_timeout import timeout

__all__ = ["timeout"]
