"""The events that stand for what was done to a board in the lost time, as its evidence says.

Written when a board is adopted (`ledger_adoption`), and looked for by every audit: a plan or a
record that the evidence does not have was vouched for by nobody. Implements
docs/spec/provisioning.md §5.1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from provisioning.ledger_events import Phase
from provisioning.station_values import Step

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
        yield Step.NVS.value, Phase.INTENT, {"plan": evidence.nvs_plan.hex(), "proof": PROOF}
        yield Step.NVS.value, Phase.CONFIRM, {"proof": PROOF}
    if evidence.is_locked:
        told = {"scheme": "nvs-hmac", "block": evidence.key_block, "proof": PROOF}
        yield Step.KEY_STORAGE.value, Phase.CONFIRM, told
    yield (
        Step.IDENTITY.value, Phase.CONFIRM,
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
        yield Step.RECORD.value, Phase.INTENT, record
        yield Step.RECORD.value, Phase.CONFIRM, {"stored": evidence.record.hex()}
    if evidence.efuse_plan:
        burned: dict[str, object] = {
            "plan": evidence.efuse_plan.hex(),
            "fields": [],
            "proof": PROOF,
        }
        yield Step.EFUSES.value, Phase.CONFIRM, burned
        yield Step.LOCK.value, Phase.CONFIRM, burned
