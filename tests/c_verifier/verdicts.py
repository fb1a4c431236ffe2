"""One table from our refusals to the codes of the C verifier.

A refusal is found by its type and a telling part of its words, as in any other test of a refusal.
Where the two readers look at the same bytes in another order, one refusal stands for several codes;
that is so inside of one payload, and nowhere else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from firmware_images.errors import (
    ApprovalError,
    CalibrationRecordError,
    SecureBootError,
    WaiverError,
    WaveformError,
)
from manifests.errors import DeviceMessageError, UpdateRefusedError
from signing.errors import (
    AlgorithmError,
    CoseError,
    RevokedKeyError,
    RollbackError,
    SignatureError,
    ThresholdError,
    TrustError,
    UnknownKeyError,
)
from signing.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable

PAYLOAD = frozenset({"fields", "format-version"})
RECORD = PAYLOAD | {"record-roles", "record-keys", "record-algorithms"}

# The first that fits: type, part of the words, codes.
_TABLE: tuple[tuple[type[Refusal], str, frozenset[str]], ...] = (
    (CoseError, "bytes are not a signed message", frozenset({"shape", "length"})),
    (CoseError, "CBOR is too long", frozenset({"length"})),
    (CoseError, "of another kind", frozenset({"content-type"})),
    (CoseError, "one key signed a message twice", frozenset({"signed-twice"})),
    (CoseError, "can carry one signature", frozenset({"too-few-keys"})),
    (CoseError, "", frozenset({"shape"})),
    (AlgorithmError, "", frozenset({"algorithm"})),
    (SignatureError, "", frozenset({"signature"})),
    (UnknownKeyError, "", frozenset({"no-key-of-role"})),
    (RevokedKeyError, "", frozenset({"revoked-key"})),
    (ThresholdError, "", frozenset({"too-few-keys"})),
    (RollbackError, "another product", frozenset({"product"})),
    (RollbackError, "not newer", frozenset({"record-version"})),
    (RollbackError, "older limits policies", frozenset({"record-policy"})),
    (RollbackError, "takes a revocation back", frozenset({"record-revocations"})),
    (TrustError, "nobody holds", frozenset({"role-empty"})),
    (TrustError, "", RECORD),
    (DeviceMessageError, "length that no valid one has", frozenset({"length"})),
    (DeviceMessageError, "format that is not known", frozenset({"format-version"})),
    (DeviceMessageError, "for another product", frozenset({"product"})),
    (DeviceMessageError, "not for this request", frozenset({"nonce"})),
    (DeviceMessageError, "for another hardware class", frozenset({"hardware-class"})),
    (DeviceMessageError, "", PAYLOAD),
    (UpdateRefusedError, "assignment is older", frozenset({"assignment-sequence"})),
    (UpdateRefusedError, "is for other hardware", frozenset({"hardware-class"})),
    # Ours has the transport bound the length; the C verifier, which has none, looks at it first.
    (
        UpdateRefusedError,
        "not the one that the assignment names",
        frozenset({"manifest-digest", "length"}),
    ),
    (UpdateRefusedError, "not for this hardware revision", frozenset({"hardware-revision"})),
    (UpdateRefusedError, "release counter would go back", frozenset({"release-counter"})),
    (UpdateRefusedError, "secure version would go back", frozenset({"secure-version"})),
    (UpdateRefusedError, "policy version would go back", frozenset({"policy-version"})),
    (UpdateRefusedError, "application does not fit", frozenset({"app-too-large"})),
    (UpdateRefusedError, "waveform image does not fit", frozenset({"slot-too-large"})),
    (UpdateRefusedError, "another content has the release", frozenset({"same-counter"})),
    (UpdateRefusedError, "tried this release before", frozenset({"given-up"})),
    (UpdateRefusedError, "must take a step before", frozenset({"step-first"})),
    (UpdateRefusedError, "freshness answer is older", frozenset({"freshness-sequence"})),
    (UpdateRefusedError, "another assignment is in force", frozenset({"not-in-force"})),
    (UpdateRefusedError, "assignment has expired", frozenset({"assignment-expired"})),
    (UpdateRefusedError, "before the assignment was issued", frozenset({"time-before-issue"})),
    (UpdateRefusedError, "manifest has expired", frozenset({"manifest-expired"})),
    (UpdateRefusedError, "not the one that the manifest names", frozenset({"slot-digest"})),
    (UpdateRefusedError, "another number of bytes", frozenset({"slot-digest"})),
    (UpdateRefusedError, "table has another", frozenset({"table-facts"})),
    (ApprovalError, "policy is one that no longer counts", frozenset({"policy-version"})),
    (ApprovalError, "another hardware class", frozenset({"approval-other", "hardware-class"})),
    (ApprovalError, "for another", frozenset({"approval-other"})),
    (ApprovalError, "not a table approval", PAYLOAD),
    (WaiverError, "has expired", frozenset({"waiver-expired"})),
    (WaveformError, "trailing SHA-256", frozenset({"table-digest"})),
    (WaveformError, "waveform slot", frozenset({"slot"})),
    (WaveformError, "", frozenset({"table"})),
    (SecureBootError, "", frozenset({"slot"})),
    (CalibrationRecordError, "more current than was verified", frozenset({"span"})),
    (CalibrationRecordError, "", frozenset({"calibration"})),
)


def codes_of(refusal: Refusal) -> frozenset[str]:
    """Return the codes that stand for a refusal of ours."""
    for error, part, codes in _TABLE:
        if isinstance(refusal, error) and part in str(refusal):
            return codes
    raise AssertionError(f"no code stands for {type(refusal).__name__}: {refusal}")


def our_codes(read: Callable[[], object]) -> frozenset[str]:
    """Return the codes that stand for what our own reader says: `ok`, or a refusal."""
    try:
        read()
    except Refusal as refusal:
        return codes_of(refusal)
    return frozenset({"ok"})
