"""A ceremony in a folder: one of two root keys, a policy key, and one key that is brought."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from signing.ceremony_folder import hold_folder
from signing.ceremony_run import CeremonyRoom, run_next_step
from signing.key_files import generate_key
from signing.keys import Algorithm
from signing.logged_signer import SIGN_LOG_NAME, SignLog

if TYPE_CHECKING:
    from pathlib import Path

    from signing.ceremony_run import StepDone

PLAN = """\
product = "flare"
witnesses = ["Wanda"]
rehearsal = true
thresholds = { root = 1, policy = 1 }

[[keys]]
role = "root"
name = "root-1"
holder = "Ada"
uri = "media/root-1.pem"
no_passphrase = true

[[keys]]
role = "root"
name = "root-2"
holder = "Bea"
uri = "media/root-2.pem"
no_passphrase = true

[[keys]]
role = "policy"
name = "policy"
holder = "Quinn"
uri = "media/policy.pem"
algorithm = "ed25519"
no_passphrase = true

[[keys]]
role = "campaign"
name = "campaign"
holder = "the operator"
public = "media/campaign.pub.pem"
"""
ENCRYPTED_PLAN = PLAN.replace("no_passphrase = true\n", "", 1)
STEPS = 10
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def make_folder(folder: Path, plan: str = PLAN) -> Path:
    """Write a plan, the holders' media, and the key that will be brought."""
    (folder / "media").mkdir(parents=True)
    (folder / "plan.toml").write_text(plan)
    campaign = folder / "media" / "campaign.pem"
    generate_key(campaign, Algorithm.ECDSA_P256, passphrase=None, is_test_key=True)
    return folder


def make_room(folder: Path, **changes: object) -> CeremonyRoom:
    values: dict[str, object] = {
        "passphrase": lambda planned, _is_new: f"passphrase of {planned.holder}".encode(),
        "clock": lambda: NOW,
        "log": SignLog(
            path=folder / SIGN_LOG_NAME, who="a test", tool="ampforge", clock=lambda: NOW
        ),
        "tool": "ampforge test",
        "environment": {},
    }
    return CeremonyRoom(**(values | changes))


def run_steps(folder: Path, count: int | None = None, **changes: object) -> list[StepDone]:
    """Run the ceremony, to the end or for some steps."""
    room = make_room(folder, **changes)
    done: list[StepDone] = []
    with hold_folder(folder):
        while count is None or len(done) < count:
            step = run_next_step(folder, room)
            if step is None:
                break
            done.append(step)
    return done
