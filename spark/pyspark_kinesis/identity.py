"""As whom the requests are made: AWS's default chain, a profile, or a role that either of them assumes."""

from dataclasses import dataclass
from functools import partial
from typing import Any

from botocore.credentials import AssumeRoleCredentialFetcher, DeferredRefreshableCredentials
from botocore.exceptions import BotoCoreError
from botocore.session import Session

from pyspark_kinesis.errors import AccessError


@dataclass(frozen=True)
class Identity:
    """What options say of it. Secrets never are options: they would be in query plans, in logs and in the UI."""

    profile: str | None = None
    role_arn: str | None = None
    role_session_name: str = "pyspark-kinesis"
    role_external_id: str | None = None
    sts_endpoint_url: str | None = None


DEFAULT = Identity()


def credentials_of(identity: Identity, region: str) -> Any:
    """Credentials as botocore has them, a role's renewed before they expire.

    Raises AccessError where there are none.
    """
    try:
        session = Session(profile=identity.profile)
        credentials = session.get_credentials()
    except BotoCoreError as error:
        raise AccessError(f"the AWS configuration cannot be used ({error}): check AWS_* and ~/.aws") from error
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
