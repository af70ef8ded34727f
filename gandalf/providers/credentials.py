"""What a provider proves itself with where that does not last for ever.

An API key stands in the configuration. Tokens and temporary keys run out, so somebody
keeps them fresh: ``actors.credentials``, which asks a fetcher, a plain blocking
function that runs in a thread and returns an immutable value. A provider asks what is
held of it, for each request: ``await self.credential.get()``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from typing import Generic, Protocol, TypeVar

import msgspec


class Expiring(Protocol):
    """A credential's value: immutable, and good for some time."""

    @property
    def expires_at(self) -> float:
        """Unix time in seconds; ``inf`` if nobody said that it ends."""


class Token(msgspec.Struct, frozen=True):
    """A bearer token."""

    value: str
    expires_at: float = math.inf
    project: str = ""
    """The Google project that the credentials belong to, if they know."""

    def __repr__(self) -> str:
        return f"Token(***, expires_at={self.expires_at})"

    @property
    def header(self) -> tuple[bytes, bytes]:
        """The header field that carries it."""
        return b"authorization", b"Bearer " + self.value.encode()


class AwsKeys(msgspec.Struct, frozen=True):
    """An access key of Amazon's, temporary if there is a ``token``."""

    access_key: str
    secret_key: str
    token: str | None = None
    expires_at: float = math.inf

    def __repr__(self) -> str:
        return f"AwsKeys(***, expires_at={self.expires_at})"


T = TypeVar("T", bound=Expiring)
T_co = TypeVar("T_co", bound=Expiring, covariant=True)


class Credential(Protocol[T_co]):
    """One credential, which its owner keeps fresh."""

    def current(self) -> T_co | None:
        """Return what is held; None if nothing is, or it is about to expire."""

    async def get(self) -> T_co:
        """Return what is held, waiting only if nothing that is good is.

        Raises:
            UpstreamUnavailable: There is none to be had, for now.
        """


class FetchFailed(Exception):
    """A credential could not be fetched. The message holds nothing secret."""


class Keeper(Protocol):
    """Who keeps credentials fresh. Implemented by ``gandalf.actors.credentials``."""

    def keep(
        self, name: str, identity: Hashable, fetch: Callable[[], T]
    ) -> Credential[T]:
        """Return the credential that ``fetch`` fetches; fetching begins now.

        Args:
            name: The provider's; what the log and the metrics call it.
            identity: Those of the same identity are one credential.
            fetch: Blocking; runs in a thread. Raises FetchFailed.
        """


class Fixed(Generic[T]):
    """A credential that stands in the configuration."""

    def __init__(self, value: T) -> None:
        self._value = value

    def current(self) -> T:
        """Return it."""
        return self._value

    async def get(self) -> T:
        """Return it."""
        return self._value
