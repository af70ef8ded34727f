"""Which vendor of the price list a provider's prices are looked up at."""

from __future__ import annotations

from gandalf.config import Provider as ProviderConfig
from gandalf.config import hosting_of, provider_type
from gandalf.config.presets import PRESETS
from gandalf.pricing.price_list import PriceList

# By type and hosting, where it is not the base URL that decides. A server of one's own
# costs nobody's list price, whatever it speaks.
_VENDORS = {
    ("openai", ""): "openai",
    ("openai", "azure"): "azure",
    ("openai", "vertex"): "google",
    ("anthropic", ""): "anthropic",
    ("anthropic", "vertex"): "google",
    ("anthropic", "bedrock"): "aws",
    ("gemini", ""): "google",
    ("gemini", "vertex"): "google",
    ("bedrock", "bedrock"): "aws",
}
NOBODY = "none"
"""The value of ``price_vendor`` that leaves every price unknown."""


def may_have_vendor(section: ProviderConfig) -> bool:
    """Tell whether the price list can have prices for the provider of ``section``.

    False for what is never sold: a simulated provider, or a server of one's own.
    """
    kind = provider_type(section)
    own = kind not in PRESETS or PRESETS[kind].local
    named = (kind, hosting_of(section)) in _VENDORS
    return bool(section.price_vendor or section.base_url or named or not own)


def vendor_of(section: ProviderConfig, price_list: PriceList) -> str:
    """Return the vendor whose prices the provider of ``section`` has; "" if nobody's.

    What ``price_vendor`` says, or what the type implies. A base URL that is set makes
    it the vendor whose address that is: another server has other prices.
    """
    if section.price_vendor:
        return "" if section.price_vendor == NOBODY else section.price_vendor
    kind, hosting = provider_type(section), hosting_of(section)
    if hosting:
        return _VENDORS.get((kind, hosting), "")
    if section.base_url:
        return price_list.vendor_at(section.base_url)
    if kind in PRESETS:
        return price_list.vendor_at(PRESETS[kind].base_url)
    return _VENDORS.get((kind, hosting), "")


def place_of(vendor: str, section: ProviderConfig, model: str) -> tuple[str, str]:
    """Return the vendor and the name that the list has for ``model`` at ``section``.

    Hugging Face's router is told by a suffix who is to serve the model, and each of
    these has prices of its own.
    """
    if provider_type(section) == "huggingface" and not section.price_vendor:
        name, _, host = model.rpartition(":")
        return (f"huggingface_{host}", name) if name else ("", model)
    return vendor, model
