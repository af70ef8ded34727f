"""What a client asks for: chats, completions of a prompt, and embeddings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from gandalf.dialects import json_object
from gandalf.dialects.base import UNREADABLE
from gandalf.dialects.base import Call as BaseCall
from gandalf.dialects.estimate import estimate_tokens
from gandalf.dialects.ollama.wire import ABSENT, Whole, is_empty
from gandalf.dialects.refusals import refusal
from gandalf.domain.errors import BadRequest


class _OptionsView(msgspec.Struct):
    num_predict: Whole | None = None
    seed: Whole | None = None
    temperature: float | None = None


class _AnyView(msgspec.Struct):
    model: str
    options: _OptionsView | None = None
    stream: bool | None = None


class _ChatView(_AnyView):
    messages: msgspec.Raw = ABSENT
    tools: msgspec.Raw = ABSENT


class _GenerateView(_AnyView):
    prompt: msgspec.Raw = ABSENT
    system: msgspec.Raw = ABSENT
    images: msgspec.Raw = ABSENT


class _EmbedView(_AnyView):
    input: msgspec.Raw = ABSENT


class _LegacyEmbedView(_AnyView):
    prompt: msgspec.Raw = ABSENT


# ``Governed`` compares names without regard to case, as Ollama's own parser does.
GOVERNED = json_object.Governed(
    "model", "stream", "messages", "prompt", "input", "options"
)

_decode_chat = msgspec.json.Decoder(_ChatView).decode
_decode_generate = msgspec.json.Decoder(_GenerateView).decode
_decode_embed = msgspec.json.Decoder(_EmbedView).decode
_decode_legacy_embed = msgspec.json.Decoder(_LegacyEmbedView).decode


class Call(BaseCall, kw_only=True):
    """A call of Ollama's, with the place of its model's name."""

    name: json_object.Span
    loads: bool = False
    """It only loads or unloads the model, and has nothing that could be answered."""

    def body_for(self, model: str) -> bytes:
        """Return the body for an upstream of the same dialect, asking for ``model``."""
        if model == self.model:
            return self.body
        end = json_object.value_end(self.body, self.name.start)
        span = json_object.Span(self.name.start, end)
        return json_object.splice(self.body, [(span, msgspec.json.encode(model))])


def read_call(
    operation: str, body: bytes, model: str = "", *, stream: bool = False
) -> Call:
    """Return what ``body`` asks for; nothing of it is in the URL.

    Raises:
        BadRequest: It is not JSON, lacks what every call has, has it in the wrong
            type, or says twice what may be said once.
    """
    with refusing_nonsense():
        if operation == "chat":
            return _chat_call(body)
        if operation == "generate":
            return _generate_call(body)
        return _embeddings_call(operation, body)


@contextmanager
def refusing_nonsense() -> Iterator[None]:
    """Turn what a decoder raises inside into BadRequest."""
    try:
        yield
    except UNREADABLE as error:
        raise refusal(error) from error


def _chat_call(body: bytes) -> Call:
    view = _decode_chat(body)
    tokens = estimate_tokens(view.messages) + len(view.tools) // 4
    return _generating("chat", body, view, tokens, loads=is_empty(view.messages))


def _generate_call(body: bytes) -> Call:
    view = _decode_generate(body)
    tokens = sum(map(estimate_tokens, (view.prompt, view.system, view.images)))
    return _generating("generate", body, view, tokens, loads=is_empty(view.prompt))


def _generating(
    operation: str, body: bytes, view: _AnyView, tokens: int, *, loads: bool
) -> Call:
    options = view.options or _OptionsView()
    limit, seed = options.num_predict, options.seed
    return Call(
        operation=operation,
        model=_named(view.model),
        body=body,
        name=GOVERNED.members(body)["model"],
        # Streams are the default, but loading is answered with one object: there is
        # nothing to stream.
        stream=view.stream is not False and not loads,
        temperature=options.temperature,
        # Below zero the server takes one at random.
        seed=int(seed) if seed is not None and seed >= 0 else None,
        # -1 is no limit, -2 as much as the context holds.
        max_tokens=int(limit) if limit is not None and limit > 0 else None,
        estimated_tokens=tokens,
        loads=loads,
    )


def _embeddings_call(operation: str, body: bytes) -> Call:
    if operation == "legacy_embeddings":
        legacy = _decode_legacy_embed(body)
        model, text = legacy.model, legacy.prompt
    else:
        view = _decode_embed(body)
        model, text = view.model, view.input
    return Call(
        operation=operation,
        model=_named(model),
        body=body,
        name=GOVERNED.members(body)["model"],
        estimated_tokens=estimate_tokens(text),
    )


def _named(model: str) -> str:
    if not model:
        raise BadRequest("model is empty", param="model")
    return model
