"""Keys for Amazon's cloud, by botocore's credential chain.

Environment, shared files and their profiles (which may assume a role, or ask an SSO or
a process), web identities, containers, instances. Each fetch begins anew: keys that
were replaced count, and temporary ones are new ones.
https://docs.aws.amazon.com/boto3/latest/guide/credentials.html
"""

from __future__ import annotations

import datetime as dt
import logging
import math

from gandalf.providers.credentials import AwsKeys, FetchFailed


def fetch(profile: str = "") -> AwsKeys:
    """Return the keys of ``profile``, or of the default chain.

    Blocks, also to import botocore, which those who do not need it are spared.

    Raises:
        FetchFailed: There are none to be had.
    """
    import botocore.session  # type: ignore[import-untyped]
    from botocore import exceptions

    # It would log what a process or a server said, with whatever that holds.
    logging.getLogger("botocore.credentials").setLevel(logging.CRITICAL)
    try:
        session = botocore.session.Session(profile=profile or None)
        credentials = session.get_credentials()
        keys = credentials.get_frozen_credentials() if credentials else None
    except exceptions.ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        raise FetchFailed(f"AWS refused: {code}") from None
    except exceptions.BotoCoreError as error:
        # Its text may be what a process or a server said.
        raise FetchFailed(type(error).__name__) from None
    if keys is None or not keys.access_key or not keys.secret_key:
        raise FetchFailed("AWS's credential chain found no keys")
    # Only botocore's own refreshing reads it; keys that do not expire have none.
    expiry = getattr(credentials, "_expiry_time", None)
    return AwsKeys(
        keys.access_key, keys.secret_key, keys.token or None, _unix_time(expiry)
    )


def _unix_time(expiry: dt.datetime | None) -> float:
    return expiry.timestamp() if expiry is not None else math.inf
