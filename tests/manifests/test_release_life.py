"""A release after its publication: promoted to more devices, or withdrawn for ever."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import ClassVar

import pytest

from manifests.assignment import verify_assignment
from manifests.errors import RepositoryError, TransportError
from manifests.folder_client import FolderClient
from manifests.gateway import Gateway
from manifests.manifests_settings import RepositorySettings
from manifests.publication import AssignmentPlan
from manifests.published_releases import find_bundle
from manifests.release_extension import extend_release
from manifests.release_life import promote_release, withdraw_release
from manifests.repository import init_repository
from manifests.repository_audit import audit_repository
from manifests.repository_reading import load_repository
from manifests.repository_status import describe_repository
from manifests.root_rotation import rotate_root
from manifests.server import ServerPlan, serve_in_background
from manifests.status_words import format_status
from manifests.store import FolderStore
from manifests.transfer import Fetch
from manifests.trust_publication import publish_trust
from signing.roles import Role
from signing.trust import sign_trust_record
from tests.firmware_images.release_parts import signer
from tests.manifests.test_update_attacks import (
    RULES,
    UpdateResult,
    make_device,
    run_session,
    serve,
    update_device,
)
from tests.manifests.world import (
    HARDWARE_CLASS,
    NOW,
    bundle,
    make_publisher,
    new_bundle,
    old_bundle,
    open_publisher,
    put_in_force,
    signers,
    trust,
)

PILOT = AssignmentPlan(campaign="pilot", drawn_ppm=50_000, pinned_serial_numbers=("A", "B"))


@pytest.fixture
def publisher(tmp_path):
    publisher = make_publisher(tmp_path / "repository")
    publisher.publish_bundle(old_bundle(), None, now=NOW)
    publisher.publish_bundle(new_bundle(), PILOT, now=NOW)
    return publisher


def files(publisher):
    return {p: p.read_bytes() for p in publisher.store.root.rglob("*") if p.is_file()}


def shown(publisher):
    path = publisher.store.root / "device" / HARDWARE_CLASS / "assignment.cose"
    return verify_assignment(path.read_bytes(), trust())


def test_a_campaign_is_promoted_though_a_thief_drove_the_sequence_to_its_end(publisher):
    """What follows the last sequence is the first, and the share still grows."""
    put_in_force(publisher, replace(shown(publisher), sequence=0xFFFFFFFF))
    promote_release(publisher, "1.5.0", drawn_ppm=250_000, now=NOW)
    after = shown(publisher)
    assert (after.sequence, after.drawn_ppm) == (1, 250_000)


def test_promoting_keeps_the_campaign_and_the_devices_drawn_before(publisher):
    before = shown(publisher)
    promote_release(publisher, "1.5.0", drawn_ppm=250_000, now=NOW)
    after = shown(publisher)
    assert (after.campaign, after.salt) == (before.campaign, before.salt)
    assert after.pinned_serial_numbers == ("A", "B")
    assert (after.drawn_ppm, after.sequence) == (250_000, before.sequence + 1)
    assert promote_release(publisher, "1.5.0", now=NOW).assignment.drawn_ppm == 1_000_000


@pytest.mark.parametrize(
    ("version", "drawn_ppm", "telling"),
    [
        ("1.5.0", 50_000, "a larger share"),
        ("1.5.0", 10_000, "cannot be promoted so"),
        ("1.4.0", 100_000, "assigned to nobody now"),
        ("9.9.9", 100_000, "not published"),
    ],
)
def test_a_promotion_that_is_none_is_refused(publisher, version, drawn_ppm, telling):
    before = files(publisher)
    with pytest.raises(RepositoryError, match=telling):
        promote_release(publisher, version, drawn_ppm=drawn_ppm, now=NOW)
    assert files(publisher) == before


def test_a_promotion_reads_the_repository_once_under_the_publishers_lock(publisher):
    """So the plan follows from the very state that it is published on."""

    class Watched(FolderStore):
        is_held = False
        reads: ClassVar[list[tuple[str, bool]]] = []

        def read(self, path, *, max_bytes):
            content = super().read(path, max_bytes=max_bytes)
            if content is not None:  # whether the next document is there may be asked again
                self.reads.append((path, self.is_held))
            return content

        @contextmanager
        def exclusively(self):
            with super().exclusively():
                self.is_held = True
                yield
                self.is_held = False

    watched = Watched(publisher.store.root)
    promote_release(replace(publisher, store=watched), "1.5.0", drawn_ppm=250_000, now=NOW)
    assert all(is_held for _, is_held in watched.reads)
    metadata = [path for path, _ in watched.reads if path.startswith("metadata/")]
    assert sorted(set(metadata)) == sorted(metadata)


def test_a_halted_campaign_is_not_promoted(publisher):
    halt = AssignmentPlan(campaign="pilot", drawn_ppm=50_000, is_halted=True)
    publisher.publish_plan("1.5.0", halt, now=NOW)
    with pytest.raises(RepositoryError, match="it is halted"):
        promote_release(publisher, "1.5.0", now=NOW)


@pytest.mark.parametrize(
    ("plan", "telling"),
    [
        (None, "at most 5 % in campaign 'pilot', got 100 % in campaign 'release 1.5.0'"),
        (replace(PILOT, drawn_ppm=50_001), "at most 5 % in campaign 'pilot'"),
        (replace(PILOT, campaign="other"), "got 5 % in campaign 'other'"),
    ],
)
def test_publishing_again_gives_a_release_to_no_more_devices(publisher, plan, telling):
    before = files(publisher)
    with pytest.raises(RepositoryError, match="published already") as refused:
        publisher.publish_bundle(new_bundle(), plan, now=NOW)
    assert telling in str(refused.value)
    assert "--campaign 'pilot' --percent 5" in refused.value.hint
    assert files(publisher) == before
    assert publisher.publish_bundle(new_bundle(), PILOT, now=NOW).assignment.drawn_ppm == 50_000


def test_publishing_again_resumes_no_halted_campaign(publisher):
    publisher.publish_plan("1.5.0", replace(PILOT, is_halted=True), now=NOW)
    before = files(publisher)
    with pytest.raises(RepositoryError, match="published already") as refused:
        publisher.publish_bundle(new_bundle(), PILOT, now=NOW)
    assert "campaign create" in refused.value.hint
    assert files(publisher) == before


def test_a_withdrawn_release_is_halted_listed_and_never_given_again(publisher):
    withdrawal, is_halted = withdraw_release(
        publisher, "1.5.0", reason="TIGHTEN stops\nearly", now=NOW
    )
    assert is_halted
    assert withdrawal.reason == "TIGHTEN stops early"
    assert shown(publisher).is_halted
    assert not shown(publisher).selects("A")
    for act in (
        lambda: publisher.publish_bundle(new_bundle(), None, now=NOW),
        lambda: publisher.publish_plan("1.5.0", PILOT, now=NOW),
        lambda: promote_release(publisher, "1.5.0", now=NOW),
        lambda: withdraw_release(publisher, "1.5.0", reason="again", now=NOW),
    ):
        before = files(publisher)
        with pytest.raises(RepositoryError, match="was withdrawn") as refused:
            act()
        assert "TIGHTEN stops early" in refused.value.got
        assert files(publisher) == before
    status = describe_repository(publisher.store, trust(), now=NOW)
    assert [one["version"] for one in status["withdrawn"]] == ["1.5.0"]
    text = format_status(status)
    assert "WITHDRAWN" in text
    assert "HALTED (1.5.0, which was withdrawn," in text
    assert audit_repository(publisher.store, trust(), now=NOW).findings == []


def test_the_counter_of_a_withdrawn_release_is_not_given_again(publisher):
    withdraw_release(publisher, "1.5.0", reason="x", now=NOW)
    with pytest.raises(RepositoryError, match="counter"):
        publisher.publish_bundle(bundle(release_counter=2, peak_na=200_000), None, now=NOW)


def test_under_an_expired_root_a_release_is_taken_back_and_never_given_out(tmp_path):
    """As by a clock far ahead: its timestamp would protect nobody from a freeze until then."""
    publisher = open_publisher(tmp_path / "short")
    lifetimes = RepositorySettings(root_expires_days=30)
    init_repository(publisher.store, trust(), publisher.signers, lifetimes, now=NOW)
    publisher.publish_bundle(new_bundle(), PILOT, now=NOW)
    late = load_repository(publisher.store).root.signed.expires
    halt = replace(PILOT, is_halted=True)
    for act in (
        lambda: publisher.publish_bundle(bundle(release_counter=3), PILOT, now=late),
        lambda: publisher.publish_plan("1.5.0", PILOT, now=late),
        lambda: promote_release(publisher, "1.5.0", now=late),
        lambda: extend_release(publisher, "1.5.0", now=late),
        lambda: publisher.renew(now=late),
    ):
        before = files(publisher)
        with pytest.raises(RepositoryError, match="root has expired by this machine's clock"):
            act()
        assert files(publisher) == before
    publisher.publish_plan("1.5.0", halt, now=late)
    assert shown(publisher).is_halted
    withdraw_release(publisher, "1.5.0", reason="x", now=late)


@pytest.mark.parametrize("early", ["by a timestamp's life", "1970"])
def test_by_a_clock_far_behind_a_release_is_taken_back_and_nothing_else_is_signed(publisher, early):
    """As of a machine that comes up in 1970: every client would find what it signs expired."""
    lifetime = publisher.settings.lifetime("timestamp")
    early = datetime.fromtimestamp(0, UTC) if early == "1970" else NOW - lifetime
    record = replace(trust(), version=2)
    content = sign_trust_record(record, [signer("root-1")])
    store, keys, settings = publisher.store, publisher.signers, publisher.settings
    for act in (
        lambda: publisher.publish_bundle(bundle(release_counter=3), PILOT, now=early),
        lambda: publisher.publish_plan("1.5.0", PILOT, now=early),
        lambda: promote_release(publisher, "1.5.0", now=early),
        lambda: extend_release(publisher, "1.5.0", now=early),
        lambda: publisher.renew(now=early),
        lambda: rotate_root(store, trust(), keys, settings, now=early),
        lambda: publish_trust(replace(publisher, trust=record), content, now=early),
    ):
        before = files(publisher)
        with pytest.raises(RepositoryError, match="clock is behind the repository") as refused:
            act()
        assert f"{NOW:%Y-%m-%d %H:%M} UTC" in refused.value.expected
        assert f"{early:%Y-%m-%d %H:%M} UTC" == refused.value.got
        assert files(publisher) == before
    publisher.publish_plan("1.5.0", replace(PILOT, is_halted=True), now=early)
    assert shown(publisher).is_halted
    withdraw_release(publisher, "1.5.0", reason="x", now=early)


def test_a_clock_that_is_behind_by_less_keeps_nobody_from_refreshing(publisher):
    early = NOW - publisher.settings.lifetime("timestamp") + timedelta(seconds=1)
    assert publisher.renew(now=early).timestamp.signed.expires > NOW


def test_an_assignment_by_a_clock_far_ahead_is_replaced_by_a_halt(publisher):
    ahead = NOW + timedelta(days=200)
    publisher.publish_plan("1.5.0", PILOT, now=ahead)
    with pytest.raises(RepositoryError, match="clock is behind") as refused:
        publisher.renew(now=NOW)
    assert "`ampforge campaign create --halt`" in refused.value.hint
    publisher.publish_plan("1.5.0", replace(PILOT, is_halted=True), now=NOW)
    publisher.publish_plan("1.5.0", PILOT, now=NOW)
    assert publisher.renew(now=NOW).timestamp.signed.expires < ahead


def test_no_tuf_client_is_given_the_bundle_of_a_withdrawn_release(publisher, tmp_path):
    """It holds the whole release; its file stays, and who looks into it is told where."""
    path, _ = find_bundle(load_repository(publisher.store), 2)
    root = publisher.store.root
    client = FolderClient((root / "metadata/1.root.json").read_bytes(), tmp_path / "client")
    assert client.read_target(root, path) == new_bundle()
    withdrawal, _ = withdraw_release(publisher, "1.5.0", reason="x", now=NOW)
    assert (root / withdrawal.bundle_path).read_bytes() == new_bundle()
    with pytest.raises(RepositoryError, match="lists no such target"):
        client.read_target(root, path)
    assert audit_repository(publisher.store, trust(), now=NOW).findings == []


def test_a_gateway_gives_out_no_withdrawn_manifest(publisher, tmp_path):
    digest = shown(publisher).manifest_sha256.hex()
    root = (publisher.store.root / "metadata/1.root.json").read_bytes()
    withdraw_release(publisher, "1.5.0", reason="x", now=NOW)
    with serve_in_background(ServerPlan(folder=publisher.store.root)) as url:
        gateway = Gateway(url, trusted_root=root, cache=tmp_path / "cache")
        with pytest.raises(TransportError, match="lists no such target") as refused:
            gateway.fetch(Fetch(path=f"device/manifests/{digest}.cose", max_bytes=1024))
        assert "withdrawn" in refused.value.hint
        gateway.close()


def test_a_device_is_not_given_a_withdrawn_release(publisher):
    device = make_device()
    before = bytes(device.medium.content)
    withdraw_release(publisher, "1.5.0", reason="x", now=NOW)
    outcome = run_session(update_device(device, RULES), serve(publisher))
    assert outcome.result is UpdateResult.HALTED
    assert bytes(device.medium.content) == before


def test_another_release_is_withdrawn_beside_a_running_campaign(publisher):
    before = shown(publisher)
    _, is_halted = withdraw_release(publisher, "1.4.0", reason="old", now=NOW)
    assert not is_halted
    assert shown(publisher) == before


def test_a_release_that_devices_with_the_last_one_would_refuse_is_not_published(publisher):
    publisher.publish_bundle(bundle(release_counter=3, policy_version=2), None, now=NOW)
    before = files(publisher)
    with pytest.raises(RepositoryError, match="limits policy version of release") as refused:
        publisher.publish_bundle(bundle(release_counter=4, policy_version=1), None, now=NOW)
    assert "would refuse this one" in refused.value.hint
    assert files(publisher) == before
    other = bundle(release_counter=5, policy_version=1, hardware_class="flare-s3")
    assert publisher.publish_bundle(other, None, now=NOW).is_new_release
    with pytest.raises(RepositoryError, match="several hardware classes") as refused:
        publisher.publish_plan("1.4.0", PILOT, now=NOW)
    assert "--hardware-class" in refused.value.hint
    withdraw_release(publisher, "1.4.0", reason="x", hardware_class="flare-s3", now=NOW)
    with pytest.raises(RepositoryError, match="was withdrawn"):
        promote_release(publisher, "1.4.0", hardware_class="flare-s3", now=NOW)
    assert audit_repository(publisher.store, trust(), now=NOW).is_sound


@pytest.mark.parametrize("reason", ["", "  \n", "x" * 401, "bell\x07"])
def test_a_withdrawal_without_a_readable_reason_is_refused(publisher, reason):
    before = files(publisher)
    with pytest.raises(RepositoryError, match="needs a reason"):
        withdraw_release(publisher, "1.5.0", reason=reason, now=NOW)
    assert files(publisher) == before


def test_online_keys_alone_withdraw_nothing(publisher):
    online = {role: keys for role, keys in signers().items() if role is not Role.RELEASE}
    object.__setattr__(publisher, "signers", online)
    before = files(publisher)
    with pytest.raises(RepositoryError, match="too few keys of the role release"):
        withdraw_release(publisher, "1.5.0", reason="x", now=NOW)
    assert files(publisher) == before
    assert load_repository(publisher.store).targets.signed.version == 3
