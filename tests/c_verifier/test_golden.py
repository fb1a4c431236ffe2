"""The C verifier reads the golden bytes as specified, and refuses the gallery."""

from __future__ import annotations

import json

import pytest

from firmware_images.approval import verify_approval
from firmware_images.waveform_slot import parse_waveform_slot
from manifests.assignment import verify_assignment
from manifests.freshness import verify_freshness
from manifests.manifest import verify_manifest
from tests.c_verifier.verdicts import our_codes
from tests.c_verifier.verifier import GOLDEN
from tests.firmware_images.rejected_tables import GALLERY as TABLES
from tests.gallery import committed_files
from tests.manifests.golden_messages import golden_trust
from tests.manifests.rejected_messages import GALLERY as MESSAGES
from tests.manifests.rejected_messages import read as read_message
from tests.manifests.test_device_messages import (
    ASSIGNMENT,
    CONSTRAINED,
    FRESHNESS,
    MANIFEST,
    REQUEST,
)
from tests.signing.golden_vectors import CONTENT_TYPE, ED25519, P256, P384, PAYLOAD, POLICY, RSA
from tests.signing.rejected_vectors import GALLERY as SIGNING

TRUST = (GOLDEN / "manifests" / "trust-record.cose").read_bytes()
KINDS = ("manifest", "assignment", "freshness")
NAMED_KEYS = {"p256": P256, "ed25519": ED25519, "p384": P384, "rsa": RSA}
GALLERY_KEYS = b"".join(s.public_key.spki_der for s in (P256, ED25519, POLICY, P384, RSA))


def message(kind: str) -> bytes:
    return (GOLDEN / "manifests" / f"{kind}.cose").read_bytes()


def test_the_golden_manifest_says_the_same_in_c(c_verifier):
    told = c_verifier.ask("manifest", {"trust": TRUST, "message": message("manifest")})
    assert told["code"] == "ok"
    assert verify_manifest(message("manifest"), golden_trust()) == MANIFEST
    assert told["release_counter"] == MANIFEST.release_counter
    assert told["app_bytes"] == MANIFEST.app.size_bytes
    assert told["app_digest"] == MANIFEST.app.sha256.hex()
    assert told["table_digest"] == MANIFEST.waveform.table_sha256.hex()
    assert told["highest_current_na"] == MANIFEST.waveform.peak_na
    assert told["expires_s"] == MANIFEST.expires_at_s
    assert told["deltas"] == len(MANIFEST.deltas)
    assert (told["lowest_counter"], told["support_ends_s"]) == (0, 0)


def test_the_golden_manifest_of_the_second_format_says_the_same_in_c(c_verifier):
    told = c_verifier.ask("manifest", {"trust": TRUST, "message": message("manifest-2")})
    assert told["code"] == "ok"
    assert verify_manifest(message("manifest-2"), golden_trust()) == CONSTRAINED
    assert told["lowest_counter"] == CONSTRAINED.constraints.minimum_current_counter
    assert told["support_ends_s"] == CONSTRAINED.constraints.support_ends_at_s


def test_the_golden_assignment_with_steps_says_the_same_in_c(c_verifier):
    told = c_verifier.ask("assignment", {"trust": TRUST, "message": message("assignment-2")})
    assert (told["code"], told["sequence"], told["steps"]) == ("ok", 8, 2)


def test_the_golden_assignment_says_the_same_in_c(c_verifier):
    told = c_verifier.ask("assignment", {"trust": TRUST, "message": message("assignment")})
    assert told["code"] == "ok"
    assert verify_assignment(message("assignment"), golden_trust()) == ASSIGNMENT
    assert told["sequence"] == ASSIGNMENT.sequence
    assert told["manifest_digest"] == ASSIGNMENT.manifest_sha256.hex()
    assert told["share_ppm"] == ASSIGNMENT.drawn_ppm
    assert told["pinned"] == len(ASSIGNMENT.pinned_serial_numbers)
    assert told["expires_s"] == ASSIGNMENT.expires_at_s


def test_the_golden_freshness_answers_the_golden_request_in_c(c_verifier):
    told = c_verifier.ask("freshness", {"trust": TRUST, "message": message("freshness")})
    assert told["code"] == "ok"
    assert verify_freshness(message("freshness"), golden_trust(), request=REQUEST) == FRESHNESS
    assert told["nonce"] == FRESHNESS.nonce.hex()
    assert told["time_s"] == FRESHNESS.time_s
    assert told["assignment_sequence"] == FRESHNESS.assignment_sequence
    request = c_verifier.ask("request", {"nonce": REQUEST.nonce, "class": REQUEST.hardware_class})
    golden = (GOLDEN / "manifests" / "freshness-request.cbor").read_bytes()
    assert request["request"] == golden.hex()


@pytest.mark.parametrize("name", ["p256", "ed25519", "p384", "rsa", "aad"])
def test_a_golden_sign1_verifies_in_c_and_with_another_external_text_does_not(c_verifier, name):
    key = NAMED_KEYS.get(name, ED25519).public_key.spki_der
    words = {
        "keys": key,
        "type": CONTENT_TYPE,
        "message": (GOLDEN / "signing" / f"sign1-{name}.cose").read_bytes(),
        "external": b"nonce" if name == "aad" else b"",
    }
    told = c_verifier.ask("cose", words)
    assert (told["code"], told["payload"]) == ("ok", PAYLOAD.hex())
    assert c_verifier.ask("cose", words | {"external": b"other"})["code"] == "signature"


