"""Capabilities of the models that the configured targets name.

The data is models.dev's (https://models.dev) in ``models.json``, which ``make models``
writes: half a megabyte of JSON about 2900 models. It is read when a snapshot of the
configuration is made, by views that decode only the vendors in question, and nothing of
it is kept but what the targets need.

Vendors add to a model's name what makes it no other model: a date, ``-latest``, a
region. A name that is not in the catalogue is looked for without these. One that is
not found then is not known, and nobody claims anything about it.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from importlib.resources import files

import msgspec

from gandalf.config import Config
from gandalf.config import Provider as ProviderConfig
from gandalf.domain.model import Model
from gandalf.providers.base import Provider, RemoteProvider

log = logging.getLogger("gandalf.catalogue")


class _Limit(msgspec.Struct):
    context: int | None = None
    output: int | None = None


class _Modalities(msgspec.Struct):
    input: tuple[str, ...] = ()


class _Entry(msgspec.Struct):
    reasoning: bool | None = None
    tool_call: bool | None = None
    structured_output: bool | None = None
    temperature: bool | None = None
    limit: _Limit = msgspec.field(default_factory=_Limit)
    modalities: _Modalities | None = None


class _Vendor(msgspec.Struct):
    models: dict[str, msgspec.Raw]


class _File(msgspec.Struct):
    vendors: dict[str, msgspec.Raw]


_decode_file = msgspec.json.Decoder(_File).decode
_decode_vendor = msgspec.json.Decoder(_Vendor).decode
_decode_entry = msgspec.json.Decoder(_Entry).decode

_ELSEWHERE = {
    "amazon-bedrock": ("anthropic",),
    "azure": ("openai",),
    "google-vertex": ("google", "anthropic"),
}
"""Where else the models of a cloud are known by nearly the same names."""

_SIZELESS = ("ollama-cloud", "lmstudio")
"""Whose servers decide by their own settings how much a model takes."""

# What stands before and behind a name without making it another model.
_PLACE = re.compile(
    r"^(arn:aws[a-z-]*:bedrock:.*/|models/|publishers/[^/]+/models/|ft:)"
    r"|^(us|us-gov|eu|apac|au|jp|ca|global)\.(?=[a-z])"
)
_VERSION = re.compile(
    r"(:[\w-]+:.*"  # a fine-tuned model's owner
    r"|(-v\d+)?:\d+(k|:\w+)?|-v\d+"  # Bedrock's
    r"|@\w+|-latest|-00\d"
    r"|-preview-\d\d-\d\d(\d\d)?"
    r"|-\d{8}|-\d{4}-\d\d-\d\d)$"
)
_ROUTED = ("huggingface", "openrouter")
"""Whose names may end with who is to serve the model: ``:free``, ``:novita``."""

_TAG = re.compile(r":[\w.-]+$")
_OTHER_KIND = re.compile(r"audio|realtime|transcribe|tts|image|search|embed|whisper")


def find(catalogue_id: str, name: str) -> Model:
    """Return what is known of the model that a vendor calls ``name``."""
    return find_all([(catalogue_id, name)])[catalogue_id, name]


def find_all(wanted: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Model]:
    """Return what is known of each pair of vendor and model name."""
    wanted = list(wanted)
    shelves = _Shelves() if any(vendor for vendor, _ in wanted) else None
    return {
        (vendor, name): _find(shelves, vendor, name)
        if shelves is not None and vendor
        else Model(name=name)
        for vendor, name in wanted
    }


def equip(providers: Mapping[str, Provider], config: Config) -> None:
    """Tell each provider what is known of the models it serves by ``config``.

    Reads the catalogue only if one of them names a model that it was not told of yet.
    """
    models = _models_by_provider(config)
    remote = {
        name: provider
        for name, provider in providers.items()
        if isinstance(provider, RemoteProvider)
    }
    found = find_all(
        (provider.catalogue_id, model)
        for name, provider in remote.items()
        for model in models.get(name, ())
        if model not in provider.known
    )
    sections = {section.name: section for section in config.providers}
    for name, provider in remote.items():
        news = {
            model: msgspec.structs.replace(
                _corrected(found[provider.catalogue_id, model], sections[name]),
                compat=provider.compat,
            )
            for model in models.get(name, ())
            if model not in provider.known
        }
        provider.known = provider.known | news


def _models_by_provider(config: Config) -> dict[str, set[str]]:
    models = {provider.name: set(provider.models) for provider in config.providers}
    for route in config.routes:
        for target in route.targets:
            models.setdefault(target.provider, set()).add(target.model)
    return models


def _corrected(model: Model, section: ProviderConfig) -> Model:
    """Return ``model`` with what the configuration says of it."""
    for info in section.model_info:
        if info.name == model.name:
            said = msgspec.structs.asdict(info)
            known = {key: value for key, value in said.items() if value is not None}
            model = msgspec.structs.replace(model, **known)
    return model


class _Shelf:
    """One vendor's models."""

    def __init__(self, raw: msgspec.Raw | None) -> None:
        self._models = _decode_vendor(raw).models if raw is not None else {}
        self._bare: dict[str, str] = {}
        # The latest of several dates comes last, and the name itself wins over all.
        for name in sorted(self._models):
            self._bare[bare(name)] = name
        self._bare |= {name.lower(): name for name in self._models}

    def find(self, name: str) -> _Entry | None:
        """Return the entry of ``name``, whatever the vendor has added to it."""
        for candidate in (name, name.lower(), bare(name)):
            found = self._bare.get(candidate)
            if found is not None:
                return _decode_entry(self._models[found])
        return None

    def find_family(self, name: str) -> _Entry | None:
        """Return the entry of a model that differs from ``name`` in its size only."""
        family = _TAG.sub("", name.lower())
        for known in self._models:
            if _TAG.sub("", known) == family:
                return _decode_entry(self._models[known])
        return None

    def find_within(self, name: str) -> _Entry | None:
        """Return the entry of the longest model name that is a part of ``name``."""
        name = name.lower().replace("gpt-35", "gpt-3.5")
        if _OTHER_KIND.search(name):
            return None
        within = [known for known in self._models if _is_part(known, name)]
        if not within:
            return None
        return _decode_entry(self._models[max(within, key=len)])


