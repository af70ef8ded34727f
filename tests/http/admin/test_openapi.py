"""The OpenAPI document and the reference are complete and resolvable."""

import json
import re
from pathlib import Path

from gandalf.http.admin import openapi, reference
from gandalf.http.admin.api import described
from gandalf.http.page_access import PREFIX

PAGE = Path(__file__).parent.parent.parent.parent / "docs" / "admin-api.md"


def references(value):
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for item in value.values():
            yield from references(item)
    elif isinstance(value, list):
        for item in value:
            yield from references(item)


def test_every_endpoint_is_in_the_document_and_every_reference_leads_somewhere():
    document = json.loads(json.dumps(openapi.document(described(), PREFIX)))

    for row in described():
        assert row.method.lower() in document["paths"][PREFIX + row.path]
    for ref in references(document):
        name = ref.removeprefix("#/components/schemas/")
        assert name in document["components"]["schemas"]


def test_operation_ids_are_unique():
    ids = [row.operation_id for row in described()]

    assert len(set(ids)) == len(ids)


def test_the_page_of_the_documentation_is_the_table():
    assert PAGE.read_text() == reference.markdown(described(), PREFIX)


async def test_the_gateway_serves_both(admin):
    document = await admin.get("/openapi.json")
    page = await admin.as_("member").get("/docs")

    assert json.loads(await document.get_data())["openapi"] == "3.1.0"
    assert page.content_type.startswith("text/html")
    assert re.search(rb"POST /admin/v1/keys", await page.get_data())
