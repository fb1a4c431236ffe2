"""Attacks on the way: bytes, lengths, paths, clocks, and a mirror that lies to some."""

from __future__ import annotations

import posixpath
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tests.attacks.attack import (
    CLIENTS,
    NOTE,
    SLOT,
    Attack,
    Origin,
    Reader,
    Refuses,
    Scene,
    Takes,
    up_to,
)
from tests.attacks.ground import ASSIGNMENT, EARLIER, IN_FORCE, device_path
from tests.attacks.lies import Broken, bomb
from tests.attacks.stolen_keys import (
    ONLINE,
    answering,
    sign_assignment,
)
from tests.attacks.tuf_attacks import indefinite_freeze
from tests.manifests.world import HARDWARE_CLASS

if TYPE_CHECKING:
    from tests.attacks.ground import Ground
    from tests.attacks.lies import Tree

BOMB_BYTES = 8 << 20
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FAR = datetime(2100, 1, 1, tzinfo=UTC)
ESCAPED = "campaigns/../escaped"


def truncated_data(ground: Ground) -> Scene:
    timestamp, assignment = ground.tree()["metadata/timestamp.json"], ground.target(ASSIGNMENT)
    lies: Tree = {
        "metadata/timestamp.json": timestamp[: len(timestamp) // 2],
        device_path(ASSIGNMENT): assignment[: len(assignment) // 2],
    }
    return Scene(lies=lies)


def broken_connection(ground: Ground) -> Scene:
    content = ground.target(ground.shown(IN_FORCE).app_path)
    lie = Broken(content, kept_bytes=len(content) // 2)
    return Scene(lies=ground.swap(ground.shown(IN_FORCE).app_path, lie))


def wrong_length(ground: Ground) -> Scene:
    path = ground.shown(IN_FORCE).app_path
    return Scene(lies=ground.swap(path, ground.target(path)[:-1]))


def another_targets_hash(ground: Ground) -> Scene:
    shown = ground.shown(IN_FORCE)
    return Scene(lies=ground.swap(shown.waveform_path, ground.target(shown.app_path)))


def path_tricks(ground: Ground) -> Scene:
    """A path and a hardware class that lead out of the folder."""
    assignment = replace(ground.assignment(), hardware_class="../../escaped", sequence=9)
    files = {ASSIGNMENT: sign_assignment(assignment), ESCAPED: b"escaped"}
    lies = ground.forge(assignments=files, by=ONLINE)
    # Clients resolve the path before they ask: there, too, are the bytes that it promises.
    resolved = {posixpath.normpath(path): lie for path, lie in lies.items()}
    return Scene(lies={**lies, **resolved}, truth=ground.signed_again(), wanted=ESCAPED)


def zip_bomb(ground: Ground) -> Scene:
    del ground
    lies: Tree = {
        "metadata/timestamp.json": bomb(BOMB_BYTES),
        f"device/{HARDWARE_CLASS}/assignment.cose": bomb(BOMB_BYTES),
    }
    return Scene(lies=lies)


def clock_at_1970(ground: Ground) -> Scene:
    """The server's clock and that of TUF clients; the mirror shows what expired long ago."""
    stale = indefinite_freeze(ground).lies
    sequence = ground.assignment("stale").sequence
    return Scene(lies={**stale, **answering(sequence, time_s=0)}, clock=EPOCH)


def clock_at_2100(ground: Ground) -> Scene:
    sequence = ground.assignment().sequence
    return Scene(lies=answering(sequence, time_s=int(FAR.timestamp())), clock=FAR)


def lies_to_some(ground: Ground) -> Scene:
    """One address is shown the state before, which is signed and has not expired."""
    return Scene(lies=ground.instead("earlier"))


TRANSPORT_ATTACKS = (
    Attack(
        name="truncated data",
        origin=Origin.FLEET,
        holds="the network",
        does="cuts timestamp and assignment in half",
        stage=truncated_data,
        expected={
            Reader.UPDATER: Refuses("not readable"),
            Reader.C: Refuses("shape"),
            Reader.GATEWAY: Refuses("does not verify"),
            Reader.PYTHON_TUF: Refuses("DeserializationError"),
            Reader.TUF_JS: Refuses("SyntaxError"),
        },
    ),
    Attack(
        name="broken connection",
        origin=Origin.FLEET,
        holds="the network",
        does="promises the whole application and closes after half of it, each time",
        stage=broken_connection,
        expected={
            Reader.UPDATER: Refuses("broke off", SLOT),
            Reader.GATEWAY: Refuses("broke off", NOTE | up_to("artifacts")),
            Reader.PYTHON_TUF: Refuses("IncompleteRead", up_to("manifest")),
            Reader.TUF_JS: Refuses("terminated", up_to("manifest")),
        },
    ),
    Attack(
        name="wrong length",
        origin=Origin.FLEET,
        holds="the network",
        does="serves the application without its last byte",
        stage=wrong_length,
        expected={
            Reader.UPDATER: Refuses("another number of bytes", SLOT),
            Reader.GATEWAY: Refuses("does not verify", NOTE | up_to("artifacts")),
            Reader.PYTHON_TUF: Refuses("LengthOrHashMismatchError", up_to("manifest")),
            Reader.TUF_JS: Refuses("LengthOrHashMismatchError", up_to("manifest")),
        },
    ),
    Attack(
        name="hash of another target",
        origin=Origin.FLEET,
        holds="the network",
        does="serves one signed target, the application, under the name of another",
        stage=another_targets_hash,
        expected={
            Reader.UPDATER: Refuses("not the one that the manifest names"),
            Reader.C: Refuses("slot-digest"),
            Reader.GATEWAY: Refuses("maximum allowed length", up_to("manifest")),
            Reader.PYTHON_TUF: Refuses("DownloadLengthMismatchError", up_to("artifacts")),
            Reader.TUF_JS: Refuses("DownloadLengthMismatchError", up_to("artifacts")),
        },
    ),
    Attack(
        name="path tricks",
        origin=Origin.FLEET,
        holds="the online keys",
        does="lists a path and assigns to a hardware class that lead out of the folder",
        stage=path_tricks,
        expected={
            Reader.UPDATER: Refuses("assignment is for other hardware"),
            Reader.C: Refuses("hardware-class"),
            Reader.GATEWAY: Refuses("assignment is for other hardware", up_to("assignment")),
            Reader.PYTHON_TUF: Takes(IN_FORCE, "it keeps the file in its folder, its path quoted"),
            Reader.TUF_JS: Refuses("no such target", up_to("targets")),
        },
    ),
    Attack(
        name="decompression bomb, transport",
        origin=Origin.FLEET,
        holds="the network",
        does="compresses megabytes of zeros into the answer",
        stage=zip_bomb,
        expected={
            Reader.UPDATER: Refuses("sends more than was asked for"),
            Reader.GATEWAY: Refuses("does not verify"),
            Reader.PYTHON_TUF: Refuses("DownloadLengthMismatchError"),
            Reader.TUF_JS: Refuses("DownloadLengthMismatchError"),
        },
    ),
    Attack(
        name="clock at 1970",
        origin=Origin.FLEET,
        holds="the network, and the clocks of server and clients",
        does="shows what expired weeks ago as present",
        stage=clock_at_1970,
        expected={
            Reader.UPDATER: Refuses("before the assignment was issued"),
            Reader.C: Refuses("time-before-issue"),
            Reader.GATEWAY: Refuses("before the assignment was issued", up_to("manifest")),
            **{
                reader: Takes(EARLIER, "what is signed, and no older than it has seen")
                for reader in CLIENTS
            },
        },
    ),
    Attack(
        name="clock at 2100",
        origin=Origin.FLEET,
        holds="the clocks of server and clients",
        does="lets everything expire",
        stage=clock_at_2100,
        expected={
            Reader.UPDATER: Refuses("assignment has expired"),
            Reader.C: Refuses("assignment-expired"),
            Reader.GATEWAY: Refuses("expired"),
            Reader.PYTHON_TUF: Refuses("ExpiredMetadataError"),
            Reader.TUF_JS: Refuses("ExpiredMetadataError"),
        },
    ),
    Attack(
        name="a mirror that lies to some",
        origin=Origin.FLEET,
        holds="one mirror",
        does="shows the state before to one reader, and the present one to all others",
        stage=lies_to_some,
        expected={
            Reader.UPDATER: Refuses("another assignment is in force"),
            Reader.C: Refuses("not-in-force"),
            Reader.GATEWAY: Refuses("another assignment is in force", up_to("manifest")),
            **{
                reader: Takes(EARLIER, "a state that was true until its timestamp expires")
                for reader in CLIENTS
            },
        },
    ),
)
