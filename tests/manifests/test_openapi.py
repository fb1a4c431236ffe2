"""The description of the services is what they do: schemathesis asks, and compares."""

from __future__ import annotations

import http.client
import json
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import positive_data_acceptance

from manifests.carried_reports import serialize_carried_reports
from manifests.fleet import FleetStore
from manifests.freshness import serialize_freshness_request
from manifests.openapi import openapi_document, serialize_openapi
from manifests.server import serve_in_background
from tests.conftest import IS_SOAK
from tests.manifests.server_process import whole_plan
from tests.manifests.test_device_messages import REQUEST, signed_report
from tests.manifests.world import NOW, make_publisher, new_bundle

SPEC = Path(__file__).parents[2] / "docs" / "spec" / "openapi.json"
EXAMPLES = 400 if IS_SOAK else 25


def flip(message: bytes, position: int) -> bytes:
    at = position % len(message)
    return message[:at] + bytes([message[at] ^ 1]) + message[at + 1 :]


def bodies() -> st.SearchStrategy[bytes]:
    """Bytes at random, true messages, and true messages with one bit or the end missing."""
    reports = [signed_report(), b"x", signed_report()[:-1]]
    true = st.sampled_from(
        [
            serialize_freshness_request(REQUEST),
            signed_report(),
            serialize_carried_reports(reports),
        ]
    )
    flipped = st.builds(flip, true, st.integers(0, 4000))
    cut = st.builds(lambda message, size: message[:size], true, st.integers(1, 700))
    return st.one_of(st.binary(min_size=1, max_size=4000), true, flipped, cut)


schemathesis.openapi.media_type("application/cbor", bodies())
schema = schemathesis.openapi.from_dict(openapi_document())


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("described")
    publisher = make_publisher(folder / "repository")
    publisher.publish_bundle(new_bundle(), None, now=NOW)
    plan = whole_plan(publisher, folder)
    with serve_in_background(plan) as url:
        yield url, plan


@schema.parametrize()
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_the_services_answer_as_they_are_described(served, case):
    # JSON Schema cannot say which CBOR is a message: a refusal of other bytes is right.
    case.call_and_validate(base_url=served[0], excluded_checks=[positive_data_acceptance])


def test_what_was_asked_at_random_stored_nothing_that_was_not_signed(served):
    with closing(FleetStore(served[1].reports_path)) as fleet:
        assert len(fleet.list_reports()) <= 1


def test_the_description_that_is_served_is_the_documented_one(served):
    parts = urlsplit(served[0])
    with closing(http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)) as opened:
        opened.request("GET", "/api/openapi.json")
        answer = opened.getresponse()
        assert answer.status == 200
        assert json.loads(answer.read()) == json.loads(SPEC.read_text())
    assert SPEC.read_text() == serialize_openapi()


def test_a_limited_client_gets_what_the_description_says(served):
    with serve_in_background(replace(served[1], api_requests_per_minute=1)) as url:
        operation = schema["/api/freshness"]["POST"]
        body = serialize_freshness_request(REQUEST)
        answers = [
            operation.Case(body=body, media_type="application/cbor").call_and_validate(base_url=url)
            for _ in range(2)
        ]
    assert [answer.status_code for answer in answers] == [200, 429]


def test_a_server_that_cannot_store_answers_as_described(served, tmp_path):
    """What random requests to a server that is well never meet."""
    plan = replace(served[1], reports_path=tmp_path / "reports.sqlite")
    with serve_in_background(plan) as url:
        plan.reports_path.unlink()
        carried = serialize_carried_reports([signed_report()])
        asked = (
            ("/api/reports", signed_report(), 503),
            ("/api/report-batches", carried, 200),
            ("/api/health", None, 503),
        )
        for path, body, status in asked:
            operation = schema[path]["GET" if body is None else "POST"]
            sent = {} if body is None else {"body": body, "media_type": "application/cbor"}
            answer = operation.Case(**sent).call_and_validate(
                base_url=url, excluded_checks=[not_a_server_error, positive_data_acceptance]
            )
            assert answer.status_code == status, path
