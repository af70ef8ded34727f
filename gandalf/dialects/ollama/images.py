"""Images: Ollama has their bytes in base64, and nothing that says what they are."""

from __future__ import annotations

from gandalf.dialects.conversation import Media

# How a file of each type begins, in base64, as far as whole characters go.
_BEGINNINGS = (
    ("iVBORw0KGgo", "image/png"),
    ("/9j/", "image/jpeg"),
    ("R0lGOD", "image/gif"),
    ("UklGR", "image/webp"),
)


def image_of(data: str) -> Media:
    """Return the image in ``data``; its media type is None if it is none we know."""
    return Media(kind="image", media_type=media_type_of(data), data=data)


def media_type_of(data: str) -> str | None:
    """Return the media type of a file in base64 by its first bytes."""
    for beginning, media_type in _BEGINNINGS:
        if data.startswith(beginning):
            return media_type
    return None