def test_the_golden_pair_of_signatures_counts_two_keys_in_c(c_verifier):
    words = {
        "keys": P256.public_key.spki_der + ED25519.public_key.spki_der,
        "type": CONTENT_TYPE,
        "message": (GOLDEN / "signing" / "sign-two.cose").read_bytes(),
    }
    assert c_verifier.ask("cose", words | {"threshold": 2})["code"] == "ok"
    assert c_verifier.ask("cose", words | {"threshold": 3})["code"] == "too-few-keys"


def test_the_golden_trust_records_follow_each_other_in_c_and_never_back(c_verifier):
    records = [
        (GOLDEN / "signing" / f"trust-record-{version}.cose").read_bytes() for version in (1, 2, 3)
    ]
    assert [c_verifier.code("trust", message=record) for record in records] == ["ok"] * 3
    first, second, third = records
    assert c_verifier.code("trust", message=second, current=first) == "ok"
    assert c_verifier.code("trust", message=third, current=second) == "ok"
    assert c_verifier.code("trust", message=second, current=second) == "record-version"
    assert c_verifier.code("trust", message=first, current=second) == "revoked-key"


def test_the_golden_slot_is_accepted_in_c_for_its_hardware_alone(c_verifier):
    table = (GOLDEN / "waveforms" / "tighten.table").read_bytes()
    told = c_verifier.ask("table", {"bytes": table})
    assert (told["code"], told["peak_na"], told["policy_version"]) == ("ok", 50_000, 1)
    image = (GOLDEN / "waveforms" / "tighten.slot").read_bytes()
    table_bytes, approval_bytes = parse_waveform_slot(image)
    verify_approval(
        approval_bytes, golden_trust(), table_bytes=table_bytes, hardware_class="flare-c3"
    )
    words = {"trust": TRUST, "image": image}
    assert c_verifier.ask("accept", words | {"class": "flare-c3"})["code"] == "ok"
    assert c_verifier.ask("accept", words | {"class": "glow-c3"})["code"] == "hardware-class"
    signed = (GOLDEN / "waveforms" / "tighten-signed.slot").read_bytes()
    assert c_verifier.ask("slot", {"image": signed}) | {"step": ""} == {
        "step": "", "code": "ok", "table_bytes": 232, "approval_bytes": 224,
    }  # fmt: skip


def test_the_golden_calibration_says_its_span_in_c(c_verifier):
    payload = (GOLDEN / "records" / "calibration.cbor").read_bytes()
    told = c_verifier.ask("calibration", {"payload": payload})
    assert (told["code"], told["lowest_na"], told["highest_na"]) == ("ok", -450_000, 450_000)


@pytest.mark.parametrize(
    "name", sorted(n for n in committed_files(MESSAGES) if n.startswith(KINDS))
)
def test_each_message_of_the_gallery_is_refused_in_c_for_the_same_reason(c_verifier, name):
    content = committed_files(MESSAGES)[name]
    kind = name.partition("-")[0]
    codes = our_codes(lambda: read_message(name, content))
    words: dict[str, bytes | int | str] = {"trust": TRUST, "message": content}
    told = c_verifier.ask(kind, words)
    if told["code"] == "ok":  # nonce and hardware class are compared by who asked
        code = "nonce" if told["nonce"] != REQUEST.nonce.hex() else "hardware-class"
        assert {code} == codes
    else:
        assert told["code"] in codes


@pytest.mark.parametrize(
    "name", sorted(n for n in committed_files(SIGNING) if n.startswith(("one-", "two-", "trust-")))
)
def test_each_signed_file_of_the_gallery_is_refused_in_c_for_the_same_reason(c_verifier, name):
    content = committed_files(SIGNING)[name]
    codes = our_codes(lambda: SIGNING.read(name, content))
    if name.startswith("trust-"):
        assert c_verifier.code("trust", message=content) in codes
        return
    told = c_verifier.ask(
        "cose",
        {
            "keys": GALLERY_KEYS,
            "type": CONTENT_TYPE,
            "message": content,
            "threshold": 2 if name.startswith("two-") else 1,
        },
    )
    assert told["code"] in codes


@pytest.mark.parametrize("name", sorted(committed_files(TABLES)))
def test_each_table_and_slot_of_the_gallery_is_refused_in_c_for_the_same_reason(c_verifier, name):
    content = committed_files(TABLES)[name]
    codes = our_codes(lambda: TABLES.read(name, content))
    assert "ok" not in codes
    if name.endswith(".table"):
        assert c_verifier.code("table", bytes=content) in codes
    else:
        assert c_verifier.code("slot", image=content) in codes


def test_ed25519_gives_the_answers_of_rfc_8032(c_verifier):
    vectors = json.loads((GOLDEN.parent / "assets" / "ed25519_rfc8032.json").read_text())
    for vector in vectors:
        words = {name: bytes.fromhex(vector[name]) for name in ("key", "message", "signature")}
        assert c_verifier.code("ed25519", **words) == "ok"
        assert c_verifier.code("ed25519", **words | {"message": words["message"] + b"x"}) == (
            "signature"
        )
