"""Takes what looks like a secret out of a text, wherever it came from.

A second line of defence: secrets are kept in ``Secret`` and never logged on purpose.
But a client may put its key into the wrong header, a library may log a URL, and a
traceback may quote either. So every line passes here on its way out.
"""

from __future__ import annotations

import re

HIDDEN = "***"

# Where a word may begin: also right after an escape of JSON, as in ``"\nsk-abc"``.
_START = r"(?:(?<![A-Za-z0-9_])|(?<=\\[nrtbf])|(?<=\\u[0-9a-f]{4}))"
_VALUE = r"[^\s&\"'\\,;)\]}]+"

# What to look for first, in lower case, for a substring search costs a tenth of an
# expression; the expression; what to leave. A gateway key's displayed prefix, which
# is shorter than twelve characters, may stay.
_RULES: tuple[tuple[str, re.Pattern[str], str], ...] = (
    ("gnd_", re.compile(r"gnd_[A-Za-z0-9_-]{12,}"), f"gnd_{HIDDEN}"),
    # With asterisks as OpenAI shows it: even so its ends are told.
    ("sk-", re.compile(_START + r"sk-[A-Za-z0-9_*-]{8,}"), f"sk-{HIDDEN}"),
    # Groq, xAI, Hugging Face, NVIDIA, Perplexity, Replicate, Fireworks, Cerebras.
    *(
        (prefix, re.compile(rf"{_START}{prefix}[A-Za-z0-9_-]{{16,}}"), prefix + HIDDEN)
        for prefix in (
            "gsk_",
            "xai-",
            "hf_",
            "nvapi-",
            "pplx-",
            "r8_",
            "fw_",
            "csk-",
        )
    ),
    # OpenAI's names of accounts and projects; ours are shorter.
    ("org-", re.compile(_START + r"org-[A-Za-z0-9]{16,}"), f"org-{HIDDEN}"),
    ("proj_", re.compile(_START + r"proj_[A-Za-z0-9]{16,}"), f"proj_{HIDDEN}"),
    # The account in the names of AWS's resources.
    ("arn:", re.compile(r"(arn:aws[\w-]*:[^:\s]*:[^:\s]*:)\d{12}"), rf"\1{HIDDEN}"),
    (
        "eyj",
        re.compile(_START + r"eyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)?"),
        HIDDEN,
    ),
    ("aiza", re.compile(r"AIza[A-Za-z0-9_-]{20,}"), f"AIza{HIDDEN}"),
    ("akia", re.compile(r"AKIA[A-Z0-9]{12,}"), f"AKIA{HIDDEN}"),
    ("asia", re.compile(r"ASIA[A-Z0-9]{12,}"), f"ASIA{HIDDEN}"),
    ("ya29.", re.compile(r"ya29\.[A-Za-z0-9._-]+"), f"ya29.{HIDDEN}"),
    (
        "bearer",
        re.compile(r"(?i)(bearer(?:\s|%20)+)[A-Za-z0-9._~+/=-]{6,}"),
        rf"\1{HIDDEN}",
    ),
    (
        "basic ",
        re.compile(r"(?i)(authorization.{1,12}?basic\s+)[A-Za-z0-9+/=]+"),
        rf"\1{HIDDEN}",
    ),
    *(
        (
            f"{name}=",
            re.compile(rf"(?i)({_START}(?:[a-z]+[_-])?{name}=){_VALUE}"),
            rf"\1{HIDDEN}",
        )
        for name in ("key", "token", "secret", "password", "signature")
    ),
    *(
        (
            name,
            re.compile(rf"(?i)({name}[\\\"']*\s*[:=,]\s*b?[\\\"']*){_VALUE}"),
            rf"\1{HIDDEN}",
        )
        for name in ("api-key", "api_key")
    ),
    ("://", re.compile(r"(://[^/\s:@\"']*:)[^/\s@\"']+@"), rf"\1{HIDDEN}@"),
)


def redact(text: str) -> str:
    """Return ``text`` with all that looks like a secret replaced by ``***``."""
    lowered = text.lower()
    for needle, pattern, replacement in _RULES:
        if needle in lowered:
            text = pattern.sub(replacement, text)
    return text
