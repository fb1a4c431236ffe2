"""A repository in a bucket: the same files in the same order, and two publishers never mix."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from manifests.errors import RepositoryError
from manifests.folder_client import FolderClient
from manifests.publication import AssignmentPlan
from manifests.release_life import withdraw_release
from manifests.repository import init_repository
from manifests.repository_audit import audit_repository
from manifests.repository_reading import TIMESTAMP_PATH, load_repository
from manifests.s3_address import S3Address, cache_control_of, parse_s3_address
from manifests.s3_lease import LEASE_LIFETIME
from manifests.s3_store import S3Store
from tests.conftest import IS_SOAK
from tests.manifests.s3_server import serve_bucket
from tests.manifests.world import HARDWARE_CLASS, NOW, new_bundle, old_bundle, open_publisher, trust

ASSIGNMENT = f"campaigns/{HARDWARE_CLASS}/assignment.cose"


class Clock:
    def __init__(self):
        self.now = NOW

    def __call__(self):
        return self.now


@pytest.fixture(autouse=True)
def credentials(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")


@pytest.fixture(params=[True, False], ids=["with If-Match", "without If-Match"])
def bucket(request, tmp_path):
    (tmp_path / "buckets" / "flare").mkdir(parents=True)
    with serve_bucket(tmp_path / "buckets", knows_if_match=request.param) as (endpoint, puts):
        yield S3Address(bucket="flare", prefix="prod", endpoint=endpoint), puts, request.param


def publisher_on(store):
    publisher = open_publisher(None)
    return replace(publisher, store=store)


def make_repository(address, clock=None):
    publisher = publisher_on(S3Store(address, clock=clock or Clock()))
    init_repository(publisher.store, trust(), publisher.signers, publisher.settings, now=NOW)
    return publisher


def test_an_independent_client_reads_what_was_published_to_a_bucket(bucket, tmp_path):
    address, puts, _ = bucket
    publisher = make_repository(address)
    publisher.publish_bundle(new_bundle(), None, now=NOW)
    folder = tmp_path / "buckets/flare/prod"
    reader = FolderClient((folder / "metadata/1.root.json").read_bytes(), tmp_path / "cache")
    shown = reader.read_target(folder, ASSIGNMENT)
    assert (folder / f"device/{HARDWARE_CLASS}/assignment.cose").read_bytes() == shown
    assert set(publisher.store.list_paths()) == {
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    }
    headers = {path.removeprefix("/flare/prod/"): sent for path, sent in puts}
    assert headers["metadata/2.targets.json"]["cache-control"].endswith("immutable")
    timestamp = headers[TIMESTAMP_PATH]
    assert timestamp["cache-control"] == "public, max-age=60, must-revalidate"
    assert timestamp["content-type"] == "application/json"
    assert "if-match" in timestamp
    assert headers["repository.json"]["cache-control"] == "no-store"


def test_files_are_uploaded_before_what_names_them(bucket):
    address, puts, _ = bucket
    publisher = make_repository(address)
    puts.clear()
    publisher.publish_bundle(new_bundle(), None, now=NOW)
    order = [path.removeprefix("/flare/prod/") for path, _ in puts]
    assert "lease" in order[0]
    assert "lease" in order[-1]
    assert order[-3:-1] == [f"device/{HARDWARE_CLASS}/assignment.cose", TIMESTAMP_PATH]
    numbered = [index for index, path in enumerate(order) if path.startswith("metadata/2.")]
    targets = [index for index, path in enumerate(order) if path.startswith("targets/")]
    # The assignment comes after the documents: so no one that anybody saw has its sequence again.
    assert targets.pop() == max(numbered) + 1
    assert order[max(numbered) + 1].startswith(f"targets/campaigns/{HARDWARE_CLASS}/")
    assert max(targets) < min(numbered)


def test_two_publishers_do_not_meet_and_a_killed_ones_lease_ends(bucket):
    address, _, _ = bucket
    clock = Clock()
    publisher = make_repository(address, clock)
    other = publisher_on(S3Store(address, clock=clock))
    with publisher.store.exclusively():
        with pytest.raises(RepositoryError, match="somebody else publishes") as refused:
            other.renew(now=NOW)
        assert "minutes" in refused.value.hint
    other.renew(now=NOW)
    # Killed: its lease is taken and never given back.
    S3Store(address, clock=clock)._take_lease()
    with pytest.raises(RepositoryError, match="somebody else publishes"):
        other.renew(now=NOW)
    clock.now += LEASE_LIFETIME
    assert other.renew(now=NOW).timestamp.signed.version == 3


def test_a_publisher_that_outlived_its_lease_writes_nothing(bucket):
    address, _, _ = bucket
    clock = Clock()
    slow, quick = make_repository(address, clock), publisher_on(S3Store(address, clock=clock))
    with slow.store.exclusively():
        load_repository(slow.store)
        clock.now += LEASE_LIFETIME
        quick.renew(now=NOW)
        published = quick.store.read(TIMESTAMP_PATH, max_bytes=1 << 20)
        with pytest.raises(RepositoryError, match="a lease that ended before"):
            slow.store.write(TIMESTAMP_PATH, b"late")
    assert quick.store.read(TIMESTAMP_PATH, max_bytes=1 << 20) == published


def test_a_timestamp_that_changed_since_it_was_read_is_not_replaced(bucket):
    """Whose clock stands still believes in its lease: the condition on the PUT refuses it."""
    address, _, knows_if_match = bucket
    late, clock = Clock(), Clock()
    slow, quick = make_repository(address, late), publisher_on(S3Store(address, clock=clock))
    with slow.store.exclusively():
        load_repository(slow.store)
        clock.now += LEASE_LIFETIME
        quick.renew(now=NOW)
        published = quick.store.read(TIMESTAMP_PATH, max_bytes=1 << 20)
        if not knows_if_match:
            return
        with pytest.raises(RepositoryError, match="somebody else changed the repository"):
            slow.store.write(TIMESTAMP_PATH, b"late")
    assert quick.store.read(TIMESTAMP_PATH, max_bytes=1 << 20) == published


def test_a_long_publication_extends_its_lease(bucket):
    address, _, _ = bucket
    clock = Clock()
    publisher = make_repository(address, clock)
    other = publisher_on(S3Store(address, clock=clock))
    with publisher.store.exclusively():
        for _ in range(4):
            clock.now += LEASE_LIFETIME * 0.7
            publisher.store.write("targets/x/1", b"1")
            with pytest.raises(RepositoryError, match="somebody else publishes"):
                other.renew(now=NOW)


def test_a_publication_cut_at_each_upload_leaves_a_repository_that_verifies(bucket, tmp_path):
    address, _, _ = bucket
    clock = Clock()
    make_repository(address, clock).publish_bundle(old_bundle(), None, now=NOW)
    folder = tmp_path / "buckets/flare/prod"
    root = (folder / "metadata/1.root.json").read_bytes()

    class Cut(S3Store):
        left = 0

        def _put(self, path, content, mode):
            if self.left <= 0:
                raise KeyboardInterrupt
            self.left -= 1
            return super()._put(path, content, mode)

    for cut_at in range(30) if IS_SOAK else (0, 1, 6, 10, 11, 30):
        store = Cut(address, clock=clock)
        store.left = cut_at
        clock.now += LEASE_LIFETIME
        try:
            publisher_on(store).publish_bundle(new_bundle(), None, now=NOW)
            break
        except KeyboardInterrupt:
            reader = FolderClient(root, tmp_path / f"client-{cut_at}")
            assert reader.read_target(folder, ASSIGNMENT)
    assert cut_at > 11


def test_an_upload_whose_answer_is_lost_is_known_as_our_own(tmp_path):
    """The client tries it again, and the store says that the file is there, or has changed."""
    (tmp_path / "flare").mkdir()
    lost = []

    def lose(number, edge):
        path = puts[number][0]
        is_first = edge == "after" and path not in lost
        lost.extend([path] if is_first else [])
        return is_first

    with serve_bucket(tmp_path, around_put=lose) as (endpoint, puts):
        address = S3Address(bucket="flare", prefix="prod", endpoint=endpoint)
        publisher = make_repository(address)
        publisher.publish_bundle(new_bundle(), None, now=NOW)
        withdraw_release(publisher, "1.5.0", reason="stops early", now=NOW)
        uploads = [path.removeprefix("/flare/prod/") for path in lost]
        assert {TIMESTAMP_PATH, "metadata/1.root.json", "publishing/lease-000000000003.json"} <= {
            *uploads
        }
        assert len(uploads) > 15
        assert audit_repository(publisher.store, trust(), now=NOW).is_sound


def test_another_file_than_ours_is_somebody_elses_though_an_answer_was_lost(tmp_path):
    (tmp_path / "flare").mkdir()
    theirs = tmp_path / "flare/prod/metadata/timestamp.json"
    state = []

    def replace_and_lose(number, edge):
        if state and edge == "before" and puts[number][0].endswith("timestamp.json"):
            theirs.write_bytes(b"theirs")
        return False

    with serve_bucket(tmp_path, around_put=replace_and_lose) as (endpoint, puts):
        publisher = make_repository(S3Address(bucket="flare", prefix="prod", endpoint=endpoint))
        state.append("began")
        with pytest.raises(RepositoryError, match="somebody else changed the repository"):
            publisher.publish_bundle(new_bundle(), None, now=NOW)
    assert theirs.read_bytes() == b"theirs"


@pytest.mark.parametrize("behind", [timedelta(minutes=2), timedelta(days=400)])
def test_a_lease_of_a_clock_far_ahead_does_not_tell_to_wait(bucket, behind):
    """It would be for days or years: somebody's clock is wrong, and only people can say whose."""
    address, puts, _ = bucket
    clock = Clock()
    publisher = make_repository(address, clock)
    S3Store(address, clock=clock)._take_lease()
    clock.now -= behind
    puts.clear()
    with pytest.raises(RepositoryError, match="ends later than any lease does") as refused:
        publisher.renew(now=NOW)
    assert f"{NOW + LEASE_LIFETIME:%Y-%m-%d %H:%M} UTC" == refused.value.got
    assert f"{clock.now:%Y-%m-%d %H:%M} UTC" in refused.value.expected
    assert "remove that file" in refused.value.hint
    assert str(refused.value.where).endswith("publishing/lease-000000000002.json")
    assert puts == []


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"[" * 1024, b'{"until_s": "x"}'])
def test_a_lease_that_cannot_be_read_is_told(bucket, tmp_path, content):
    address, _, _ = bucket
    publisher = make_repository(address)
    (tmp_path / "buckets/flare/prod/publishing/lease-000000000002.json").write_bytes(content)
    with pytest.raises(RepositoryError, match="lease cannot be read") as refused:
        publisher.renew(now=NOW)
    assert "remove that file" in refused.value.hint


