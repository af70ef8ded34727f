"""Writes docs/translation.md from the tables and limits that translation goes by.

python -m gandalf.dialects.reference > docs/translation.md

What is only in the flow of the renderers is told in words, below; a change there wants
one here.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterable, Iterator

from gandalf.dialects import conversation, reasoning
from gandalf.dialects.anthropic.render_requests import MAX_CACHE_MARKS
from gandalf.dialects.anthropic.thinking import (
    ANSWER_TOKENS,
    DEFAULT_MAX_TOKENS,
    MIN_BUDGET,
)
from gandalf.dialects.base import UpstreamDialect
from gandalf.dialects.conversation import EmbeddingsRequest, Feature, Treatment
from gandalf.dialects.converse.requests import MAX_LABELS
from gandalf.dialects.gemini.rendering import MAX_STOP_SEQUENCES
from gandalf.dialects.openai.message_renderer import MAX_ID_LENGTH
from gandalf.dialects.openai.request_renderer import MAX_STOPS, MAX_USER_LENGTH
from gandalf.dialects.registry import UPSTREAM_DIALECTS
from gandalf.domain.errors import BadRequest
from gandalf.domain.model import Model

_INTRODUCTION = """\
# Translation

<!-- Made by `python -m gandalf.dialects.reference`; a test compares. Edit the tables
`TREATMENTS` of the dialects, `Feature` in gandalf/dialects/conversation.py, or the
words in gandalf/dialects/reference.py. -->

A client may speak any dialect, whatever the target of its request speaks. If both speak
the same one, the request's bytes go on as they are but for the model's name, and so do
the answer's; nothing on this page concerns them. If not, the request is read into one
neutral model (`gandalf/dialects/conversation.py`) and written from it in the target's
dialect, and the answer comes back the same way. `converse` is Amazon Bedrock's Converse
API, which only upstreams speak.

What a request asks for is, in the dialect of the target:

- **mapped**: said there as it was said here;
- **approximated**: said as nearly as it can be;
- **dropped**: left out;
- **refused**: the target cannot be asked for it, and the next one is tried. If there is
  none the client gets a 400 that names the field.

Nothing is lost silently. The response header `x-gandalf-dropped` lists the fields that
were dropped, `x-gandalf-approximated` those that were approximated, in the words of the
client's dialect. A field that has no place in the neutral model is dropped. With
`x-gandalf-strict: true` on a request, or `strict: true` on its route, such a target
counts as one that cannot be asked, and the client gets a 400 if there is no other. A
single request can come off worse than the table says, where the very model cannot do
what its provider otherwise can; the headers tell of that, too.

