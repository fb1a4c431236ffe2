"""One TUF document whose canonical bytes are made once, however many keys sign or verify it.

python-tuf encodes a document anew for each signature, in Python, string by string; with a thousand
releases in the targets that is most of what publishing costs. Canonical JSON (what TUF signs)
differs from compact, sorted JSON in its escapes alone, so that a document with none but line ends
is encoded by the standard library, and any other as python-tuf does it. Nothing is verified here.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from tuf.api.exceptions import RepositoryError as TufError
from tuf.api.metadata import (  # type: ignore[attr-defined]  # public, re-exported without __all__
    Metadata,
    Root,
    Snapshot,
    Targets,
    Timestamp,
)
from tuf.api.serialization.json import JSONSerializer

from signing.tuf_signers import encode_canonical_json

if TYPE_CHECKING:
    from tuf.api.serialization import MetadataSerializer

_SERIALIZER = JSONSerializer(compact=True)
_TO_ESCAPE = re.compile(rb"[\x00-\x09\x0b-\x1f\\]")
Document = TypeVar("Document", Root, Timestamp, Snapshot, Targets)


class MalformedDocumentError(ValueError):
    """Raised when bytes are not a TUF document; the message says what they are instead."""


class TufDocument(Metadata[Document]):
    """A document whose `signed` part is never changed once it is in here."""

    _canonical: bytes | None = None

    @property
    def signed_bytes(self) -> bytes:
        """What is signed: the canonical form of `signed`."""
        if self._canonical is None:
            self._canonical = encode_canonical_json(self.signed.to_dict())
        return self._canonical

    def to_bytes(self, serializer: MetadataSerializer | None = None) -> bytes:
        """Return the bytes of the document's file: compact JSON."""
        if serializer is not None or _TO_ESCAPE.search(self.signed_bytes):
            return super().to_bytes(serializer or _SERIALIZER)
        signatures = [signature.to_dict() for signature in self.signatures.values()]
        listed = json.dumps(signatures, separators=(",", ":"), sort_keys=True).encode()
        signed = self.signed_bytes.replace(b"\n", b"\\n")
        return b'{"signatures":' + listed + b',"signed":' + signed + b"}"


def parse_tuf_document(untrusted_bytes: bytes) -> TufDocument[Any]:
    """Return a document of any role, not verified; its canonical form is of the bytes received.

    Raises:
        MalformedDocumentError: It is none.
    """
    try:
        parts = json.loads(
            untrusted_bytes.decode("utf-8"), parse_float=_refuse, parse_constant=_refuse
        )
        canonical = encode_canonical_json(parts["signed"])  # python-tuf takes the parts apart
        document: TufDocument[Any] = TufDocument.from_dict(parts)  # type: ignore[assignment]  # of its own class
    except (
        ArithmeticError,
        AttributeError,
        LookupError,
        RecursionError,
        TufError,
        TypeError,
        ValueError,
    ) as error:
        raise MalformedDocumentError(f"{type(error).__name__}: {error}"[:200]) from error
    document._canonical = canonical  # noqa: SLF001 - this module's own class
    return document


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"a number that canonical JSON does not have: {text[:40]}")
