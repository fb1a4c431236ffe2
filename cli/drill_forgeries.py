"""What a thief shows with a stolen key, to every verifier that reads what the role signs.

Each forgery is shown twice: before the key was replaced it is accepted, which proves that it is a
forgery that matters and that nothing but the key is wrong with it; afterwards it must be refused.
A threshold above one is met by accomplices, so that what is shown is the worst case.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from cli.drill_field import forge_assignment, forge_release, try_update
from cli.drill_play import BUNDLE, CLIENT, DEVICE, STATION, Play, show_forgery
from cli.drill_world import DrillWorld, make_key
from firmware_images.bundle import verify_bundle
from manifests.folder_client import FolderClient
from manifests.forgery import FORGED_ASSIGNMENT, FORGED_TARGET, forge_metadata
from manifests.published_releases import assignment_target_path
from manifests.store import FolderStore
from provisioning.supervision import Act, SupervisedAct, sign_act, verify_act
from signing.cose import sign_many
from signing.key_life import rotate_key
from signing.roles import Role, RoleKeys
from signing.trust import (
    TRUST_RECORD_CONTENT_TYPE,
    serialize_trust_record,
    verify_trust_record,
)

if TYPE_CHECKING:
    from cli.drill_findings import Moment
    from signing.signers import SoftwareSigner
    from signing.trust_record import TrustRecord

_LIE_S = 3600
_LEDGER = "the ledger of a drill"
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
        case Role.SUPERVISOR:
            order = _forge_order(world, play.thief)
            show_forgery(
                play,
                moment,
                "an order that sends a unit back to the line",
                STATION,
                lambda: verify_act(order, record, ledger_uuid=_LEDGER),
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


def _forge_order(world: DrillWorld, signers: tuple[SoftwareSigner, ...]) -> bytes:
    order = SupervisedAct(
        ledger_uuid=_LEDGER,
        act=Act.REWORK,
        mac=bytes(6),
        new_mac=b"",
        answers=bytes(32),
        reason="a drill",
        at=world.now,
    )
    return sign_act(order, signers)


def _sign_record_unjudged(record: TrustRecord, signers: tuple[SoftwareSigner, ...]) -> bytes:
    # `sign_trust_record` would refuse what is not enough for the record's own root.
    return sign_many(
        serialize_trust_record(record), signers, content_type=TRUST_RECORD_CONTENT_TYPE
    )
