"""Builds tests/rejected/policies; `python -m tests.firmware_images.rejected_policies` writes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from firmware_images.approval import (
    APPROVAL_CONTENT_TYPE,
    build_approval,
    serialize_approval,
    verify_approval,
    verify_policy,
)
from firmware_images.limits import parse_limits_toml
from firmware_images.limits_policy import POLICY_CONTENT_TYPE
from firmware_images.limits_policy_bytes import parse_policy
from signing.canonical_cbor import parse_cbor, serialize_cbor
from signing.cose import sign_many
from signing.roles import Role, RoleKeys
from signing.trust_record import TrustRecord
from tests.gallery import FOLDER, Gallery, write_gallery
from tests.signing.fixed_keys import fixed_signer

if TYPE_CHECKING:
    from collections.abc import Mapping

GOLDEN = FOLDER.parent / "golden" / "waveforms"
POLICY, RELEASE, STRANGER = (
    fixed_signer(f"gallery {name}") for name in ("policy", "release", "stranger")
)
REVOKED = fixed_signer("gallery revoked policy")
TABLE = (GOLDEN / "tighten.table").read_bytes()
ABOUT = """Each file has one thing wrong and is named after it: `limits-` files are limits
policies as people write them, `canonical-` files the bytes of a policy that is signed,
`signed-` files signed policies, `approval-` files signed approvals of the golden waveform
table. Written with fixed keys by `python -m tests.firmware_images.rejected_policies`;
`tests/firmware_images/test_rejected_by_name.py` checks each error, word by word."""


def gallery_trust(minimum_policy_version: int = 1) -> TrustRecord:
    """Return a trust record whose policy role has one good key, and one that was revoked."""

    def held(*signers) -> RoleKeys:
        return RoleKeys(threshold=1, keys=tuple(signer.public_key for signer in signers))

    return TrustRecord(
        product="flare",
        version=1,
        roles={
            Role.ROOT: held(fixed_signer("gallery root 1"), fixed_signer("gallery root 2")),
            Role.POLICY: held(POLICY, REVOKED),
            Role.RELEASE: held(RELEASE),
        },
        minimum_policy_version=minimum_policy_version,
        revoked_key_ids=frozenset({REVOKED.public_key.key_id}),
    )


def read(name: str, content: bytes) -> object:
    """Read a file as what its name begins with."""
    match name.partition("-")[0]:
        case "limits":
            return parse_limits_toml(content, where=name)
        case "canonical":
            return parse_policy(content, where=name)
        case "signed":
            return verify_policy(content, gallery_trust(2 if "too-old" in name else 1))
        case _:
            return verify_approval(
                content,
                gallery_trust(2 if "too-old" in name else 1),
                table_bytes=TABLE,
                hardware_class="glow-c3" if "other-hardware" in name else "flare-c3",
            )


def build_rejected() -> dict[str, bytes]:
    """Return each file's name and content."""
    return {**_limits(), **_canonical(), **_signed(), **_approvals()}


def _limits() -> dict[str, bytes]:
    text = (GOLDEN / "policy.toml").read_text(encoding="utf-8")

    def edited(old: str, new: str) -> bytes:
        assert old in text, old
        return text.replace(old, new, 1).encode()

    return {
        "limits-empty.toml": b"",
        "limits-not-toml.toml": b"[limits\n",
        "limits-not-text.toml": b"\xff\xfe" + text.encode(),
        "limits-without-jrms.toml": edited("[limits.JRMS]", "[limits.JRMZ]"),
        "limits-peak-negative.toml": edited("value = 600", "value = -600"),
        "limits-peak-infinite.toml": edited("value = 600", "value = inf"),
        "limits-peak-as-text.toml": edited("value = 600", 'value = "600"'),
        "limits-unit-of-another-size.toml": edited('unit = "mA/cm2"', 'unit = "uA/cm2"'),
        "limits-nobody-checked.toml": edited('checked_by = "nobody yet"', 'checked_by = ""'),
        "limits-version-zero.toml": edited("version = 1", "version = 0"),
        "limits-format-2.toml": edited("format = 1", "format = 2"),
        "limits-balance-roughly.toml": edited('balance = "balanced"', 'balance = "roughly"'),
        "limits-nested-too-deep.toml": b"a = " + b"[" * 5000,
    }


