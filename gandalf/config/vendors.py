"""Writes docs/vendors.md from the table of presets.

python -m gandalf.config.vendors > docs/vendors.md
"""

from __future__ import annotations

import sys

import msgspec

from gandalf.config.presets import PRESETS, Preset
from gandalf.domain.compat import OPENAI

_INTRODUCTION = """\
# Vendors

<!-- Made by `python -m gandalf.config.vendors`; a test compares. Edit
gandalf/config/presets.py instead. -->

For operators who route requests to OpenAI-compatible vendors. "Compatible" differs from
vendor to vendor; each provider type has a profile that says what its vendor takes. A
provider's [`compat`](configuration.md#providerscompat) corrects its profile, or gives
one to a server of your own:

```yaml
providers:
  - name: my-server
    type: openai
    base_url: http://10.0.0.7:8000/v1
    compat:
      late_system: false
      reasoning_history: reasoning_content
      refused_fields: [service_tier, user]
```

Requests of other APIs' clients are written by the profile; see
[translation.md](translation.md). A request of OpenAI's clients passes unchanged but for
the fields that the vendor refuses: they are left out. What a request loses is named in
`x-gandalf-dropped` and `x-gandalf-approximated`.

Shown is what differs from OpenAI.

| type | rules | source |
|---|---|---|
"""

_NEXT = """
Next: [configuration.md](configuration.md#providers) for the addresses,
[adding-a-provider.md](adding-a-provider.md) for a new vendor.
"""


def render() -> str:
    """Return the whole page."""
    rows = "".join(_row(name, preset) for name, preset in PRESETS.items())
    return _INTRODUCTION + rows + _NEXT


def _row(name: str, preset: Preset) -> str:
    rules = msgspec.structs.asdict(preset.compat)
    usual = msgspec.structs.asdict(OPENAI)
    said = [
        f"`{rule}`: {_shown(value)}"
        for rule, value in rules.items()
        if value != usual[rule]
    ]
    return f"| `{name}` | {'<br>'.join(said) or 'as OpenAI'} | {preset.source} |\n"


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(f"`{each}`" for each in value) or "none"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


if __name__ == "__main__":
    sys.stdout.write(render())
