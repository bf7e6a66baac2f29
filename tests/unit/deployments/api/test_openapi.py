"""The description of the API, and the API held to it by schemathesis, which makes up requests of every kind."""

import atexit
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from schemathesis.checks import positive_data_acceptance

from deployments.api.docs_page import docs_page
from deployments.api.openapi import document
from deployments.api.routes import build_api
from deployments.config import AccessConfig, AppConfig, BatchesConfig, Limits
from tests.unit.deployments.api.fake_service import FakeService, ask, png

PAGES = {
    "/",
    "/docs",
    "/openapi.json",
    "/cards/{name}",
    "/known/{name}",
}  # for readers; the document describes the rest

schemathesis.openapi.format("binary", st.just(png()))
schema = schemathesis.openapi.from_dict(document(Limits(), has_keys=False))
FOLDER = tempfile.mkdtemp()
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)
kept = BatchesConfig(database=f"sqlite:///{FOLDER}/batches.sqlite")
access = AccessConfig(allow_remote=True)  # its client has no address
schema.app = build_api(FakeService(AppConfig(access=access, batches=kept)))


@schema.parametrize()
@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_what_is_described_is_what_happens(case: Any):
    # Some rules are about two fields at once (best_of and n), which a schema cannot say: valid data may get a 400.
    reply = case.call_and_validate(excluded_checks=[positive_data_acceptance])
    assert reply.status_code not in (401, 403)  # else nothing was tested


def test_every_route_is_described():
    found = build_api(FakeService()).openapi()["paths"]
    routes = {(path, method) for path, methods in found.items() if path not in PAGES for method in methods}
    described = {(path, method) for path, methods in document(Limits(), False)["paths"].items() for method in methods}
    assert routes == described


def test_the_description_has_this_services_limits():
    fields = document(Limits(max_n=3, max_best_of=7), False)["components"]["schemas"]["GenerationRequest"]["properties"]
    assert fields["n"]["anyOf"][0]["maximum"] == 3
    assert fields["best_of"]["anyOf"][0]["maximum"] == 7


def test_keys_are_in_the_description_where_there_are_any(tmp_path: Path):
    file = tmp_path / "keys"
    file.write_text("a-key-of-some-length\n")
    guarded = FakeService(AppConfig(access=AccessConfig(keys_file=str(file))))
    assert "security" in ask(guarded, "GET", "/openapi.json").json()
    assert "security" not in ask(FakeService(), "GET", "/openapi.json").json()


@pytest.mark.parametrize("path", ["/docs", "/openapi.json"])
def test_the_documentation_fetches_nothing_from_elsewhere(path: str):
    reply = ask(FakeService(), "GET", path, client=("10.0.0.1", 1))
    assert reply.status_code == 200
    assert "http://" not in reply.text and "https://" not in reply.text and "<script" not in reply.text


def test_the_page_names_every_field():
    page = docs_page(document(Limits(), False))
    schemas = document(Limits(), False)["components"]["schemas"]
    for kind in ("GenerationRequest", "EditRequest", "JsonEditRequest", "VariationRequest"):
        assert all(f"<code>{name}</code>" in page for name in schemas[kind]["properties"])
    assert json.dumps(schemas)
