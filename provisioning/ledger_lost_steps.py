"""The events that stand for what was done to a board in the lost time, as its evidence says.

Written when a board is adopted (`ledger_adoption`), and looked for by every audit: a plan or a
record that the evidence does not have was vouched for by nobody. Implements
docs/spec/provisioning.md §5.1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from provisioning.ledger_events import Phase

if TYPE_CHECKING:
    from collections.abc import Iterator

    from provisioning.board_evidence import VerifiedEvidence

PROOF: Final = "order"
"""In place of what a step's read-back says: a supervisor vouches for it."""
Said = tuple[str, Phase, dict[str, object]]


def lost_steps(proved: VerifiedEvidence) -> Iterator[Said]:
    """Yield step, phase and data of each, between `reserve` and the order."""
    evidence = proved.evidence
    if evidence.nvs_plan:
        yield "nvs", Phase.INTENT, {"plan": evidence.nvs_plan.hex(), "proof": PROOF}
        yield "nvs", Phase.CONFIRM, {"proof": PROOF}
    if evidence.is_locked:
        told = {"scheme": "nvs-hmac", "block": evidence.key_block, "proof": PROOF}
        yield "key-storage", Phase.CONFIRM, told
    yield (
        "identity", Phase.CONFIRM,
        {
            "certificate": proved.certificate.der.hex(),
            "key_id": proved.certificate.public_key.key_id.hex(),
        },
    )  # fmt: skip
    if proved.record is not None:
        record = {
            "record": evidence.record.hex(),
            "generation": proved.record.generation,
            "fit_digest": proved.record.fit_digest.hex(),
        }
        yield "record", Phase.INTENT, record
        yield "record", Phase.CONFIRM, {"stored": evidence.record.hex()}
    if evidence.efuse_plan:
        burned: dict[str, object] = {
            "plan": evidence.efuse_plan.hex(),
            "fields": [],
            "proof": PROOF,
        }
        yield "efuses", Phase.CONFIRM, burned
        yield "lock", Phase.CONFIRM, burned