def test_a_store_refuses_what_it_cannot_do_and_says_what_to_do(bucket, monkeypatch):
    address, _, _ = bucket
    missing = S3Store(replace(address, bucket="nobody"))
    for act in (
        lambda: missing.read("x", max_bytes=1),
        lambda: missing.write("x", b""),
        lambda: list(missing.list_paths()),
    ):
        with pytest.raises(RepositoryError, match="there is no such bucket"):
            act()
    store = S3Store(address)
    store.write("x", b"12")
    with pytest.raises(RepositoryError, match="too large"):
        store.read("x", max_bytes=1)
    assert store.read("y", max_bytes=1) is None
    with pytest.raises(RepositoryError, match="cannot be written"):
        store.copy("y", "z")


def test_a_campaign_goes_on_in_a_bucket(bucket):
    address, _, _ = bucket
    publisher = make_repository(address)
    publisher.publish_bundle(old_bundle(), None, now=NOW)
    publisher.publish_bundle(new_bundle(), AssignmentPlan(campaign="a", drawn_ppm=1), now=NOW)
    done = publisher.publish_plan(
        "1.5.0", AssignmentPlan(campaign="a"), now=NOW + timedelta(minutes=1)
    )
    assert done.assignment.sequence == 3


@pytest.mark.parametrize(
    "text",
    [
        "",
        "s3://",
        "s3://b",
        "http://flare",
        "s3://flare/../x",
        "s3://flare/a//b",
        "s3://Flare",
        "s3://flare/é",
    ],
)
def test_an_address_that_names_no_bucket_is_refused(text):
    with pytest.raises(RepositoryError, match="address of a bucket"):
        parse_s3_address(text)


def test_addresses_and_endpoints():
    assert parse_s3_address("s3://flare-updates/prod/") == S3Address(
        bucket="flare-updates", prefix="prod"
    )
    assert str(parse_s3_address("s3://flare-updates")) == "s3://flare-updates"
    with pytest.raises(RepositoryError, match="not a URL"):
        parse_s3_address("s3://flare", endpoint="ftp://x")
    assert cache_control_of("device/artifacts/" + "0" * 64).endswith("immutable")
