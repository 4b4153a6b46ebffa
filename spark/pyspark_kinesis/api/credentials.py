"""Which credentials are used, and in which region: AWS's default chain, a profile, or a role that either assumes."""

import math
import os
import threading
import time
from dataclasses import dataclass
from functools import partial
from typing import Any

from botocore.credentials import AssumeRoleCredentialFetcher, DeferredRefreshableCredentials, ReadOnlyCredentials
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as UnreachableError
from botocore.session import Session

from pyspark_kinesis.api.retries import TransientError
from pyspark_kinesis.errors import AccessError


@dataclass(frozen=True)
class Identity:
    """Which credentials options ask for. Secrets are never options: plans, logs and the UI would show them."""

    profile: str | None = None
    """A profile of ``~/.aws``; None: AWS's default chain."""
    role_arn: str | None = None
    """A role to assume with these credentials; None: they are used themselves."""
    role_session_name: str = "pyspark-kinesis"
    """Name of the role's session, which CloudTrail shows."""
    role_external_id: str | None = None
    """The external ID that the role's trust policy may ask for."""
    sts_endpoint_url: str | None = None
    """Where STS is not AWS's own."""


DEFAULT = Identity()
"""AWS's default chain."""
_RENEW_SECONDS = 20.0
"""Between two replacements of refused credentials: a role gives others each time, which may be refused, too."""
DEFAULT_REGION = "us-east-1"
"""The region where nothing names one."""


def region_of(profile: str | None) -> str:
    """The region that the environment or the profile names, else us-east-1.

    AWS_REGION comes first, as in the AWS SDKs' reference guide; then what botocore knows: AWS_DEFAULT_REGION, and
    ``region`` of the profile.

    Raises:
        AccessError: the profile is not there, or the AWS configuration cannot be read.
    """
    if region := os.environ.get("AWS_REGION"):
        return region
    try:
        return Session(profile=profile).get_config_variable("region") or DEFAULT_REGION
    except BotoCoreError as error:
        raise _unusable(error) from error


class Keys:
    """The credentials of an identity, read again from where they come from when the service refuses them.

    botocore renews those of a role or of an instance before they expire; keys in a profile it reads once a process, and
    somebody may replace them. Safe to share between threads.

    Raises:
        AccessError: there are none.
    """

    def __init__(self, identity: Identity, region: str) -> None:
        self._identity = identity
        self._region = region
        self._lock = threading.Lock()
        self._renewed_at = -math.inf
        self._credentials = credentials_of(identity, region)

    def current(self) -> ReadOnlyCredentials:
        """Those to sign with.

        Raises:
            AccessError: there are none any more, or the role cannot be assumed.
            TransientError: the service that gives them cannot be reached.
        """
        credentials = self._credentials
        try:
            return self._frozen(credentials)
        except AccessError:
            # A role may be assumed with keys that were replaced.
            with self._lock:
                if self._credentials is credentials:
                    self._credentials = credentials_of(self._identity, self._region)
            return self._frozen(self._credentials)

    def renewed(self, refused: ReadOnlyCredentials) -> bool:
        """Whether there are others by now than those that were refused: reads them anew, takes new ones once in 20 s.

        Raises:
            AccessError: as ``current`` says.
            TransientError: as ``current`` says.
        """
        with self._lock:
            if self._frozen(self._credentials) != refused:  # another thread was quicker
                return True
            if time.monotonic() - self._renewed_at < _RENEW_SECONDS:
                return False
            self._credentials = credentials_of(self._identity, self._region)
            if self._frozen(self._credentials) == refused:
                return False
            self._renewed_at = time.monotonic()
            return True

    @staticmethod
    def _frozen(credentials: Any) -> ReadOnlyCredentials:
        try:
            frozen: ReadOnlyCredentials = credentials.get_frozen_credentials()
            return frozen
        except (UnreachableError, HTTPClientError) as error:
            raise TransientError(f"who gives the credentials cannot be reached: {error}") from error
        except ClientError as error:
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            if status >= 500 or "Throttl" in str(error.response.get("Error", {}).get("Code")):
                raise TransientError(str(error)) from error
            raise AccessError(
                f"the role cannot be assumed ({error}): check roleArn, roleExternalId, and whether its trust policy "
                "names the credentials of the default AWS chain or of awsProfile"
            ) from error
        except BotoCoreError as error:
            raise _unusable(error) from error


def credentials_of(identity: Identity, region: str) -> Any:
    """Credentials as botocore has them, a role's renewed before they expire.

    Raises:
        AccessError: there are none, or the AWS configuration cannot be used.
    """
    try:
        session = Session(profile=identity.profile)
        credentials = session.get_credentials()
    except BotoCoreError as error:
        raise _unusable(error) from error
    if credentials is None:
        raise AccessError(
            "no AWS credentials found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (any value for an emulator), a "
            "profile, or a role, on the driver and on the executors"
        )
    if identity.role_arn is None:
        return credentials
    extra = {"RoleSessionName": identity.role_session_name}
    if identity.role_external_id:
        extra["ExternalId"] = identity.role_external_id
    fetcher = AssumeRoleCredentialFetcher(
        client_creator=partial(session.create_client, region_name=region, endpoint_url=identity.sts_endpoint_url),
        source_credentials=credentials,
        role_arn=identity.role_arn,
        extra_args=extra,
    )
    return DeferredRefreshableCredentials(refresh_using=fetcher.fetch_credentials, method="assume-role")


def _unusable(error: Exception) -> AccessError:
    return AccessError(f"the AWS configuration cannot be used ({error}): check AWS_* and ~/.aws")
