"""Bodies that arrive in pieces."""

from gandalf.domain.errors import RequestTimeout


class FakeUpload:
    """Returns the ``pieces`` one by one; an error among them is raised."""

    def __init__(self, *pieces, length=None):
        self._pieces = list(pieces)
        self.length = length
        self.taken = 0

    async def receive(self):
        if not self._pieces:
            return b""
        piece = self._pieces.pop(0)
        if isinstance(piece, Exception):
            raise piece
        self.taken += len(piece)
        return piece


def in_pieces(body, size, *, declared=True):
    pieces = [body[n : n + size] for n in range(0, len(body), size)]
    return FakeUpload(*pieces, length=len(body) if declared else None)


async def rest_of(upload):
    received = b""
    while piece := await upload.receive():
        received += piece
    return received


TOO_SLOW = RequestTimeout("too slow")
