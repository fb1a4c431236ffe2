"""Plays the compromise of one key on a scratch copy, and asks every verifier before and after.

Each forgery is shown twice: before the key was replaced it is accepted, which proves that it is a
forgery that matters and that nothing but the key is wrong with it; afterwards it must be refused.
A threshold above one is met by accomplices, so that what is shown is the worst case.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cli.drill_field import (
    forge_assignment,
    forge_release,
    read_unverified,
    try_update,
)
from cli.drill_findings import Findings, Moment
from cli.drill_world import DrillWorld, make_key, open_repository
from firmware_images.bundle import verify_bundle
from manifests.folder_client import FolderClient
from manifests.forgery import FORGED_ASSIGNMENT, FORGED_TARGET, forge_metadata
from manifests.published_releases import assignment_target_path
from manifests.publishing import AssignmentPlan
from manifests.root_rotation import rotate_root
from manifests.store import FolderStore
from manifests.update_sources import assignment_path
from signing.cose import sign_many
from signing.key_life import rotate_key
from signing.roles import Role, RoleKeys
from signing.trust import sign_trust_record, verify_trust_record

if TYPE_CHECKING:
    from collections.abc import Callable

    from manifests.publishing import Publisher
    from signing.signers import SoftwareSigner
    from signing.trust_record import TrustRecord

_DRILL_CONTENT_TYPE = "application/vnd.ampforge.drill"
_LIE_S = 3600

BUNDLE = "bundle verify"
DEVICE = "device"
CLIENT = "python-tuf's client"
RECORD = "trust record"
STATION = "station, at service"

# What a thief with this key can write, as the server that shows it is the thief's, too.
_TUF_DOCUMENTS: dict[Role, frozenset[str]] = {
    Role.ROOT: frozenset({"root", "targets", "snapshot"}),
    Role.RELEASE: frozenset({"targets", "snapshot"}),
    Role.CAMPAIGN: frozenset({"campaign", "snapshot"}),
    Role.SNAPSHOT: frozenset({"snapshot"}),
    Role.TIMESTAMP: frozenset(),
}
_TUF_CLAIMS = {
    Role.ROOT: "a root that trusts the thief's keys, and a release by them",
    Role.RELEASE: "a release that nobody made, in the list of releases",
    Role.CAMPAIGN: "an assignment that nobody made, in the list of assignments",
    Role.SNAPSHOT: "a snapshot that the thief put together",
    Role.TIMESTAMP: "a timestamp that holds for a month longer",
}


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


def show_tuf(play: Play, moment: Moment) -> None:
    """Show forged metadata to a client that has seen the honest repository before."""
    documents = _TUF_DOCUMENTS.get(play.role)
    if documents is None:
        return
    world, copy = play.world, play.world.folder / f"thief-{moment}"
    shutil.copytree(world.repository, copy)
    signers = {**play.keys, play.role: play.thief}
    root_keys = None
    if play.role is Role.ROOT:
        mine, my_root = make_key(), make_key()
        roles = (Role.RELEASE, Role.SNAPSHOT, Role.TIMESTAMP)
        signers |= dict.fromkeys(roles, (mine,)) | {Role.ROOT: (*play.thief, my_root)}
        root_keys = dict(play.record.roles) | {
            **dict.fromkeys(roles, RoleKeys(threshold=1, keys=(mine.public_key,))),
            Role.ROOT: RoleKeys(threshold=1, keys=(my_root.public_key,)),
        }
    forge_metadata(
        FolderStore(copy), documents, signers, expires=world.expires, root_keys=root_keys
    )
    target = {
        Role.ROOT: FORGED_TARGET,
        Role.RELEASE: FORGED_TARGET,
        Role.CAMPAIGN: FORGED_ASSIGNMENT,
    }.get(play.role, assignment_target_path(world.product.hardware_class))
    # A client of its own each time: what it believed of the thief must not be there the next time.
    cache = world.folder / f"client-{moment}"
    shutil.copytree(world.folder / "client", cache)
    root = (world.repository / "metadata" / "1.root.json").read_bytes()
    client = FolderClient(root, cache)
    show_forgery(
        play, moment, _TUF_CLAIMS[play.role], CLIENT, lambda: client.read_target(copy, target)
    )


def show_cose(play: Play, moment: Moment) -> None:
    """Show forged messages and bundles to `bundle verify` and to a device."""
    world, record, signed = play.world, play.record, play.signed_record
    match play.role:
        case Role.POLICY | Role.RELEASE:
            is_policy = play.role is Role.POLICY
            bundle = world.release(
                3,
                policy=play.thief if is_policy else world.enough(Role.POLICY),
                release=world.enough(Role.RELEASE) if is_policy else play.thief,
            )
            what = "a table that the policy role never saw" if is_policy else "a release"
            show_forgery(play, moment, what, BUNDLE, lambda: verify_bundle(bundle, record))
            over = forge_release(
                world,
                bundle,
                world.record,
                release=world.enough(Role.RELEASE),
                campaign=world.keys[Role.CAMPAIGN][0],
            )
            show_forgery(
                play,
                moment,
                what,
                DEVICE,
                lambda: try_update(world, signed, over, freshness=world.keys[Role.FRESHNESS][0]),
            )
        case Role.CAMPAIGN:
            over = forge_assignment(world, campaign=play.stolen, is_halted=True)
            show_forgery(
                play,
                moment,
                "an assignment that holds the release back",
                DEVICE,
                lambda: try_update(
                    world,
                    signed,
                    over,
                    freshness=world.keys[Role.FRESHNESS][0],
                    installs=False,
                ),
            )
        case Role.FRESHNESS:
            past_s = int(world.now.timestamp()) - _LIE_S
            show_forgery(
                play,
                moment,
                "an answer that says it is an hour ago",
                DEVICE,
                lambda: try_update(world, signed, freshness=play.stolen, time_s=past_s),
            )
        case Role.ROOT:
            mine = make_key()
            wanted = rotate_key(record, record.roles[Role.POLICY].keys[0].key_id, mine.public_key)
            payload = _sign_record_unjudged(wanted, play.thief)
            show_forgery(
                play,
                moment,
                "a trust record that gives the thief the policy role",
                DEVICE,
                lambda: verify_trust_record(payload, current=record),
            )
        case _:
            return


def replace_key(play: Play) -> None:
    """Write the next trust record, the stolen key revoked, and have root sign it."""
    world, before = play.world, play.record
    following = rotate_key(
        before, play.stolen.public_key.key_id, play.new.public_key, is_revoked=True
    )
    roots = [key for key in world.keys[Role.ROOT] if key is not play.stolen]
    if play.role is Role.ROOT:
        roots.append(play.new)

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
    play.publisher = world.publisher(play.record, play.keys)


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


def _sign_record_unjudged(record: TrustRecord, signers: tuple[SoftwareSigner, ...]) -> bytes:
    # `sign_trust_record` would refuse what is not enough for the record's own root.
    from signing.trust import TRUST_RECORD_CONTENT_TYPE, serialize_trust_record

    return sign_many(
        serialize_trust_record(record), signers, content_type=TRUST_RECORD_CONTENT_TYPE
    )
