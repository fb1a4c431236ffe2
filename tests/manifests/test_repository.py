"""The repository: an independent TUF client reads it at every moment, and devices agree with it."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta

import pytest
from tuf.api.exceptions import RepositoryError as TufError
from tuf.ngclient import Updater

from manifests.assignment import PINNED_MAX_COUNT, verify_assignment
from manifests.errors import RepositoryError
from manifests.gateway import Gateway, target_path_of
from manifests.manifest import verify_manifest
from manifests.publication import AssignmentPlan
from manifests.published_releases import list_releases
from manifests.repository import init_repository
from manifests.repository_audit import audit_repository
from manifests.repository_reading import load_repository, read_target
from manifests.repository_status import describe_repository
from manifests.served_files import is_immutable_name
from manifests.server import ServerPlan, serve_in_background
from manifests.status_words import expiry_in_words, format_status
from manifests.store import FolderStore
from signing.errors import SigningError
from signing.roles import Role
from signing.signers import SoftwareSigner
from tests.firmware_images.release_parts import signer
from tests.manifests.world import (
    HARDWARE_CLASS,
    NOW,
    bundle,
    make_publisher,
    new_bundle,
    old_bundle,
    open_publisher,
    signers,
    trust,
)


class CutStore(FolderStore):
    """A folder whose machine dies before one of its writes."""

    def __init__(self, root, cut_at=None):
        super().__init__(root)
        self.cut_at, self.writes = cut_at, 0

    def _count(self):
        if self.cut_at is not None and self.writes >= self.cut_at:
            raise KeyboardInterrupt
        self.writes += 1

    def write(self, path, content):
        self._count()
        super().write(path, content)

    def copy(self, source, destination):
        self._count()
        super().copy(source, destination)


def client(url, folder, root):
    (folder / "targets").mkdir(parents=True, exist_ok=True)
    return Updater(
        metadata_dir=str(folder),
        metadata_base_url=f"{url}/metadata/",
        target_dir=str(folder / "targets"),
        target_base_url=f"{url}/targets/",
        bootstrap=root,
    )


@pytest.fixture
def publisher(tmp_path):
    return make_publisher(tmp_path / "repository")


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """One repository with both releases, over real HTTP."""
    publisher = make_publisher(tmp_path_factory.mktemp("served") / "repository")
    publisher.publish_bundle(old_bundle(), None, now=NOW)
    publisher.publish_bundle(new_bundle(), None, now=NOW)
    with serve_in_background(ServerPlan(folder=publisher.store.root)) as url:
        yield publisher, url


def root_bytes(publisher):
    return (publisher.store.root / "metadata/1.root.json").read_bytes()


def test_python_tufs_client_finds_every_release(served, tmp_path):
    publisher, url = served
    updater = client(url, tmp_path, root_bytes(publisher))
    updater.refresh()
    releases = list_releases(load_repository(publisher.store))
    assert [release.version for release in releases] == ["1.4.0", "1.5.0"]
    for release in releases:
        entry = updater.get_targetinfo(release.target_path)
        content = open(updater.download_target(entry), "rb").read()  # noqa: PTH123, SIM115
        assert verify_manifest(content, trust()).version == release.version
    assert updater.get_targetinfo("manifests/unknown.cose") is None


def test_the_tuf_view_and_the_device_view_are_the_same_bytes(served, tmp_path):
    publisher, url = served
    updater = client(url, tmp_path, root_bytes(publisher))
    metadata = load_repository(publisher.store)
    device = publisher.store.root / "device"
    seen = 0
    for file in sorted(device.rglob("*")):
        if file.is_dir():
            continue
        entry = updater.get_targetinfo(target_path_of(f"device/{file.relative_to(device)}"))
        assert entry is not None, file
        verified = open(updater.download_target(entry), "rb").read()  # noqa: PTH123, SIM115
        assert verified == file.read_bytes(), file
        seen += 1
    assert seen == 6  # two apps, one slot image, two manifests, one assignment
    assignment = verify_assignment(
        (device / HARDWARE_CLASS / "assignment.cose").read_bytes(), trust()
    )
    listed = {release.manifest_sha256: release for release in list_releases(metadata)}
    manifest_path = listed[assignment.manifest_sha256].target_path
    manifest = verify_manifest(
        read_target(publisher.store, metadata.targets.signed.targets[manifest_path]), trust()
    )
    for digest in (manifest.app.sha256, manifest.waveform.sha256):
        entry = updater.get_targetinfo(f"artifacts/{digest.hex()}")
        assert entry.hashes["sha256"] == digest.hex()
        assert entry.length in {manifest.app.size_bytes, manifest.waveform.size_bytes}


def test_a_campaign_key_cannot_add_a_release(publisher, tmp_path):
    metadata = load_repository(publisher.store)
    role = metadata.targets.signed.delegations.roles["campaign"]
    assert role.is_delegated_path("campaigns/flare-c3/assignment.cose")
    for path in ("manifests/x.cose", "artifacts/x", "bundles/x.zip", "campaigns/a/b/c"):
        assert not role.is_delegated_path(path)


def assert_no_immutable_file_changed(folder, seen):
    """What a cache may keep for a year is what it was when anybody could first ask for it."""
    shown = {path: path.read_bytes() for path in folder.rglob("*") if is_immutable_name(path.name)}
    assert seen.items() <= shown.items()
    seen |= shown


def test_every_moment_of_a_publication_is_verifiable(tmp_path):
    seen = {}
    make_publisher(tmp_path / "repository").publish_bundle(old_bundle(), None, now=NOW)
    folder = tmp_path / "repository"
    with serve_in_background(ServerPlan(folder=folder)) as url:
        root = (folder / "metadata/1.root.json").read_bytes()
        for cut_at in range(40):
            store = CutStore(folder, cut_at)
            dying = open_publisher(folder)
            object.__setattr__(dying, "store", store)
            try:
                # Each time at another moment: so each time with other bytes.
                dying.publish_bundle(new_bundle(), None, now=NOW + timedelta(seconds=cut_at))
                finished = True
            except KeyboardInterrupt:
                finished = False
            assert_no_immutable_file_changed(folder, seen)
            updater = client(url, tmp_path / f"client-{cut_at}", root)
            updater.refresh()
            entry = updater.get_targetinfo(f"campaigns/{HARDWARE_CLASS}/assignment.cose")
            updater.download_target(entry)
            shown = folder / "device" / HARDWARE_CLASS / "assignment.cose"
            assignment = verify_assignment(shown.read_bytes(), trust())
            named = folder / "device/manifests" / f"{assignment.manifest_sha256.hex()}.cose"
            manifest = verify_manifest(named.read_bytes(), trust())
            for digest in (manifest.app.sha256, manifest.waveform.sha256):
                artifact = (folder / "device/artifacts" / digest.hex()).read_bytes()
                assert hashlib.sha256(artifact).digest() == digest
            if finished:
                assert cut_at == 13
                assert manifest.version == "1.5.0"
                return
    raise AssertionError("the publication never finished")


def test_a_repository_is_made_once(publisher):
    with pytest.raises(RepositoryError, match="already"):
        init_repository(publisher.store, trust(), publisher.signers, publisher.settings, now=NOW)


def test_a_repository_that_lost_its_timestamp_is_not_made_anew(publisher):
    """Its first root, which clients hold, and what never changes would have been replaced."""
    root = publisher.store.root
    publisher.renew(now=NOW)
    (root / "metadata/timestamp.json").unlink()
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    with pytest.raises(RepositoryError, match="its timestamp is missing") as refused:
        make_publisher(root)
    assert "backup" in refused.value.hint
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before


def test_an_initialisation_that_was_cut_off_anywhere_is_made_again(tmp_path):
    publisher = open_publisher(tmp_path / "repository")
    (tmp_path / "repository").mkdir()
    (tmp_path / "repository" / "README").write_text("of somebody else")
    for cut_at in range(10):
        store = CutStore(tmp_path / "repository", cut_at)
        try:
            init_repository(store, trust(), publisher.signers, publisher.settings, now=NOW)
            break
        except KeyboardInterrupt:
            with pytest.raises(RepositoryError, match=r"no repository here|is missing"):
                load_repository(store)
    assert cut_at == 6
    assert audit_repository(publisher.store, trust(), now=NOW).is_sound


def test_too_few_root_keys_make_no_repository(tmp_path):
    few = signers() | {Role.ROOT: (), Role.RELEASE: (signer("release-1"),)}
    publisher = open_publisher(tmp_path)
    for role, keys in ((Role.ROOT, "root"), (Role.RELEASE, "targets")):
        with pytest.raises(RepositoryError, match=f"repository's {keys}"):
            init_repository(
                publisher.store,
                trust(),
                signers() | {role: few[role]},
                publisher.settings,
                now=NOW,
            )
    assert not (tmp_path / "metadata").exists()


def test_a_signer_without_the_role_counts_for_nothing(publisher):
    wrong = dict(publisher.signers) | {Role.TIMESTAMP: (signer("campaign-1"),)}
    object.__setattr__(publisher, "signers", wrong)
    before = (publisher.store.root / "metadata/timestamp.json").read_bytes()
    with pytest.raises(RepositoryError, match="timestamp"):
        publisher.renew(now=NOW)
    assert (publisher.store.root / "metadata/timestamp.json").read_bytes() == before
    object.__setattr__(publisher, "signers", {})
    with pytest.raises(RepositoryError, match="no private key of the role release"):
        publisher.publish_bundle(new_bundle(), None, now=NOW)


def test_test_keys_publish_only_where_it_was_allowed(tmp_path):
    marked = SoftwareSigner(signer("timestamp-1-ed").private_key, where="t", is_test_key=True)
    with_mark = signers() | {Role.TIMESTAMP: (marked,)}
    publisher = open_publisher(tmp_path / "real")
    with pytest.raises(RepositoryError, match="test keys must not publish"):
        init_repository(publisher.store, trust(), with_mark, publisher.settings, now=NOW)
    trial = open_publisher(tmp_path / "trial")
    init_repository(trial.store, trust(), with_mark, trial.settings, now=NOW, allows_test_keys=True)
    status = describe_repository(trial.store, trust(), now=NOW)
    assert "never point customers' devices" in format_status(status)


def test_publishing_the_same_release_again_only_assigns_it_again(publisher):
    first = publisher.publish_bundle(new_bundle(), None, now=NOW)
    second = publisher.publish_bundle(new_bundle(), None, now=NOW + timedelta(hours=1))
    assert (first.is_new_release, second.is_new_release) == (True, False)
    assert first.manifest_sha256 == second.manifest_sha256
    assert second.assignment.sequence == 2
    assert load_repository(publisher.store).targets.signed.version == 2


def test_a_release_counter_that_does_not_rise_is_refused(publisher):
    publisher.publish_bundle(new_bundle(), None, now=NOW)
    for late in (old_bundle(), bundle(release_counter=2, peak_na=200_000)):
        with pytest.raises(RepositoryError, match="counter"):
            publisher.publish_bundle(late, None, now=NOW)
    assert len(list_releases(load_repository(publisher.store))) == 1


def test_a_bundle_with_a_flipped_bit_is_not_published(publisher):
    before = sorted(path.name for path in publisher.store.root.rglob("*"))
    broken = bytearray(new_bundle())
    broken[len(broken) // 2] ^= 1
    with pytest.raises((SigningError, Exception)):
        publisher.publish_bundle(bytes(broken), None, now=NOW)
    assert sorted(path.name for path in publisher.store.root.rglob("*")) == before


@pytest.mark.parametrize("name", ["ä", "a\nb", "\udcff", "x" * 49])
def test_names_and_numbers_that_no_board_shows_are_refused_before_anything_is_signed(name):
    with pytest.raises(RepositoryError, match="a campaign cannot have this name"):
        AssignmentPlan(campaign=name)
    with pytest.raises(RepositoryError, match="no such serial number"):
        AssignmentPlan(pinned_serial_numbers=("A", name))


def test_more_pins_than_a_message_carries_are_refused_with_how_many_fewer():
    pins = tuple(f"FL{number}" for number in range(PINNED_MAX_COUNT + 2))
    with pytest.raises(RepositoryError, match="cannot pin so many") as refused:
        AssignmentPlan(pinned_serial_numbers=pins)
    assert "pin 2 fewer" in refused.value.hint


def test_a_campaign_keeps_its_draw_and_a_new_one_draws_anew(publisher):
    salts = iter(bytes([n]) * 16 for n in range(9))
    object.__setattr__(publisher, "draw_bytes", lambda _: next(salts))
    publisher.publish_bundle(new_bundle(), AssignmentPlan(campaign="a"), now=NOW)
    same = publisher.publish_plan("1.5.0", AssignmentPlan(campaign="a", drawn_ppm=1), now=NOW)
    other = publisher.publish_plan("1.5.0", AssignmentPlan(campaign="b"), now=NOW)
    assert same.assignment.salt == bytes(16)
    assert other.assignment.salt == b"\x01" * 16
    with pytest.raises(RepositoryError, match="not published"):
        publisher.publish_plan("9.9.9", AssignmentPlan(campaign="c"), now=NOW)


def test_two_publishers_do_not_meet(publisher):
    with (
        publisher.store.exclusively(),
        pytest.raises(RepositoryError, match="somebody else publishes"),
        FolderStore(publisher.store.root).exclusively(),
    ):
        pass


@pytest.mark.parametrize(
    ("path", "damage", "telling"),
    [
        ("metadata/timestamp.json", b"{}", "cannot be read"),
        ("metadata/timestamp.json", None, "missing"),
        ("metadata/1.snapshot.json", b"[", "cannot be read"),
        ("metadata/1.root.json", None, "no repository here"),
        ("repository.json", b"[", "not JSON"),
        ("repository.json", b"{}", "unknown kind"),
        ("repository.json", None, "no repository here"),
    ],
)
def test_a_damaged_repository_is_not_signed_on_top_of(publisher, path, damage, telling):
    target = publisher.store.root / path
    target.unlink() if damage is None else target.write_bytes(damage)
    with pytest.raises(RepositoryError, match=telling):
        publisher.renew(now=NOW)


def test_another_roles_document_and_a_forged_one_are_refused(publisher):
    metadata = publisher.store.root / "metadata"
    (metadata / "timestamp.json").write_bytes((metadata / "1.snapshot.json").read_bytes())
    with pytest.raises(RepositoryError, match="another role's"):
        load_repository(publisher.store)
    document = json.loads((metadata / "1.root.json").read_text())
    document["signed"]["version"] = 2
    (metadata / "2.root.json").write_text(json.dumps(document))
    with pytest.raises(RepositoryError, match="root"):
        load_repository(publisher.store)


def test_a_damaged_target_is_noticed(publisher):
    publisher.publish_bundle(new_bundle(), None, now=NOW)
    metadata = load_repository(publisher.store)
    (entry,) = [e for p, e in metadata.targets.signed.targets.items() if p.startswith("manifests")]
    path = publisher.store.root / "targets" / entry.get_prefixed_paths()[0]
    path.write_bytes(b"x")
    with pytest.raises(RepositoryError, match="missing or damaged"):
        read_target(publisher.store, entry)


def test_the_status_says_what_expires_when(publisher):
    publisher.publish_bundle(new_bundle(), None, now=NOW)
    pinned = AssignmentPlan(
        campaign="pilot", drawn_ppm=50_000, pinned_serial_numbers=("A", "B"), is_halted=True
    )
    publisher.publish_plan("1.5.0", pinned, now=NOW)
    text = format_status(describe_repository(publisher.store, trust(), now=NOW))
    assert "1.5.0  (counter 2, flare-c3)" in text
    assert "HALTED (1.5.0 to 5 % of the devices and 2 pinned)" in text
    assert "expires in 7 days" in text
    later = describe_repository(publisher.store, trust(), now=NOW + timedelta(days=8))
    assert later["schema"] == "ampforge.repo-status/1"
    assert "EXPIRED 24 h ago" in format_status(later)
    assert [d["name"] for d in later["documents"] if d["is_expired"]] == ["timestamp"]
    much_later = describe_repository(publisher.store, trust(), now=NOW + timedelta(days=800))
    words = {d["name"]: (d["signed_by"], d["expiry"]) for d in much_later["documents"]}
    assert words["targets"][0] == "release"
    assert "the root key holders must run `ampforge repo rotate`" in words["root"][1]
    empty = format_status(
        describe_repository(make_publisher(publisher.store.root / "x").store, trust(), now=NOW)
    )
    assert "none yet" in empty


def test_short_times_are_told_in_minutes():
    at = datetime(2026, 1, 1, tzinfo=UTC)
    assert "expires in 90 min" in expiry_in_words(at + timedelta(minutes=90), at, "renew")


def test_renewing_brings_an_expired_repository_back(tmp_path):
    long_ago = datetime.now(UTC).replace(microsecond=0) - timedelta(days=20)
    publisher = make_publisher(tmp_path / "repository", now=long_ago)
    with serve_in_background(ServerPlan(folder=publisher.store.root)) as url:
        with pytest.raises(TufError, match="expired"):
            client(url, tmp_path / "a", root_bytes(publisher)).refresh()
        publisher.renew(now=datetime.now(UTC).replace(microsecond=0))
        client(url, tmp_path / "b", root_bytes(publisher)).refresh()


def test_a_clock_beyond_the_root_signs_nothing(publisher):
    """A timestamp that holds until 2100 would let a mirror freeze everybody for as long."""

    def published():
        files = (path for path in publisher.store.root.rglob("*") if path.is_file())
        return {path: path.read_bytes() for path in files}

    before = published()
    with pytest.raises(RepositoryError, match="root has expired by this machine's clock"):
        publisher.renew(now=datetime(2100, 1, 1, tzinfo=UTC))
    assert published() == before


def test_a_gateway_gives_out_verified_bytes_only(served, tmp_path):
    from manifests.errors import TransportError
    from manifests.transfer import Fetch

    publisher, url = served
    gateway = Gateway(url, trusted_root=root_bytes(publisher), cache=tmp_path / "cache")
    path = f"device/{HARDWARE_CLASS}/assignment.cose"
    expected = (publisher.store.root / path).read_bytes()
    assert gateway.fetch(Fetch(path=path, max_bytes=1024)) == expected
    part = gateway.fetch(Fetch(path=path, max_bytes=10, offset_bytes=5, is_part=True))
    assert part == expected[5:15]
    for wrong, telling in (
        (Fetch(path=path, max_bytes=10), "larger than a board accepts"),
        (Fetch(path="device/artifacts/none", max_bytes=10), "lists no such target"),
        (Fetch(path="metadata/timestamp.json", max_bytes=10), "not for boards"),
        (Fetch(path="device/../x", max_bytes=10), "not for boards"),
        (Fetch(path="../admin/delete", max_bytes=10, body=b"x"), "not for boards"),
        (Fetch(path="api/reports?x", max_bytes=10, body=b"x"), "not for boards"),
        (Fetch(path="api/freshness", max_bytes=10, body=b"x"), "refuses the request"),
    ):
        with pytest.raises(TransportError, match=telling):
            gateway.fetch(wrong)
    gateway.close()
    other_root = (
        make_publisher(tmp_path / "other").store.root / "metadata/1.root.json"
    ).read_text()
    document = json.loads(other_root)
    for signature in document["signatures"]:
        signature["sig"] = "00"
    stranger = Gateway(url, trusted_root=json.dumps(document).encode(), cache=tmp_path / "c2")
    with pytest.raises(TransportError, match="trusted TUF root cannot be used"):
        stranger.refresh()
    gone = Gateway("http://127.0.0.1:9", trusted_root=root_bytes(publisher), cache=tmp_path / "c3")
    with pytest.raises(TransportError, match="cannot connect to"):
        gone.refresh()
    (tmp_path / "file").write_text("x")
    nowhere = Gateway(url, trusted_root=root_bytes(publisher), cache=tmp_path / "file")
    with pytest.raises(TransportError, match="cache cannot be made"):
        nowhere.refresh()
