"""Checks of AWS Signature Version 4, with botocore's own signer as the norm."""

import hmac
import re
from collections.abc import Mapping

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.compat import HTTPHeaders
from botocore.credentials import Credentials

from kinesis_emulator.errors import KinesisError

_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/]+)/\d+/(?P<region>[^/]+)/(?P<service>[^/]+)/aws4_request, *"
    r"SignedHeaders=(?P<headers>[^,]+), *Signature=(?P<signature>[0-9a-f]+)"
)


def check_signature(headers: Mapping[str, str], body: bytes, access_key: str, secret_key: str) -> None:
    """Pass a POST to / that was signed with the keys.

    Raises:
        KinesisError: InvalidSignatureException for any other; a signature's age is not checked.
    """
    parsed = _AUTHORIZATION.match(headers.get("Authorization", ""))
    if parsed is None or not all(name in headers for name in (*parsed["headers"].split(";"), "x-amz-date", "host")):
        raise KinesisError("InvalidSignatureException", "The Authorization header is not one of AWS4-HMAC-SHA256")
    request = AWSRequest(
        method="POST",
        url=f"http://{_text(headers['Host'])}/",
        data=body,
        headers={name: _text(headers[name]) for name in parsed["headers"].split(";")},
    )
    request.context["timestamp"] = headers["X-Amz-Date"]
    signer = _Signer(Credentials(access_key, secret_key), parsed["service"], parsed["region"])
    try:
        expected = signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request)
    except ValueError:  # no host, in Host
        expected = ""
    if not hmac.compare_digest(expected, parsed["signature"]):
        raise KinesisError(
            "InvalidSignatureException",
            "The request signature we calculated does not match the signature you provided. Check the secret key.",
        )


def _text(value: str) -> str:
    """A header; bytes of it that are not text are replaced, so that the signature differs."""
    return value.encode(errors="replace").decode()


class _Signer(SigV4Auth):
    """Signs the headers that it is given: botocore's own leaves out some, User-Agent for one, which others sign."""

    def headers_to_sign(self, request: AWSRequest) -> HTTPHeaders:
        headers = HTTPHeaders()
        for name, value in request.headers.items():
            headers[name.lower()] = value
        return headers
