"""One TUF document whose canonical bytes are made once, however many keys sign or verify it.

python-tuf encodes a document anew for each signature, in Python, string by string; with a thousand
releases in the targets that is most of what publishing costs. Canonical JSON (what TUF signs)
differs from compact, sorted JSON in its escapes alone, so that a document with none but line ends
is encoded by the standard library, and any other as python-tuf does it. A received file that is
written so is not encoded at all: what is verified are the bytes as they came, and what is parsed
are the same bytes. Nothing is verified here.
"""

from __future__ import annotations

import json
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
_TO_ESCAPE = bytes({*range(0x20), ord("\\")} - {ord("\n")})
_BEFORE_SIGNATURES, _BEFORE_SIGNED = b'{"signatures":', b',"signed":'
Document = TypeVar("Document", Root, Timestamp, Snapshot, Targets)


class MalformedDocumentError(ValueError):
    """Raised when bytes are not a TUF document; the message says what they are instead."""


class TufDocument(Metadata[Document]):
    """A document whose `signed` part is never changed once it is in here."""

    _canonical: bytes | None = None
    _file: tuple[list[tuple[str, str]], bytes] | None = None  # who had signed, and the bytes then

    @property
    def signed_bytes(self) -> bytes:
        """What is signed: the canonical form of `signed`."""
        if self._canonical is None:
            self._canonical = encode_canonical_json(self.signed.to_dict())
        return self._canonical

    def to_bytes(self, serializer: MetadataSerializer | None = None) -> bytes:
        """Return the bytes of the document's file: compact JSON."""
        if serializer is not None:
            return super().to_bytes(serializer)
        signed_by = [(one.keyid, one.signature) for one in self.signatures.values()]
        if self._file is None or self._file[0] != signed_by:
            self._file = signed_by, self._encode()
        return self._file[1]

    def _encode(self) -> bytes:
        canonical = self.signed_bytes
        if len(canonical.translate(None, _TO_ESCAPE)) != len(canonical):
            return super().to_bytes(_SERIALIZER)
        signatures = [signature.to_dict() for signature in self.signatures.values()]
        listed = json.dumps(signatures, separators=(",", ":"), sort_keys=True).encode()
        signed = canonical.replace(b"\n", b"\\n")
        return _BEFORE_SIGNATURES + listed + _BEFORE_SIGNED + signed + b"}"


def parse_tuf_document(untrusted_bytes: bytes) -> TufDocument[Any]:
    """Return a document of any role, not verified; its canonical form is of the bytes received.

    Raises:
        MalformedDocumentError: It is none.
    """
    try:
        parts, canonical = _take_apart(untrusted_bytes)
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


def _take_apart(untrusted_bytes: bytes) -> tuple[dict[str, Any], bytes]:
    """Return the parts of a document, and the canonical form of the signed one."""
    begin = untrusted_bytes.find(b"]" + _BEFORE_SIGNED) + 1
    signed = untrusted_bytes[begin + len(_BEFORE_SIGNED) : -1]
    if (
        begin
        and untrusted_bytes.startswith(_BEFORE_SIGNATURES)
        and untrusted_bytes[-2:] == b"}}"
        # No escape but line ends', which canonical JSON leaves as they are.
        and signed.count(b"\\") == signed.count(b"\\n")
    ):
        # Both parts are parsed from the very bytes between the marks: were a mark forged inside
        # of a signature, the part after it would be what is verified, too.
        try:
            parts = {
                "signatures": _load(untrusted_bytes[len(_BEFORE_SIGNATURES) : begin]),
                "signed": _load(signed),
            }
        except ValueError:
            pass  # further parts beside those two
        else:
            return parts, signed.replace(b"\\n", b"\n")
    parts = _load(untrusted_bytes)
    return parts, encode_canonical_json(parts["signed"])  # python-tuf takes the parts apart


def _load(untrusted_bytes: bytes) -> Any:
    return json.loads(untrusted_bytes.decode("utf-8"), parse_float=_refuse, parse_constant=_refuse)


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"a number that canonical JSON does not have: {text[:40]}")
