"""A request to one of OpenAI's other endpoints, as it came and as it is sent on.

They are those with a path of their own (``Endpoint.path``). The body may be still
arriving, and is read as far as needed.
"""

from __future__ import annotations

import trio

from gandalf.dialects.openai.passthrough import PassthroughCall, read_call, read_form
from gandalf.pipeline.exchange import Exchange
from gandalf.pipeline.uploads import (
    MODEL_HEADER,
    FormUpload,
    PlainUpload,
    read_whole,
)
from gandalf.providers.base import Ask, Upload
from gandalf.providers.forwarding import forwarded

# Of a JSON body where form data was to be expected (images/edits takes both).
MAX_JSON_BYTES = 32 * 1024 * 1024


async def read_passthrough(exchange: Exchange) -> PassthroughCall:
    """Return what ``exchange`` asks for.

    Raises:
        BadRequest: The body cannot be read, or governs itself twice.
        GatewayError: The client sent it too slowly, or too much of it.
    """
    upload, endpoint = exchange.upload, exchange.endpoint
    if upload is None:
        return read_call(
            exchange.operation, exchange.body, endpoint.path, endpoint.method
        )
    before = trio.current_time()
    try:
        return await _read_upload(exchange, upload)
    finally:
        # It is the client who takes its time.
        exchange.client_time += trio.current_time() - before


async def _read_upload(exchange: Exchange, upload: Upload) -> PassthroughCall:
    endpoint = exchange.endpoint
    content_type = exchange.headers.get(b"content-type", b"")
    if exchange.operation == "files":
        return read_form("files", "", PlainUpload(upload), content_type)
    if content_type.lower().startswith(b"application/json"):
        body = await read_whole(upload, MAX_JSON_BYTES)
        return read_call(exchange.operation, body, endpoint.path, endpoint.method)
    declared = exchange.headers.get(MODEL_HEADER, b"")
    return await _form_call(exchange.operation, upload, content_type, declared)


def ask_for(exchange: Exchange, call: PassthroughCall, model: str) -> Ask:
    """Return what an upstream of the same dialect is to be asked.

    Raises:
        BadRequest: Another one has been sent a part of it, which is gone.
    """
    return Ask(
        operation=call.operation,
        model=model,
        body=call.body_for(model),
        stream=call.stream,
        headers=forwarded(exchange.headers),
        method=exchange.endpoint.method,
        path=exchange.endpoint.path,
        query=exchange.query,
        content_type=call.content_type,
        upload=call.rest,
    )


async def _form_call(
    operation: str, upload: Upload, content_type: bytes, declared: bytes
) -> PassthroughCall:
    form = FormUpload(upload, content_type, declared)
    await form.read()
    call = read_form(operation, form.model, form, content_type)
    call.n = max(1, form.choices)
    return call
