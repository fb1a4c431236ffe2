"""The trust record that a station goes by: each must follow from the one it saw before.

A trust record carries its own root keys, so that the first one is believed on the word of whoever
put it there (docs/spec/trust.md §4). From then on the station remembers it: a record of other
roots, or an older one, is refused, whatever a configuration or an option names. So nobody at the
line makes himself a supervisor by naming another file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from provisioning.errors import StationError
from signing.durable_file import save_durably
from signing.input_file import read_input
from signing.refusal import refusing_in
from signing.trust import MAX_TRUST_RECORD_BYTES, verify_trust_record

if TYPE_CHECKING:
    from pathlib import Path

    from signing.trust import TrustRecord

SEEN_NAME: Final = "trust-seen.cose"


def accept_trust_record(
    folder: Path, untrusted_bytes: bytes, *, where: object = "trust record"
) -> TrustRecord:
    """Return a trust record after it was verified as a successor of the one seen before.

    Args:
        folder: The station's folder.
        untrusted_bytes: The signed record.
        where: Its file, for messages.

    Raises:
        SigningError: It does not verify, is older, or is not signed by the roots of the one before.
        StationError: What the station remembers cannot be read.
        DurableFileError: The folder cannot be written.
    """
    record = verify_successor(folder, untrusted_bytes, where=where)
    remember_trust_record(folder, untrusted_bytes)
    return record


def verify_successor(
    folder: Path, untrusted_bytes: bytes, *, where: object = "trust record"
) -> TrustRecord:
    """Return a trust record that follows from the one seen before; nothing is remembered yet.

    Args:
        folder: The station's folder.
        untrusted_bytes: The signed record.
        where: Its file, for messages.

    Raises:
        SigningError: It does not verify, is older, or is not signed by the roots of the one before.
        StationError: What the station remembers cannot be read.
    """
    seen_bytes = _read_seen(folder)
    seen = None
    if seen_bytes is not None:
        with refusing_in(folder / SEEN_NAME):
            seen = verify_trust_record(seen_bytes, current=None)
    if seen is not None and seen_bytes == untrusted_bytes:
        return seen
    with refusing_in(where):
        return verify_trust_record(untrusted_bytes, current=seen)


def remember_trust_record(folder: Path, signed: bytes) -> None:
    """Remember a trust record that `verify_successor` returned.

    Raises:
        DurableFileError: The folder cannot be written.
        StationError: What the station remembers cannot be read.
    """
    if _read_seen(folder) != signed:
        save_durably(folder / SEEN_NAME, signed)


def _read_seen(folder: Path) -> bytes | None:
    path = folder / SEEN_NAME
    try:
        return read_input(path, MAX_TRUST_RECORD_BYTES)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StationError(
            "what the station remembers of its trust record cannot be read",
            got=error.strerror,
            where=path,
            hint="give the station its rights to this file back",
        ) from error
