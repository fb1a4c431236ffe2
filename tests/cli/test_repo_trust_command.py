"""`ampforge repo publish-trust`: boards follow the record that `key rotate` made."""

from __future__ import annotations

import json

from manifests.errors import RepositoryError
from tests.cli.test_repo_rotate_command import (  # noqa: F401 - a fixture
    _invoke,
    _replace,
    _run,
    product,
)


def test_a_record_without_new_tuf_keys_is_published_alone(product):  # noqa: F811 - the fixture
    said = _run("repo", "publish-trust")
    assert said.startswith("trust record version 1 follows none")
    _replace(product, "freshness", "freshness-2")
    document = json.loads(_run("repo", "publish-trust", "--json"))
    assert document == {
        "schema": "ampforge.trust-publication/1",
        "trust_version": 2,
        "follows_versions": [1],
        "assignments_signed_again": [],
        "releases_refused": [],
    }
    published = product / "repository/device/trust/after-1.cose"
    record = (product / "trust.cose").read_bytes()
    assert published.read_bytes() == record
    assert "published already" in _run("repo", "publish-trust")
    assert not (product / "repository/metadata/2.root.json").exists()


def test_rotating_publishes_the_record_too(product):  # noqa: F811 - the fixture
    _replace(product, "timestamp", "timestamp-2")
    refused = _invoke("repo", "publish-trust")
    assert isinstance(refused.exception, RepositoryError)
    assert not (product / "repository/device/trust").exists()
    document = json.loads(_run("repo", "rotate", "--json"))
    assert document["trust"]["follows_versions"] == [1]
    assert "boards with version 1 take it" not in _run("repo", "publish-trust")
