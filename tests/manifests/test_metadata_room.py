"""What is too large to be read is never written, and what a full list has can be withdrawn."""

from __future__ import annotations

import pytest
from tuf.ngclient.config import UpdaterConfig

from manifests.errors import RepositoryError
from manifests.metadata_room import METADATA_MAX_BYTES, METADATA_VALUES_MAX
from manifests.release_life import withdraw_release
from manifests.repository import NewFile, publish_files
from manifests.repository_reading import load_repository
from manifests.repository_status import describe_repository
from manifests.status_words import format_status
from manifests.withdrawal import list_withdrawals
from tests.manifests.world import NOW, make_publisher, new_bundle, old_bundle, trust


@pytest.fixture
def publisher(tmp_path):
    publisher = make_publisher(tmp_path / "repository")
    publisher.publish_bundle(old_bundle(), None, now=NOW)
    return publisher


def fill(publisher, share, *, by):
    """Fill the list of releases up to a share of its bound, as very many releases would."""
    words = (
        {"text": "x" * int(share * METADATA_MAX_BYTES)}
        if by == "bytes"
        else {"values": [0] * int(share * METADATA_VALUES_MAX)}
    )
    publish_files(
        publisher.store,
        publisher.signers,
        publisher.settings,
        releases=(NewFile(path="artifacts/many", content=b"many", custom=words),),
        now=NOW,
    )


def files(publisher):
    root = publisher.store.root
    return {p: p.read_bytes() for p in root.rglob("*") if p.is_file()}


@pytest.mark.parametrize("by", ["bytes", "values"])
def test_what_would_be_too_large_to_read_is_never_written(publisher, by):
    before = files(publisher)
    with pytest.raises(RepositoryError, match="targets metadata is too large") as refused:
        fill(publisher, 1, by=by)
    assert "withdrawn" in refused.value.hint
    assert files(publisher) == before


@pytest.mark.parametrize("by", ["bytes", "values"])
def test_a_full_list_takes_no_release_and_lets_one_be_withdrawn(publisher, by):
    fill(publisher, 0.95, by=by)
    before = files(publisher)
    with pytest.raises(RepositoryError, match="list of releases is full") as refused:
        publisher.publish_bundle(new_bundle(), None, now=NOW)
    assert "withdrawn" in refused.value.hint
    assert files(publisher) == before
    status = describe_repository(publisher.store, trust(), now=NOW)
    assert status["list_filled_percent"] == 95
    assert "the list of releases is 95% full" in format_status(status)
    assert publisher.publish_bundle(old_bundle(), None, now=NOW).is_new_release is False
    withdraw_release(publisher, "1.4.0", reason="drawn", now=NOW)
    assert len(list_withdrawals(load_repository(publisher.store))) == 1


def test_independent_clients_read_what_we_write(publisher):
    status = describe_repository(publisher.store, trust(), now=NOW)
    assert (status["list_filled_percent"], status["list_words"]) == (0, "")
    assert UpdaterConfig().targets_max_length >= METADATA_MAX_BYTES
