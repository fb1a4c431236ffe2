"""Waveform slots signed for the chip's own keys, as images are.

Implements docs/spec/secure-boot.md §7. A board with Secure Boot can then refuse, in its bootloader
or application, a table that none of the keys in its eFuses signed: before it parses anything, and
whatever became of the trust record in its flash. It adds to the approval and replaces nothing: who
may sign firmware is not thereby a judge of waveforms. The form is that of a signed data partition,
what `espsecure sign-data --version 2` makes of the same bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from firmware_images.signature_sector import build_sector, verify_sector
from firmware_images.waveform_slot import (
    pad_waveform_slot,
    serialize_waveform_slot,
    split_waveform_slot,
)
from signing.errors import SignatureError
from signing.value_class import dataclass

if TYPE_CHECKING:
    from collections.abc import Sequence

    from firmware_images.signature_sector import SignatureBlock
    from signing.keys import PublicKey

WHAT = "waveform slot"


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedSlot:
    """A slot whose every signature block verifies.

    Attributes:
        table: The waveform table.
        approval: Its approval, not verified here.
        content: Both with their header, padded to a sector: what was signed.
        sector: The signature sector.
        blocks: One to three, in the order of the sector.
    """

    table: bytes
    approval: bytes
    content: bytes
    sector: bytes
    blocks: tuple[SignatureBlock, ...]


def attach_slot_signatures(
    slot_image: bytes,
    signatures: Sequence[tuple[PublicKey, bytes]],
    *,
    kept: Sequence[SignatureBlock] = (),
    where: str = WHAT,
) -> bytes:
    """Return the padded slot with a signature sector; each signature is verified first.

    Args:
        slot_image: Header, table and approval: `serialize_waveform_slot`.
        signatures: Keys and their signatures over the padded slot.
        kept: Verified blocks that come before them.
        where: The file, for messages.

    Raises:
        WaveformTableError: There is no room for the sector.
        SecureBootError: Too many or no signatures, or one key twice.
        SignatureError: A signature is not that key's over this slot.
    """
    padded = pad_waveform_slot(slot_image, where=where)
    return padded + build_sector(padded, signatures, kept=kept, where=where)


def verify_signed_slot(untrusted_bytes: bytes, *, where: str = WHAT) -> SignedSlot:
    """Return a slot with its signatures, if each is its key's over exactly this slot.

    Says nothing about whose keys they are, nor about the approval.

    Args:
        untrusted_bytes: A slot image or a whole partition.
        where: Its name, for messages.

    Raises:
        WaveformTableError: It is not a waveform slot.
        SecureBootError: The signature sector is not what a signer writes.
        SignatureError: The slot is not signed, or a signature does not match.
    """
    table, approval, sector = split_waveform_slot(untrusted_bytes, where=where)
    if sector is None:
        raise SignatureError(
            "the waveform slot is not signed for the chip's keys",
            expected="a Secure Boot v2 signature sector behind it",
            got="none",
            where=where,
            hint="sign it with `ampforge waveform sign-slot`",
        )
    padded = pad_waveform_slot(serialize_waveform_slot(table, approval), where=where)
    blocks = verify_sector(sector, padded, what=WHAT, where=where)
    return SignedSlot(table=table, approval=approval, content=padded, sector=sector, blocks=blocks)