What a model can do is known from the built-in catalogue, from its name, and from
`providers[].model_info` (see [configuration.md](configuration.md#providersmodel_info)),
which wins. What nobody knows is not taken for "cannot": the request is sent, and the
upstream is the judge.
"""

_FEATURES = """\
## What becomes of what a request asks for
"""

_OPERATIONS = """\
## What can be asked of whom

Chats, OpenAI's legacy completions and Ollama's `generate` are all asked for as a chat
of whatever the target speaks. Where tokens cannot be counted, the count that a client
asks for is a guess by size (four bytes a token, a picture 1000 tokens); it costs no
request, and says `x-gandalf-approximated: tokens`.
"""

_BEYOND = """\
## What clients may say beyond their own API

OpenAI's Chat Completions has no words for much of what other providers' models can do.
Gateways and vendors have made these the custom; they are read from OpenAI's clients
when a request is translated:
"""

_CUSTOMS = (
    (
        (
            "`cache_control` on messages, parts, tool calls and tools;"
            " `prompt_cache_breakpoint` on parts"
        ),
        "a mark in the prompt cache",
    ),
    (
        (
            "`reasoning_effort`, Anthropic's `thinking`, OpenRouter's `reasoning`,"
            " Google's `thinking_config` in `google` or `extra_body.google`"
        ),
        "how much to think; of several, the first in this order counts",
    ),
    (
        (
            "`thinking_blocks`, `reasoning_details`, `reasoning_content` or"
            " `reasoning` on the assistant's messages"
        ),
        "earlier thinking, with its seal; ditto",
    ),
    (
        (
            "`extra_content.google.thought_signature` on the assistant's messages and"
            " tool calls"
        ),
        "Gemini's thought signature",
    ),
    ("`top_k`, `min_p`, `repetition_penalty`", "sampling"),
    (
        (
            "a part `video_url`; a `file` whose `file_data` is a URL, with its media"
            " type as `format`"
        ),
        "a video; a document by its URL",
    ),
    (
        "`functions`, `function_call`, messages of the role `function`",
        "tools, as they were called first",
    ),
)

_BEYOND_OTHERS = """\
An answer to them has `reasoning_content` if a model shows what it thinks, and, if that
is sealed, `thinking_blocks` and `reasoning_details`; `extra_content` and
`reasoning_details` where Gemini seals a call or a text; `annotations` for citations of
web pages.

- **Anthropic's clients** may put `system` messages among the others, and
  `output_format` where `output_config.format` is meant.
- **Gemini's clients** may write every name in either spelling, `topK` or `top_k`;
  both at once are refused.
- **Ollama's clients** may send the role `developer`, and `tool_call_id` on a result;
  without it, a result belongs to the first call of its tool that has none yet.

Custom tools of OpenAI's, cached contents of Gemini's, and `suffix`, `raw` and `context`
of Ollama's `generate` are refused: without them it would be another request. So are
several prompts in one legacy completion.
"""

_SEALS = """\
## Thinking and its seals

Providers seal what their models think, and want it back byte for byte on the next
turn. A seal that travels through a client of another dialect is wrapped with the name
of its origin (base64 that begins with `Z2FuZGFsZi`), in whatever field that dialect has
for seals; when it comes back it is unwrapped for the provider that made it, and left
out for all others, which would refuse it (`thinking_history`). Gemini's signature of a
call or a text travels through Anthropic's clients in a block of thinking without text.
So a conversation may go on with another provider's model at any turn; what the former
one thought is then lost, what it said is not.

OpenAI's and Ollama's dialects have no seals: Ollama's gets the text of the thinking
back, OpenAI's only at vendors that take it ([vendors.md](vendors.md)).
"""

_REPAIRS = f"""\
## What is mended in histories

What one provider lets pass another refuses. Where the meaning is clear the history is
put right; it is reported if it says something that the client did not.

**everywhere**, but for what passes through unchanged
- Names of tools that the target refuses become valid names; the answer's calls have the
  client's names.
- A call without a result gets the result "There is no result of this call.", as an
  error. Several results of one call become one; a late result moves to its call. A
  result without its call, as in a history that was cut at its beginning, becomes the
  user's text.
- The schema of a tool gets `properties` where it has none; `anyOf`, `oneOf` and `allOf`
  at its root become one object with all their properties (openai, anthropic, converse).
- What the system says later becomes the user's where the target, or the vendor's
  [profile](vendors.md), has no such message.
- A request whose only tools are the provider's own is refused where they cannot be
  mapped: the model would make up what they find. So is `tool_addition`.

**openai**
- What a vendor takes instead is told by its [profile](vendors.md).
- The results of a turn's tool calls come before what the user says with them. Pictures
  in a result follow in a message of the user's.
- A result that is an error begins with `Error:`, unless it says so itself.
- Ids of calls of more than {MAX_ID_LENGTH} characters become a digest, always the same.
- A turn of the assistant's that is nothing but thinking is left out.

**anthropic**
- Neighbours of one role become one turn.
- What the system says later moves to the top where the model wants it there.
- A conversation that the assistant begins gets a user's turn `.` in front.
- A result begins the turn after its call.
- Ids of calls are made of the characters that are allowed, and unique.
- A model that does not continue an assistant's turn is told "Continue from where you
  left off."
- Blank texts are left out. Arguments that are no JSON object come as the member
  `arguments` of one.

**gemini**
- Neighbours of one role become one content.
- What the system says first is the `systemInstruction`; what it says later is the
  user's. If it is all there is, it is the user's as well.
- Results begin their turn, in the order of the calls. A turn of calls that would be the
  first gets a user's turn `.` in front. A result with a `$ref` in it is sent as text.
- A call that no Gemini made carries the value that Google's documentation has for it,
  where the model wants a signature.
- Arguments that are no JSON object are refused.

**ollama**
- Results come before what the user says with them, with the name of the tool as their
  calls have it; one that is an error begins with `Error:`.
- The texts of a message become one; its pictures stand beside it.

**converse**
- Neighbours of one role become one message.
- All that the system says is at the top. Blank texts are left out, and a result without
  content says "(no output)".
- Documents get names that are allowed and differ; a message that is nothing but
  documents gets their names as its text.
- Ids of calls that are not allowed are replaced, the same each time. If there are calls
  in the history and no tools, tools of their names are declared.
- Arguments that are no JSON object are refused.
"""

_DEFAULTS = f"""\
## Defaults and limits

- **`max_tokens` for anthropic** must be there: if the client gives none, it is the most
  that the model can write. If that is not known it is {DEFAULT_MAX_TOKENS}, or
  {ANSWER_TOKENS} more than a budget for thinking that would not fit.
- **`max_tokens` for openai** is `max_completion_tokens` for OpenAI's reasoning models
  and `max_tokens` for all others; it is lowered to what the model is known to write.
- **Temperature** ends at 1 for anthropic and converse.
- **Stop sequences**: the first {MAX_STOPS} for openai, the first
  {MAX_STOP_SEQUENCES} for gemini; no blank ones for anthropic.
- **Cache marks**: the last {MAX_CACHE_MARKS} for anthropic.
- **`user`** of more than {MAX_USER_LENGTH} characters is a digest for openai.
- **`metadata`** for converse: {MAX_LABELS} labels of the characters that are allowed.
- **Streams of openai** are asked for their usage; the client gets it as its own dialect
  has it.
- **Sampling parameters** are left out for models that refuse them: OpenAI's reasoning
  models, newer Claudes, a Claude that is to think.
"""

_EFFORT = f"""\
**How much to think** is an effort to some and a budget to others. The one becomes the
other by this table, a budget between two efforts the lower one, and then the nearest
that the model has; what does not come out the same counts as approximated. A Claude's
budget is {MIN_BUDGET} at the least, and leaves room for the answer.
"""

_EMULATIONS = """\
## What is done in another way

- **JSON for anthropic and converse**: a schema is the model's own structured output
  where it has that. Else the answer is had as a forced call of a tool, which the client
  does not see: it gets the call's arguments as the text. Where nothing can be forced,
  or JSON without a schema is wanted together with thinking (anthropic), the system
  prompt asks for it. What the model says beside such a call is left out.
- **JSON for openai**: a model that is known to have no structured output is told the
  schema by a system message, in JSON mode. JSON mode needs the word in the messages; if
  it is nowhere there, a system message says "Answer with JSON." A schema of another
  dialect's client is sent as `strict` if it keeps OpenAI's rules for that.
- **Schemas**: gemini ignores keywords that it does not know; anthropic and converse get
  what an answer's schema says beyond theirs as words in a description. Either counts as
  approximated.
- **A choice among some of the tools** is made by offering no others to ollama. **No
  tool at all** means offering none to ollama, nor to converse if the history has no
  calls. Ollama and models that cannot be forced are left to choose.
- **Parallel tool calls** that are not wanted cannot be prevented at gemini, ollama and
  converse.
- **Thinking at ollama** is on or off; the models named `gpt-oss` have three levels.
- **Documents of plain text** are text for openai.
"""


def render() -> str:
    """Return the whole page."""
    parts = [
        _INTRODUCTION,
        _FEATURES + "\n" + _features(),
        _OPERATIONS + "\n" + _operations(),
        _BEYOND + "\n" + _table(("in a request", "is taken for"), _CUSTOMS),
        _BEYOND_OTHERS,
        _SEALS,
        _REPAIRS,
        _DEFAULTS + "\n" + _EFFORT + "\n" + _efforts(),
        _EMULATIONS,
    ]
    return "\n".join(parts)


# The tables.


def _features() -> str:
    meanings = _meanings()
    rows = []
    for feature in Feature:
        about = meanings.get(feature.name, "")
        what = f"`{feature.value}`" + (f": {about}" if about else "")
        treatments = [dialect.TREATMENTS[feature] for dialect in UPSTREAM_DIALECTS]
        rows.append((what, *map(_shown, treatments)))
    return _table(("what a request asks for", *_names()), rows)


def _operations() -> str:
    rows = [
        ("chats", *("yes" for _ in UPSTREAM_DIALECTS)),
        ("embeddings", *map(_yes_or_no, map(_embeds, UPSTREAM_DIALECTS))),
        (
            "counts of a prompt's tokens",
            *(
                "yes" if dialect.parse_count else "guessed"
                for dialect in UPSTREAM_DIALECTS
            ),
        ),
    ]
    return _table(("asked for", *_names()), rows)


def _efforts() -> str:
    rows = [
        (f"`{effort}`", str(reasoning.budget_of(effort)))
        for effort in reasoning.EFFORTS
    ]
    return _table(("effort", "budget in tokens"), rows)


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    return "".join(_lines(tuple(head), rows))


def _lines(head: tuple[str, ...], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |\n"
    yield "|" + "---|" * len(head) + "\n"
    for row in rows:
        yield f"| {' | '.join(row)} |\n"


def _names() -> list[str]:
    return [dialect.NAME for dialect in UPSTREAM_DIALECTS]


def _shown(treatment: Treatment) -> str:
    return "mapped" if treatment is Treatment.MAPPED else f"**{treatment.value}**"


def _yes_or_no(answer: bool) -> str:
    return "yes" if answer else "**refused**"


def _embeds(dialect: UpstreamDialect) -> bool:
    try:
        dialect.render_embeddings_request(
            EmbeddingsRequest(inputs=("text",)), Model(name="model")
        )
    except BadRequest:
        return False
    return True


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
            text = " ".join(str(below.value.value).split()).rstrip(".")
            found[member.targets[0].id] = text[:1].lower() + text[1:]
    return found


if __name__ == "__main__":
    sys.stdout.write(render())
