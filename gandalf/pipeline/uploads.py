"""Form data on its way to an upstream: read to the model in it, then passed on.

What is read before the model is known is held, and no more than ``MAX_OPENING``: the
official clients send the plain fields before the files. A body that is no longer than
that is held whole, whatever the order of its fields, and can be sent again to the next
target.
"""

from __future__ import annotations

from gandalf.dialects.multipart import Field, Scanner, boundary_of
from gandalf.dialects.openai.passthrough import FORM_FIELDS
from gandalf.domain.errors import BadRequest, PayloadTooLarge
from gandalf.providers.base import Upload

MAX_OPENING = 1024 * 1024


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
    """

    def __init__(self, upload: Upload, content_type: bytes) -> None:
        self._upload = upload
        self._scanner = Scanner(boundary_of(content_type), FORM_FIELDS)
        self._opening = b""
        self._ended = False
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
                raise BadRequest(
                    "the form's field model must come before its files"
                    f" (within its first {MAX_OPENING} bytes)",
                    param="model",
                )
            piece = await self._take()
            pieces.append(piece)
            size += len(piece)
            self._ended = self._ended or size == whole
        self._opening = b"".join(pieces)
        if self._ended:
            self._scanner.close()
        if self._field is None or not self._field.value.strip():
            raise BadRequest("the form names no model", param="model")

    @property
    def model(self) -> str:
        """The model that the form names; known once it is read."""
        return _text(self._model_field)

    @property
    def choices(self) -> int:
        """The field ``n``, as far as it has come; 1 if it has not."""
        field = self._scanner.fields.get("n")
        return int(field.value) if field is not None and field.value.isdigit() else 1

    @property
    def length(self) -> int | None:
        """Bytes that ``receive`` returns in all; None if the client did not say."""
        if self.whole:
            return 0
        whole = self._upload.length
        return None if whole is None else whole - len(self._opening)

    @property
    def whole(self) -> bool:
        """Whether all of it is in ``opening_for``."""
        return self._ended and not self.begun

    def opening_for(self, model: str) -> bytes:
        """Return what comes before ``receive``, with ``model`` in it."""
        field = self._model_field
        if model == _text(field):
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
        if self._ended:
            self._scanner.close()
        return piece

    @property
    def _field(self) -> Field | None:
        return self._scanner.fields.get("model")

    @property
    def _model_field(self) -> Field:
        field = self._field
        assert field is not None  # noqa: S101 - ``read`` raises if there is none
        return field

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


def _text(field: Field) -> str:
    try:
        text = field.value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadRequest("the model is not UTF-8", param="model") from error
    if not text.isprintable():
        raise BadRequest("the model has control characters", param="model")
    return text
