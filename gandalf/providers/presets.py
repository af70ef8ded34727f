"""Vendors that speak OpenAI's dialect, as ``gandalf.config.presets`` lists them."""

from __future__ import annotations

import msgspec

from gandalf.config import Provider as ProviderConfig
from gandalf.config import provider_type
from gandalf.config.presets import PRESETS
from gandalf.dialects.json_object import Governed
from gandalf.providers.base import Ask, UpstreamRequest
from gandalf.providers.body import without
from gandalf.providers.openai import OpenAI

_GOVERNED = Governed("stream_options")


class Preset(OpenAI):
    """One account at a well-known vendor."""

    def __init__(self, config: ProviderConfig) -> None:
        preset = PRESETS[provider_type(config)]
        super().__init__(config, preset.base_url, preset.compat)
        self._stream_options = "stream_options" not in self.compat.refused_fields

    async def request(self, ask: Ask) -> UpstreamRequest:
        """Return the HTTP request for ``ask``, without what the vendor refuses."""
        if ask.stream and not self._stream_options:
            body = without(ask.body, _GOVERNED, "stream_options")
            ask = msgspec.structs.replace(ask, body=body)
        return await super().request(ask)