class _Shelves:
    """The whole catalogue, decoded as far as it is asked for."""

    def __init__(self) -> None:
        self._raw = _read()
        self._shelves: dict[str, _Shelf] = {}

    def of(self, vendor: str) -> _Shelf:
        """Return the models of ``vendor``; none if it is not known."""
        shelf = self._shelves.get(vendor)
        if shelf is None:
            shelf = self._shelves[vendor] = _Shelf(self._raw.get(vendor))
        return shelf


def _read() -> Mapping[str, msgspec.Raw]:
    try:
        content = (files("gandalf.providers") / "models.json").read_bytes()
        return _decode_file(content).vendors
    except (OSError, msgspec.MsgspecError) as error:
        # Translations then rely on what the configuration says of models.
        log.error("the model catalogue cannot be read: %s", error)
        return {}


def _find(shelves: _Shelves, vendor: str, name: str) -> Model:
    try:
        entry = _entry(shelves, vendor, name)
    except msgspec.MsgspecError as error:
        log.error("the catalogue's entry of %s cannot be read: %s", name, error)
        entry = None
    if entry is None:
        return Model(name=name)
    return _model(name, entry, sized=vendor not in _SIZELESS)


def _entry(shelves: _Shelves, vendor: str, name: str) -> _Entry | None:
    entry = shelves.of(vendor).find(name)
    for elsewhere in _ELSEWHERE.get(vendor, ()):
        # Bedrock's names begin with the vendor's.
        entry = entry or shelves.of(elsewhere).find(
            bare(name).removeprefix(f"{elsewhere}.")
        )
    if entry is None and vendor in _ROUTED:
        entry = shelves.of(vendor).find(_TAG.sub("", name))
    if entry is None and vendor == "azure":
        entry = shelves.of("openai").find_within(name)
    if entry is None and vendor in _SIZELESS:
        entry = shelves.of(vendor).find_family(name)
    return entry


def _model(name: str, entry: _Entry, *, sized: bool) -> Model:
    reads = entry.modalities.input if entry.modalities is not None else ()
    # Vendors go on to take PDF files for all models that see, one at a time.
    documents = True if "pdf" in reads else None if "image" in reads else False
    return Model(
        name=name,
        context_window=entry.limit.context or None if sized else None,
        output_limit=entry.limit.output or None if sized else None,
        images=_among("image", reads),
        documents=documents if reads else None,
        audio=_among("audio", reads),
        video=_among("video", reads),
        tools=entry.tool_call,
        thinking=entry.reasoning,
        structured_output=entry.structured_output,
        temperature=entry.temperature,
    )


def _among(kind: str, reads: tuple[str, ...]) -> bool | None:
    return kind in reads if reads else None


def bare(name: str) -> str:
    """Return ``name`` without what makes it no other model."""
    name = name.lower()
    while (shorter := _PLACE.sub("", name)) != name:
        name = shorter
    while (shorter := _VERSION.sub("", name)) != name:
        name = shorter
    return name


def _is_part(known: str, name: str) -> bool:
    at = name.find(known)
    if at < 0:
        return False
    around = name[at - 1 : at] + name[at + len(known) : at + len(known) + 1]
    return not any(character.isalnum() or character == "." for character in around)
