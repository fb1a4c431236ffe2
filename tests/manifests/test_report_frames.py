"""What a verifying process writes comes back as it was, and garbage is refused, not stored."""

from __future__ import annotations

import struct

import pytest

from manifests.device_report import verify_whole_report
from manifests.errors import DeviceMessageError
from manifests.received_report import receive_report
from manifests.report_frames import pack_refusal, pack_verified, unpack_outcomes
from signing.refusal import REFUSAL_PARTS
from tests.manifests.test_device_messages import REPORT, signed_report
from tests.manifests.world import NOW, trust

BODY = signed_report(REPORT)
VERIFIED = verify_whole_report(BODY, trust(), now=NOW)
REFUSED = DeviceMessageError("no", expected="ä", got="\u2028", where="here", hint="next")
NOW_S = int(NOW.timestamp())
HEAD_BYTES, RESULT_AT, SERIAL_LENGTH_AT, MAC_LENGTH_AT = 3, 172, 173, 176


def unpack(content, count=1):
    return list(unpack_outcomes(content, [BODY] * count, now_s=NOW_S))


def changed(offset_bytes, value):
    content = bytearray(pack_verified(VERIFIED))
    content[HEAD_BYTES + offset_bytes] = value
    return bytes(content)


def refusal(text):
    return struct.pack("!BH", 0, len(text)) + text


def test_outcomes_come_back_as_they_were():
    verified, refused = unpack(pack_verified(VERIFIED) + pack_refusal(REFUSED), count=2)
    certificate = VERIFIED.certificate
    assert verified == receive_report(
        REPORT,
        BODY,
        now=NOW,
        mac=certificate.common_name,
        key_id=certificate.public_key.key_id,
    )
    for part in REFUSAL_PARTS:
        assert getattr(refused, part) == getattr(REFUSED, part)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        pack_verified(VERIFIED)[:-1],
        pack_verified(VERIFIED) + b"\x00",
        pack_verified(VERIFIED) * 2,
        b"\x02" + pack_verified(VERIFIED)[1:],
        changed(RESULT_AT, 77),
        changed(SERIAL_LENGTH_AT, len(REPORT.serial_number) - 1),
        changed(MAC_LENGTH_AT, 255),
        changed(-1, 0),
        refusal(b"[" * 60_000),
        refusal(b'["no", 1, 2, 3, 4]'),
        refusal(b'["no"]'),
        refusal(b'{"a": 1, "b": 2, "c": 3, "d": 4, "e": 5}'),
        refusal(b"\xff"),
    ],
    ids=[
        "nothing", "cut", "longer", "one_too_many", "kind", "result", "shorter_text", "longer_text",
        "shorter_outcome", "nested", "numbers", "parts", "map", "no_text",
    ],
)  # fmt: skip
def test_garbage_is_no_outcome(content):
    with pytest.raises((ValueError, struct.error)):
        unpack(content)
