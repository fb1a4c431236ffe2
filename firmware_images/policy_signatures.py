"""Signatures of several quality engineers on one policy, approval or waiver.

They sign one after the other, each on a file that the last one left. What this module does not do:
judge what is signed, or whether the signatures are enough.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from firmware_images.errors import ApprovalError
from signing.cose import add_signature, sign_many
from signing.cose_message import (
    MAX_MESSAGE_BYTES,
    kid_of,
    parse_message,
    refuse_content_type,
)
from signing.value_class import dataclass

if TYPE_CHECKING:
    from collections.abc import Sequence

    from signing.signers import Signer


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedFile:
    """A message to be saved.

    Attributes:
        content: The message.
        signature_count: How many signatures it has.
        replaced_count: How many signatures over something else it takes the place of.
    """

    content: bytes
    signature_count: int
    replaced_count: int


def sign_over(
    earlier: bytes | None,
    payload: bytes,
    signers: Sequence[Signer],
    *,
    content_type: str,
    is_added: bool,
) -> SignedFile:
    """Sign a payload, and say what becomes of the message that the file holds already.

    Args:
        earlier: What the file holds, or `None` if it is not there.
        payload: What these signers mean to sign.
        signers: One for each key that signs now.
        content_type: Media type of the payload.
        is_added: Whether these signatures join those of `earlier`.

    Raises:
        SigningError: The file holds something of another kind, or a key has signed already.
        ApprovalError: Signatures of others would be lost, or are over something else.
    """
    replaced_count = 0
    if is_added:
        content = add_signatures(earlier or b"", payload, signers, content_type=content_type)
    else:
        if earlier is not None:
            replaced_count = _count_replaced(earlier, payload, signers, content_type)
        content = sign_many(payload, signers, content_type=content_type)
    return SignedFile(
        content=content,
        signature_count=len(parse_message(content, max_bytes=MAX_MESSAGE_BYTES).signatures),
        replaced_count=replaced_count,
    )


def add_signatures(
    untrusted_bytes: bytes, payload: bytes, signers: Sequence[Signer], *, content_type: str
) -> bytes:
    """Adds signatures to a message that others signed before.

    Args:
        untrusted_bytes: The message so far.
        payload: What these signers mean to sign.
        signers: Keys that have not signed it yet.
        content_type: Media type of the payload.

    Raises:
        SigningError: When it is not such a message, or a key has signed already.
        ApprovalError: When the message says something else than `payload`.
    """
    signed_payload = parse_message(untrusted_bytes, max_bytes=MAX_MESSAGE_BYTES).payload
    if signed_payload != payload:
        raise ApprovalError(
            "the signatures so far are over something else",
            expected=f"payload {sha256(payload).hexdigest()}",
            got=f"payload {sha256(signed_payload).hexdigest()}",
            hint="all signers must sign the same table under the same policy; start again",
        )
    for signer in signers:
        untrusted_bytes = add_signature(untrusted_bytes, signer, content_type=content_type)
    return untrusted_bytes


def _count_replaced(
    earlier: bytes, payload: bytes, signers: Sequence[Signer], content_type: str
) -> int:
    message = parse_message(earlier, max_bytes=MAX_MESSAGE_BYTES)
    refuse_content_type(message, content_type)
    if message.payload != payload:
        return len(message.signatures)
    own = {kid_of(signer.public_key) for signer in signers}
    others = [entry.kid.hex() for entry in message.signatures if entry.kid not in own]
    if others:
        raise ApprovalError(
            "others have signed this already, and their signatures would be lost",
            expected="signatures by nobody else",
            got=", ".join(f"kid {kid}" for kid in others),
            hint="add yours with --add, or remove the file to start again",
        )
    return 0
