"""Form data on its way to an upstream: read to the model in it, then passed on.

What is read before the model is known is held, and no more than ``MAX_OPENING``: the
official clients send the plain fields before the files. A body that is no longer than
that is held whole, whatever the order of its fields, and can be sent again to the next
target. Of a longer one whose files come first, the request's ``x-gandalf-model`` may
say the model; the form must then say the same when it comes to it.
"""

from __future__ import annotations

from gandalf.dialects.multipart import Field, Scanner, boundary_of
from gandalf.dialects.openai.passthrough import FORM_FIELDS
from gandalf.domain.errors import BadRequest, PayloadTooLarge
from gandalf.providers.base import Upload

MAX_OPENING = 1024 * 1024
MODEL_HEADER = b"x-gandalf-model"


class PlainUpload:
    """A body that nothing need be known of, but whether some of it is gone."""

    def __init__(self, upload: Upload) -> None:
        self._upload = upload
        self.length = upload.length
        self.begun = False
        self.whole = False
        self.choices = 1

    def opening_for(self, model: str) -> bytes:
        """Return what comes before ``receive``: nothing."""
        return b""

    async def receive(self) -> bytes:
        """Return the bytes that are there, waiting for some; b"" at the end."""
        self.begun = True
        return await self._upload.receive()


class FormUpload:
    """Form data with a model in it, which is replaced for each target.

    ``receive`` goes on checking what it passes on, to the end: a second model, or one
    that the upstream might see where we do not, fails the request.

    Args:
        upload: The body.
        content_type: The request's.
        declared: The model, if the request says it outside of the form.
    """

    def __init__(
        self, upload: Upload, content_type: bytes, declared: bytes = b""
    ) -> None:
        self._upload = upload
        self._scanner = Scanner(boundary_of(content_type), FORM_FIELDS)
        self._declared = declared
        self._opening = b""
        # Of a declared model that is still to come: by what it is to be replaced, what
        # is held until it is there whole, and where in the body that begins.
        self._replacement = b""
        self._held = b""
        self._held_at = 0
        self._ended = False
        self.length = upload.length
        """Bytes that ``receive`` returns in all, as of the last ``opening_for``."""
        self.begun = False

    async def read(self) -> None:
        """Read as far as the model.

        Raises:
            BadRequest: There is none, or none within ``MAX_OPENING``.
            GatewayError: The client sent it too slowly, or too much of it.
        """
        pieces = []
        size = 0
        whole = self._upload.length
        while not self._ended and (self._field is None or _is_small(whole)):
            if size >= MAX_OPENING:
                if self._declared and not self._scanner.under_way:
                    break
                raise BadRequest(
                    "the form's field model must come before its files (within its"
                    f" first {MAX_OPENING} bytes), or be said in x-gandalf-model too",
                    param="model",
                )
            piece = await self._take()
            pieces.append(piece)
            size += len(piece)
            self._ended = self._ended or size == whole
        self._opening = b"".join(pieces)
        self._held_at = size
        self.length = 0 if self._ended else None if whole is None else whole - size
        if self._ended:
            self._scanner.close()
        if self._field is not None:
            self._check_declared(self._field)
        if not self.model.strip():
            raise BadRequest("the form names no model", param="model")

    @property
    def model(self) -> str:
        """The model that the form names; known once it is read."""
        field = self._field
        return _text(self._declared if field is None else field.value)

    @property
    def choices(self) -> int:
        """The field ``n``, as far as it has come; 1 if it has not."""
        field = self._scanner.fields.get("n")
        return int(field.value) if field is not None and field.value.isdigit() else 1

    @property
    def whole(self) -> bool:
        """Whether all of it is in ``opening_for``."""
        return self._ended and not self.begun

    def opening_for(self, model: str) -> bytes:
        """Return what comes before ``receive``, which is with ``model`` from now on."""
        field = self._field
        if field is None:
            self._replace_later_by(model.encode())
            return self._opening
        if model == _text(field.value):
            return self._opening
        before, after = self._opening[: field.start], self._opening[field.end :]
        return b"%b%b%b" % (before, model.encode(), after)

    async def receive(self) -> bytes:
        """Return the bytes that are there, waiting for some; b"" at the end.

        Raises:
            BadRequest: What came is not form data, or has a second model.
            GatewayError: The client sent it too slowly, or too much of it.
        """
        if self._ended:
            return b""
        self.begun = True
        piece = await self._take()
        while self._must_hold:
            self._held += piece
            piece = await self._take()
        if self._ended:
            self._scanner.close()
            if self._field is None:
                raise BadRequest("the form names no model", param="model")
        return self._replaced(piece) if self._replacement else piece

    def _replace_later_by(self, model: bytes) -> None:
        if self.length is not None:
            former = self._replacement or self._declared
            self.length += len(model) - len(former)
        self._replacement = model

    @property
    def _must_hold(self) -> bool:
        under_way = self._replacement and self._scanner.under_way == "model"
        return bool(under_way) and not self._ended

    def _replaced(self, piece: bytes) -> bytes:
        """Return what was held and ``piece``, with the model in it replaced."""
        data, self._held = self._held + piece, b""
        start, self._held_at = self._held_at, self._held_at + len(data)
        field = self._field
        if field is None:
            return data
        self._check_declared(field)
        replacement, self._replacement = self._replacement, b""
        before, after = data[: field.start - start], data[field.end - start :]
        return before + replacement + after

    def _check_declared(self, field: Field) -> None:
        if self._declared and field.value != self._declared:
            raise BadRequest("x-gandalf-model and the form differ", param="model")

    @property
    def _field(self) -> Field | None:
        return self._scanner.fields.get("model")

    async def _take(self) -> bytes:
        piece = await self._upload.receive()
        if piece:
            self._scanner.feed(piece)
        else:
            self._ended = True
        return piece


async def read_whole(upload: Upload, limit: int) -> bytes:
    """Return all of ``upload``. Raises PayloadTooLarge beyond ``limit`` bytes."""
    pieces = []
    size = 0
    while piece := await upload.receive():
        pieces.append(piece)
        size += len(piece)
        if size > limit:
            raise PayloadTooLarge(f"the body is larger than {limit} bytes")
    return b"".join(pieces)


def _is_small(length: int | None) -> bool:
    return length is not None and length <= MAX_OPENING


def _text(model: bytes) -> str:
    try:
        text = model.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadRequest("the model is not UTF-8", param="model") from error
    if not text.isprintable():
        raise BadRequest("the model has control characters", param="model")
    return text
