"""One drill as it goes on: the theft, the recovery, and what everybody accepts afterwards.

What the thief shows is in `drill_forgeries`, the drills of the factory's keys in `drill_factory`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cli.drill_field import (
    read_unverified,
    try_update,
)
from cli.drill_findings import Findings, Moment
from cli.drill_world import DrillWorld, make_key, open_repository
from firmware_images.bundle import verify_bundle
from manifests.folder_client import FolderClient
from manifests.publication import AssignmentPlan
from manifests.published_releases import assignment_target_path
from manifests.root_rotation import rotate_root
from manifests.update_sources import assignment_path
from signing.cose import sign_many
from signing.key_life import rotate_key
from signing.roles import Role
from signing.trust import sign_trust_record, verify_trust_record

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from manifests.publishing import Publisher
    from signing.signers import SoftwareSigner
    from signing.trust_record import TrustRecord

_DRILL_CONTENT_TYPE = "application/vnd.ampforge.drill"

BUNDLE = "bundle verify"
DEVICE = "device"
CLIENT = "python-tuf's client"
RECORD = "trust record"
STATION = "station, at service"


@dataclass(slots=True, kw_only=True)
class Play:
    """One drill as it goes on.

    Attributes:
        world: The scratch copy.
        role: Whose key is stolen.
        record: The trust record in force.
        signed_record: The same, signed.
        findings: What was tried.
        resigned: What had to be signed again, in words.
        kept: What still holds, in words.
        spent_s: Seconds that each act of the recovery took the machine.
    """

    world: DrillWorld
    role: Role
    record: TrustRecord
    signed_record: bytes
    publisher: Publisher
    client: FolderClient
    stolen: SoftwareSigner
    new: SoftwareSigner
    findings: Findings = field(default_factory=Findings)
    resigned: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    spent_s: dict[str, float] = field(default_factory=dict)

    @property
    def thief(self) -> tuple[SoftwareSigner, ...]:
        """The stolen key, and as many accomplices as the threshold asks for."""
        return self.world.enough(self.role)

    @property
    def keys(self) -> dict[Role, tuple[SoftwareSigner, ...]]:
        """The honest private keys, as the record in force has them."""
        held = {
            role: tuple(key for key in keys if key is not self.stolen)
            for role, keys in self.world.keys.items()
        }
        if self.role not in held:
            return held
        before = self.record is self.world.record
        return held | {self.role: (*held[self.role], self.stolen if before else self.new)}

    def act(self, what: str, act: Callable[[], object]) -> None:
        """Do one thing of the recovery, and note how long it took."""
        started_s = time.perf_counter()
        act()
        self.spent_s[what] = round(time.perf_counter() - started_s, 3)


def begin_play(world: DrillWorld, role: Role) -> Play:
    """Publish two releases, and give a client its first look, before anything happens."""
    publisher = open_repository(world)
    for counter in (1, 2):
        bundle = world.release(
            counter, policy=world.enough(Role.POLICY), release=world.enough(Role.RELEASE)
        )
        publisher.publish_bundle(bundle, None, now=world.now)
    root = (world.repository / "metadata" / "1.root.json").read_bytes()
    play = Play(
        world=world,
        role=role,
        record=world.record,
        signed_record=world.signed_record,
        publisher=publisher,
        client=FolderClient(root, world.folder / "client"),
        stolen=world.keys[role][0] if role in world.keys else make_key(),
        new=make_key(),
    )
    show_honest(play, Moment.BEFORE)
    return play


def show_honest(play: Play, moment: Moment) -> None:
    """Show what is published now to device and client: they must accept it."""
    world, findings = play.world, play.findings
    findings.accepts(
        moment,
        "the release that is published now",
        DEVICE,
        lambda: try_update(world, play.signed_record, freshness=play.keys[Role.FRESHNESS][-1]),
    )
    path = assignment_target_path(world.product.hardware_class)
    findings.accepts(
        moment,
        "the assignment that is published now",
        CLIENT,
        lambda: play.client.read_target(world.repository, path),
    )


def show_alone(play: Play) -> None:
    """Where the threshold is above one, a stolen key alone makes nothing, even before."""
    threshold = play.record.keys_of(play.role).threshold
    if threshold == 1:
        return
    message = sign_many(b"drill", [play.stolen], content_type=_DRILL_CONTENT_TYPE)
    play.findings.refuses(
        Moment.BEFORE,
        f"the stolen key alone, where {threshold} must sign",
        RECORD,
        lambda: play.record.verify(message, play.role, content_type=_DRILL_CONTENT_TYPE),
    )


def show_forgery(
    play: Play, moment: Moment, what: str, verifier: str, act: Callable[[], object]
) -> None:
    """Show a forgery: it must be accepted before, and refused after."""
    findings = play.findings
    show = findings.accepts if moment is Moment.BEFORE else findings.refuses
    show(moment, f"forged: {what}", verifier, act)


def replace_key(play: Play) -> None:
    """Write the next trust record, the stolen key revoked, and have root sign it."""
    world, before = play.world, play.record
    following = rotate_key(
        before, play.stolen.public_key.key_id, play.new.public_key, is_revoked=True
    )
    roots = [key for key in world.keys[Role.ROOT] if key is not play.stolen]
    if play.role is Role.ROOT:
        roots.append(play.new)
    follow_record(play, following, roots)
    play.publisher = world.publisher(play.record, play.keys)


def follow_record(play: Play, following: TrustRecord, roots: Sequence[SoftwareSigner]) -> None:
    """Have root sign the next trust record, see that a device takes it, and go on with it."""
    before = play.record

    def sign() -> None:
        play.signed_record = sign_trust_record(following, roots)

    play.act("sign the next trust record", sign)
    play.findings.accepts(
        Moment.AFTER,
        "the next trust record",
        DEVICE,
        lambda: verify_trust_record(play.signed_record, current=before),
    )
    play.record = following


def rotate_repository(play: Play) -> None:
    """Publish the next TUF root and sign everything again under it."""
    publisher, now = play.publisher, play.world.now
    play.act(
        "publish the next TUF root",
        lambda: rotate_root(
            publisher.store, play.record, publisher.signers, publisher.settings, now=now
        ),
    )
    play.resigned.append("TUF metadata: root, targets, campaign, snapshot and timestamp")


def sign_again(play: Play) -> None:
    """Sign again what the stolen key had signed and what no reader takes any more."""
    world, moment = play.world, Moment.AFTER
    record, old = play.record, play.world.record
    bundle = world.release(2, policy=world.enough(Role.POLICY), release=world.enough(Role.RELEASE))
    verify_bundle(bundle, old)
    if play.role in (Role.POLICY, Role.RELEASE):
        play.findings.refuses(
            moment,
            "a release that the stolen key had signed before",
            BUNDLE,
            lambda: verify_bundle(bundle, record),
        )
        _show_untouched(play)
        again = world.release(
            3,
            policy=_enough_of(play, Role.POLICY),
            release=_enough_of(play, Role.RELEASE),
        )
        play.act(
            "publish the release anew",
            lambda: play.publisher.publish_bundle(again, None, now=world.now),
        )
        play.resigned.append(
            "approval of each table that is still to be played, and the release around it, under "
            "the next release counter"
            if play.role is Role.POLICY
            else "each release that is still to be installed, under the next release counter"
        )
        play.findings.accepts(
            moment,
            "the same release, signed again under the next counter",
            BUNDLE,
            lambda: verify_bundle(again, record),
        )
        return
    play.findings.accepts(
        moment, "a release that was signed before", BUNDLE, lambda: verify_bundle(bundle, record)
    )
    play.kept.append("releases, approvals and manifests that were signed before")
    if play.role is Role.CAMPAIGN:
        path = assignment_path(world.product.hardware_class)
        shown = (world.repository / path).read_bytes()
        play.findings.refuses(
            moment,
            "the assignment that the stolen key had signed before",
            DEVICE,
            lambda: try_update(
                world,
                play.signed_record,
                {path: shown},
                freshness=play.keys[Role.FRESHNESS][-1],
            ),
        )
        plan = AssignmentPlan(campaign=read_unverified(shown).campaign)
        version = _published_version(play)
        play.act(
            "sign the assignments again",
            lambda: play.publisher.publish_plan(version, plan, now=world.now),
        )
        play.resigned.append("the assignment of each hardware class")


def _show_untouched(play: Play) -> None:
    """What the role's other keys alone had signed still holds, where they are enough."""
    world, record = play.world, play.record
    others = world.enough(play.role, without=play.stolen)
    if len(others) < world.record.keys_of(play.role).threshold:
        return
    signers = {
        role: others if role is play.role else world.enough(role)
        for role in (Role.POLICY, Role.RELEASE)
    }
    bundle = world.release(2, policy=signers[Role.POLICY], release=signers[Role.RELEASE])
    play.findings.accepts(
        Moment.AFTER,
        f"a release that the other {play.role} keys had signed before",
        BUNDLE,
        lambda: verify_bundle(bundle, record),
    )
    play.kept.append(f"what the other {play.role} keys alone had signed before")


def _enough_of(play: Play, role: Role) -> tuple[SoftwareSigner, ...]:
    return play.keys[role][-play.record.keys_of(role).threshold :]


def _published_version(play: Play) -> str:
    from manifests.published_releases import list_releases
    from manifests.repository_reading import load_repository

    return list_releases(load_repository(play.publisher.store))[-1].version
