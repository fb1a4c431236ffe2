"""A repository that is served does not expire, and what keeps it from being signed is told."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest

from manifests.errors import RepositoryError
from manifests.refreshing import refresh_if_due, refreshing
from manifests.repository_reading import load_repository
from signing.roles import Role
from tests.manifests.world import NOW, make_publisher, new_bundle, signers


@pytest.fixture
def publisher(tmp_path):
    publisher = make_publisher(tmp_path / "repository")
    publisher.publish_bundle(new_bundle(), None, now=NOW)
    online = {
        role: keys for role, keys in signers().items() if role in {Role.SNAPSHOT, Role.TIMESTAMP}
    }
    object.__setattr__(publisher, "signers", online)
    return publisher


def test_nothing_is_signed_in_the_first_half_of_its_life(publisher):
    before = (publisher.store.root / "metadata/timestamp.json").read_bytes()
    assert refresh_if_due(publisher, now=NOW + timedelta(days=3)) is None
    assert (publisher.store.root / "metadata/timestamp.json").read_bytes() == before


def test_a_timestamp_is_signed_again_in_the_second_half_by_the_online_keys_alone(publisher):
    now = NOW + timedelta(days=4)
    assert refresh_if_due(publisher, now=now) == now + timedelta(days=7)
    assert load_repository(publisher.store).targets.signed.version == 2


def test_a_block_that_runs_keeps_the_repository_fresh(publisher):
    told = threading.Event()
    with refreshing(
        publisher,
        on_refresh=lambda _: told.set(),
        on_failure=pytest.fail,
        clock=lambda: NOW + timedelta(days=6),
        interval_s=0.01,
    ):
        assert told.wait(10)
    expires = load_repository(publisher.store).timestamp.signed.expires
    assert expires == NOW + timedelta(days=13)


def test_a_failure_is_told_once_and_tried_again(publisher):
    failures, done = [], threading.Event()

    def fail(error):
        failures.append(error)
        object.__setattr__(publisher, "signers", signers())

    object.__setattr__(publisher, "signers", {})
    with refreshing(
        publisher,
        on_refresh=lambda _: done.set(),
        on_failure=fail,
        clock=lambda: NOW + timedelta(days=6),
        interval_s=0.01,
    ):
        assert done.wait(10)
    (failure,) = failures
    assert isinstance(failure, RepositoryError)
    assert "too few keys of the role snapshot" in str(failure)
