"""What is asked of every client, and what each answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from pydantic import BaseModel

TIMEOUT = 10.0
Messages = list[Any]


class City(BaseModel):
    """What structured answers are about."""

    name: str
    people: int


@dataclass
class Reply:
    """An answer, as far as a client shows it."""

    text: str = ""
    thinking: str = ""
    calls: list[tuple[str, Any]] = field(default_factory=list)
    ids: list[str | None] = field(default_factory=list)
    """Of the calls."""
    finish: Any = None
    """In the client's words."""
    prompt: int | None = None
    """All tokens of the prompt, cached or not."""
    output: int | None = None
    """All tokens of the answer, thinking or not."""
    parsed: Any = None
    native: Any = None
    """What goes back into the conversation."""


@dataclass(kw_only=True)
class Wishes:
    """What a request asks for beside an answer."""

    system: str = ""
    tools: dict[str, Any] = field(default_factory=dict)
    """Schemas by name."""
    schema: type[BaseModel] | None = None
    thinking: bool = False


NOTHING = Wishes()
C = TypeVar("C")


class Listener(Generic[C]):
    """One client.

    Args:
        url: Of the gateway.
        key: The client's.
    """

    name = ""
    dialect = ""
    shows_thinking = True
    returns_seals = True
    """Whether its types have a place for what seals the thinking."""
    ends: tuple[Any, Any] = ("stop", "tool_calls")
    """How an answer ends that is complete, and one that calls tools."""
    broken: tuple[type[Exception], ...] = ()
    """What it raises for an answer that broke off."""

    def __init__(self, url: str, key: str) -> None:
        self.url = url
        self.key = key
        self.headers: Any = {}
        """Of the last response."""
        self.client = self.connect()

    def connect(self) -> C:
        raise NotImplementedError

    def close(self) -> None:
        self.client.close()  # type: ignore[attr-defined]

    @property
    def request_id(self) -> str:
        return str(self.headers["x-request-id"])

    def _http(self) -> dict[str, Any]:
        """What every one of their HTTP clients is made with."""

        def note(response: Any) -> None:
            self.headers = response.headers

        return {"trust_env": False, "event_hooks": {"response": [note]}}

    # A conversation.

    def user(self, text: str, image: str = "") -> Messages:
        """A turn of the user's, with a PNG in base64 if there is one."""
        raise NotImplementedError

    def results(self, reply: Reply, texts: Sequence[str]) -> Messages:
        """What the tools returned that ``reply`` calls, in their order."""
        raise NotImplementedError

    def ask(
        self,
        model: str,
        messages: Messages,
        wishes: Wishes = NOTHING,
        *,
        stream: bool = False,
    ) -> Reply:
        """Ask for the next turn, and read all of it."""
        raise NotImplementedError

    def pieces(self, model: str, messages: Messages) -> Iterator[str]:
        """The text of a streamed answer, piece by piece; closing it hangs up."""
        raise NotImplementedError

    def listed(self) -> list[str]:
        """The names of the models."""
        raise NotImplementedError

    # Errors.

    def refused(self, status: int) -> type[Exception]:
        """What it raises for a status."""
        raise NotImplementedError

    def status_of(self, error: Exception) -> int:
        raise NotImplementedError