def _policy_values() -> dict:
    values = parse_cbor((GOLDEN / "policy.cbor").read_bytes(), max_bytes=1 << 16)
    assert isinstance(values, dict)
    return values


def _changed(changes: Mapping[str, object]) -> bytes:
    return serialize_cbor({**_policy_values(), **changes})


def _canonical() -> dict[str, bytes]:
    golden = (GOLDEN / "policy.cbor").read_bytes()
    values = _policy_values()
    limits = values["limits"]

    def peak(value: object) -> bytes:
        return _changed({"limits": {**limits, "PEAK": {**limits["PEAK"], "value": value}}})

    return {
        "canonical-empty.cbor": b"",
        "canonical-truncated.cbor": golden[:-1],
        "canonical-trailing-byte.cbor": golden + b"\0",
        "canonical-a-list.cbor": serialize_cbor([1, 2]),
        "canonical-format-2.cbor": _changed({"format": 2}),
        "canonical-version-as-boolean.cbor": _changed({"version": True}),
        "canonical-unknown-field.cbor": _changed({"extra": 1}),
        "canonical-figure-with-zeros.cbor": peak("600.0"),
        "canonical-figure-as-number.cbor": peak(600),
        "canonical-figure-not-a-number.cbor": peak("NaN"),
        "canonical-without-modes.cbor": _changed({"modes": {}}),
    }


def _sign(payload: bytes, *signers, content_type: str) -> bytes:
    return sign_many(payload, signers, content_type=content_type)


def _signed() -> dict[str, bytes]:
    golden = (GOLDEN / "policy.cbor").read_bytes()
    right = _sign(golden, POLICY, content_type=POLICY_CONTENT_TYPE)
    return {
        "signed-by-release.cose": _sign(golden, RELEASE, content_type=POLICY_CONTENT_TYPE),
        "signed-by-a-stranger.cose": _sign(golden, STRANGER, content_type=POLICY_CONTENT_TYPE),
        "signed-by-a-revoked-key.cose": _sign(golden, REVOKED, content_type=POLICY_CONTENT_TYPE),
        "signed-as-an-approval.cose": _sign(golden, POLICY, content_type=APPROVAL_CONTENT_TYPE),
        "signed-peak-raised.cose": right.replace(b"\x63600", b"\x63900", 1),
        "signed-version-too-old.cose": right,
    }


def _approvals() -> dict[str, bytes]:
    payload = serialize_approval(build_approval(TABLE))
    fields = parse_cbor(payload, max_bytes=256)
    assert isinstance(fields, dict)

    def approved(changes: Mapping[int, object], signer=POLICY) -> bytes:
        changed = serialize_cbor({**fields, **changes})
        return _sign(changed, signer, content_type=APPROVAL_CONTENT_TYPE)

    right = approved({})
    return {
        "approval-empty.cose": b"",
        "approval-truncated.cose": right[:-1],
        "approval-by-release.cose": approved({}, RELEASE),
        "approval-by-a-stranger.cose": approved({}, STRANGER),
        "approval-by-a-revoked-key.cose": approved({}, REVOKED),
        "approval-of-another-table.cose": approved({2: bytes(32)}),
        "approval-under-another-policy.cose": approved({3: bytes(32)}),
        "approval-under-another-version.cose": approved({4: 7}),
        "approval-for-other-hardware.cose": right,
        "approval-version-as-boolean.cose": approved({4: True}),
        "approval-unknown-field.cose": approved({8: 1}),
        "approval-as-a-policy.cose": _sign(payload, POLICY, content_type=POLICY_CONTENT_TYPE),
        "approval-version-too-old.cose": right,
    }


GALLERY = Gallery(
    name="policies",
    title="Policies and approvals that are refused",
    about=ABOUT,
    build=build_rejected,
    read=read,
)

if __name__ == "__main__":
    write_gallery(GALLERY)
