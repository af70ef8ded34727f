"""Sends notices to webhooks, with httpx."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import trio

from gandalf.config import Webhook

if TYPE_CHECKING:
    import httpx

log = logging.getLogger("gandalf.budgets")


class WebhookClient:
    """Sends bodies to webhooks. httpx is imported when the first is sent.

    Args:
        transport: In place of the network, for tests.
    """

    def __init__(self, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._transport = transport

    async def post(
        self, webhook: Webhook, body: bytes, headers: dict[str, str]
    ) -> bool:
        """Send ``body`` once; return whether the answer was a 2xx.

        Redirects are not followed: they could lead anywhere.
        """
        # 4 MB and a tenth of a second, which most gateways have no use for.
        import httpx

        try:
            async with httpx.AsyncClient(
                transport=self._transport, follow_redirects=False
            ) as client:
                with trio.fail_after(webhook.timeout):
                    answer = await client.post(
                        webhook.url, content=body, headers=headers, timeout=None
                    )
        except (httpx.HTTPError, trio.TooSlowError) as error:
            log.warning("a webhook cannot be reached: %s", type(error).__name__)
            return False
        if not answer.is_success:
            log.warning("a webhook answers with status %d", answer.status_code)
        return answer.is_success
