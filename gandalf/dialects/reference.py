"""Writes docs/translation.md from the tables that translation goes by.

python -m gandalf.dialects.reference > docs/translation.md
"""

from __future__ import annotations

import ast
import inspect
import sys

from gandalf.dialects import conversation
from gandalf.dialects.conversation import Feature, Treatment
from gandalf.dialects.registry import UPSTREAM_DIALECTS

_INTRODUCTION = """\
# Translation

<!-- Made by `python -m gandalf.dialects.reference`; a test compares. Edit the tables
`TREATMENTS` of the dialects, or `Feature` in gandalf/dialects/conversation.py. -->

A client may speak any dialect, whatever the target of its request speaks. If both speak
the same one, the request's bytes go on as they are but for the model's name. If not,
the request is read into one neutral model (`gandalf/dialects/conversation.py`) and
written from it in the target's dialect, and the answer comes back the same way.

What a request asks for is, in the dialect of the target:

- **mapped**: said there as it was said here;
- **approximated**: said as nearly as it can be;
- **dropped**: left out;
- **refused**: the target cannot be asked for it, and another one is tried. If there is
  none the client gets a 400 that names the field.

Nothing is lost silently. The response header `x-gandalf-dropped` lists the fields that
were dropped, `x-gandalf-approximated` those that were approximated, in the words of the
client's dialect. A field that has no place in the neutral model is dropped. With
`x-gandalf-strict: true` on a request, or `strict: true` on its route, the request is
refused instead. A single request can come off worse than the table says, where the very
model cannot do what its provider otherwise can; the headers tell of that, too.
"""


def render() -> str:
    """Return the whole page."""
    meanings = _meanings()
    names = [dialect.NAME for dialect in UPSTREAM_DIALECTS]
    lines = [
        _INTRODUCTION,
        "| what a request asks for | " + " | ".join(names) + " |",
        "|---|" + "---|" * len(names),
    ]
    for feature in Feature:
        treatments = [dialect.TREATMENTS[feature] for dialect in UPSTREAM_DIALECTS]
        about = meanings.get(feature.name, "")
        cell = f"`{feature.value}`" + (f": {about}" if about else "")
        lines.append(f"| {cell} | " + " | ".join(map(_shown, treatments)) + " |")
    return "\n".join(lines) + "\n"


def _shown(treatment: Treatment) -> str:
    return "mapped" if treatment is Treatment.MAPPED else f"**{treatment.value}**"


def _meanings() -> dict[str, str]:
    """Return what stands under the members of ``Feature`` that say more."""
    tree = ast.parse(inspect.getsource(conversation))
    owner = next(
        node
        for node in tree.body
        if isinstance(node, ast.ClassDef) and node.name == Feature.__name__
    )
    found = {}
    for member, below in zip(owner.body, owner.body[1:], strict=False):
        if (
            isinstance(member, ast.Assign)
            and isinstance(member.targets[0], ast.Name)
            and isinstance(below, ast.Expr)
            and isinstance(below.value, ast.Constant)
        ):
            text = " ".join(str(below.value.value).split())
            found[member.targets[0].id] = text.rstrip(".").lower()[:1] + text[1:-1]
    return found


if __name__ == "__main__":
    sys.stdout.write(render())
