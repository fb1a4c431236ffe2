"""What an attack is: data. `matrix` lists them all, `page` writes them down, the tests run them."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from manifests.update_device import UpdateDevice
    from tests.attacks.ground import Ground
    from tests.attacks.lies import Tree


class Reader(StrEnum):
    """Who is attacked."""

    UPDATER = "updater"
    C = "C verifier"
    GATEWAY = "gateway"
    PYTHON_TUF = "python-tuf"
    TUF_JS = "tuf-js"
    SERVER = "server"


BOARDS = (Reader.UPDATER, Reader.GATEWAY)
CLIENTS = (Reader.PYTHON_TUF, Reader.TUF_JS)


NOTE = frozenset({"update state"})
"""What a board notes before a download."""
SLOT = NOTE | {"ota_1"}
"""What a download may change that is never switched to."""
STEPS = {
    "root": "metadata/root.json",
    "timestamp": "metadata/timestamp.json",
    "snapshot": "metadata/snapshot.json",
    "targets": "metadata/targets.json",
    "campaign": "metadata/campaign.json",
    "assignment": "targets/campaigns/flare-c3/assignment.cose",
    "manifest": "targets/manifests/*.cose",
    "artifacts": "targets/artifacts/*",
}
"""What TUF clients keep, in the order in which they verify it."""


NEW_ROOT = frozenset({STEPS["root"], "metadata/root_history/2.root.json"})


def up_to(step: str) -> frozenset[str]:
    """What was verified, and kept, before the refusal."""
    names = list(STEPS)[1:]
    return frozenset(STEPS[name] for name in names[: names.index(step) + 1])


TAKEN = frozenset({"update state", "otadata", "ota_1", "wave_1"}) | up_to("artifacts")
"""What a reader may change that takes what it is shown, beside the target that it was told of."""


class Origin(StrEnum):
    """Who names the attack."""

    TUF = "Named by the TUF specification (1.0.34, §1.5.2)"
    FLEET = "Met by a fleet of boards"


@dataclass(frozen=True, slots=True)
class Refuses:
    """The reader refuses, and comes to the true release when it is shown the truth afterwards.

    Attributes:
        telling: What its words, or its code, have in them: a regular expression.
        left: Names of what it changed on disk or in flash on the way; nothing else may differ.
    """

    telling: str
    left: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Takes:
    """The reader takes what it is shown: who it asks has signed it, or the attack comes to nothing.

    Attributes:
        counter: The release that it comes to, by its counter.
        why: Why that is no harm, or who refuses it instead.
    """

    counter: int
    why: str


@dataclass(frozen=True, slots=True)
class Blind:
    """The reader never asks for what was changed; it comes to the true release.

    Attributes:
        why: What it does not look at.
    """

    why: str


Expected = Refuses | Takes | Blind


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request to the server, its path as it is."""

    method: str
    path: str
    body: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """An attack, ready to be met.

    Attributes:
        lies: What the mirror shows instead, by path.
        truth: What it shows when it is honest, where that is not the server's own.
        starts_updated: Whether readers have seen the server's present state before.
        prepare: Done to a board first.
        clock: What TUF clients take for the present.
        comes_to: Release counter to which each reader comes when it is shown the truth.
        wanted: A target that TUF clients ask for first, because somebody told them to.
        patience_s: How long a reader waits for the next bytes, and the grace of its pace.
        first: What is asked of the server before.
        requests: What is asked of the server, for the attacks on it.
    """

    lies: Tree = field(default_factory=dict)
    truth: Tree = field(default_factory=dict)
    starts_updated: bool = False
    prepare: Callable[[UpdateDevice], None] = lambda _: None
    clock: datetime | None = None
    comes_to: int = 3
    wanted: str = ""
    patience_s: float = 5.0
    first: tuple[Request, ...] = ()
    requests: tuple[Request, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """One row of the matrix.

    Attributes:
        name: What it is called.
        origin: Who names it.
        holds: What the attacker has.
        does: What is done with it.
        stage: Sets it up.
        expected: What each reader does; a reader that is not there is not asked.
    """

    name: str
    origin: Origin
    holds: str
    does: str
    stage: Callable[[Ground], Scene]
    expected: Mapping[Reader, Expected]
