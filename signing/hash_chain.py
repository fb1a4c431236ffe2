"""A chain of SHA-256 hashes over the entries of a log: what was written cannot be changed unseen.

Implements docs/spec/trust.md §7. The hash of an entry is over a domain name, the hash of the entry
before, and the entry's content; the first entry follows `GENESIS`. A chain shows that no entry was
changed, removed from the middle, or reordered. Removing the newest entries leaves a shorter valid
chain: heads are signed and kept elsewhere for that.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from signing.errors import ChainError

if TYPE_CHECKING:
    from collections.abc import Iterable

HASH_BYTES: Final = 32
GENESIS: Final = bytes(HASH_BYTES)
"""What the first entry of a chain follows."""

_DOMAIN: Final = b"ampforge hash chain v1\0"


def link_hash(previous: bytes, content: bytes) -> bytes:
    """Return the hash of an entry.

    Args:
        previous: Hash of the entry before, 32 bytes; `GENESIS` for the first.
        content: The entry.

    Raises:
        ChainError: `previous` has another length.
    """
    # The fixed length of `previous` makes the concatenation unambiguous.
    return hashlib.sha256(link_prefix(previous) + content).digest()


def link_prefix(previous: bytes) -> bytes:
    """Return what is hashed before the content of an entry, for a database that links by itself.

    Args:
        previous: Hash of the entry before, 32 bytes.

    Raises:
        ChainError: `previous` has another length.
    """
    if len(previous) != HASH_BYTES:
        raise ChainError(
            "a chain hash has the wrong length",
            expected=f"{HASH_BYTES} bytes",
            got=f"{len(previous)} bytes",
        )
    return _DOMAIN + previous


def verify_chain(links: Iterable[tuple[bytes, bytes, bytes]]) -> bytes:
    """Verify a chain from its first entry.

    Args:
        links: For each entry in order: hash of the entry before, content, its own hash.

    Returns:
        The head: hash of the last entry, `GENESIS` for an empty chain.

    Raises:
        ChainError: An entry does not follow from the one before; it names the index, from 0.
    """
    head = GENESIS
    for index, (previous, content, stated) in enumerate(links):
        if previous != head:
            raise ChainError(
                "a log entry does not follow the entry before it",
                expected=head.hex(),
                got=previous.hex(),
                where=f"entry {index}",
                hint="an entry was removed, inserted or reordered: restore the log from a backup",
            )
        head = link_hash(previous, content)
        if stated != head:
            raise ChainError(
                "a log entry does not match its hash",
                expected=stated.hex(),
                got=head.hex(),
                where=f"entry {index}",
                hint="the entry was changed after it was written: restore the log from a backup",
            )
    return head
