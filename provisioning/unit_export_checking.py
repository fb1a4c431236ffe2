"""Checks the exported record of a unit: every event, every link, and the signed heads.

Needs the factory CA's certificate and nothing else; it touches no ledger, so that an auditor's
machine loads no database either. Normative text: docs/spec/ledger-and-record-export.md §6.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import from_json

from provisioning.errors import ExportError
from provisioning.ledger_events import event_digest, parse_event
from provisioning.unit_events import UnitEvents, event_document
from signing.bounded_json import count_values
from signing.canonical_cbor import serialize_cbor
from signing.certificate_fields import CertificateKind
from signing.certificates import verify_certificate
from signing.cose import verify_one
from signing.hash_chain import link_hash
from signing.refusal import refusing_in
from signing.validation_words import describe_problem

if TYPE_CHECKING:
    import datetime as dt

    from provisioning.ledger_events import Event

EXPORT_SCHEMA: Final = "ampforge.unit-export/1"
EXPORT_MAX_BYTES: Final = 256 << 20
# A link, which is most of an export, has seven values' marks in 170 bytes or more.
_BYTES_PER_VALUE: Final = 16
_VALUES_MAX: Final = 65_536
HEAD_CONTENT_TYPE: Final = "application/vnd.ampforge.chain-head+cbor"

Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Hex = Annotated[str, Field(pattern=r"^([0-9a-f]{2})*$")]


_Model = TypeVar("_Model", bound=BaseModel)


class _Link(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    number: Annotated[int, Field(ge=0)]
    digest: Hash
    hash: Hash
    content: Hex | None = None


class _Chain(BaseModel):
    """One station's chain; a link becomes a model when it is its turn, and none is kept."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    station: str
    previous: Hash
    links: Annotated[list[Any], Field(min_length=1)]


class _Ledger(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    uuid: str
    epoch: int


class _Export(BaseModel):
    """What of an export is proved; the readable rest is compared with it, or proves nothing."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")

    schema_: Annotated[Literal["ampforge.unit-export/1"], Field(alias="schema")]
    serial: str
    ledger: _Ledger
    exported_at: str
    events: list[dict[str, object]]
    chains: list[_Chain]
    heads_cose: Hex
    station_certificate: Hex


def verify_export(
    untrusted_bytes: bytes, ca_der: bytes, *, now: dt.datetime, where: str
) -> tuple[Event, ...]:
    """Return the events of an export; all else is as in `verify_export_links`."""
    return verify_export_links(untrusted_bytes, ca_der, now=now, where=where).events


def verify_export_links(
    untrusted_bytes: bytes, ca_der: bytes, *, now: dt.datetime, where: str
) -> UnitEvents:
    """Return the events of an export, if a station of this factory vouches for each of them.

    Args:
        untrusted_bytes: The export, JSON.
        ca_der: Certificate of the factory CA.
        now: The present, aware.
        where: What to name in an error.

    Raises:
        ExportError: It is not an export, or an event, a link or a head was changed.
        SigningError: Certificate or signature do not verify.
    """
    export = _parse_export(untrusted_bytes, where)
    with refusing_in(where):
        certificate = verify_certificate(
            bytes.fromhex(export.station_certificate), ca_der, now=now, kind=CertificateKind.STATION
        )
        verified = verify_one(
            bytes.fromhex(export.heads_cose),
            [certificate.public_key],
            content_type=HEAD_CONTENT_TYPE,
        )
    contents: dict[str, bytes] = {}
    heads: dict[str, list[object]] = {
        chain.station: _verify_chain(chain, contents, where) for chain in export.chains
    }
    statement = serialize_heads(
        uuid=export.ledger.uuid,
        epoch=export.ledger.epoch,
        serial=export.serial,
        exported_at=export.exported_at,
        heads=heads,
    )
    if verified.payload != statement:
        raise _changed("heads as the station signed them", "others", where)
    if not contents:
        raise _changed(f"the events of {export.serial}", "none of them", where)
    events = {name: parse_event(content, where=where) for name, content in contents.items()}
    if any(event.serial != export.serial for event in events.values()):
        raise _changed(f"the events of {export.serial}", "another unit's", where)
    told = {str(document.get("hash")): document for document in export.events}
    if len(told) != len(export.events):
        raise _changed("each event once", "one of them twice", where)
    proved = {
        name: event_document(event, link=bytes.fromhex(name)) for name, event in events.items()
    }
    if told != proved:
        raise _changed("the events that are proved", "others, or not all of them", where)
    return UnitEvents(
        ledger_uuid=export.ledger.uuid,
        events=tuple(events[name] for name in told),
        hashes=tuple(told),
    )


def _verify_chain(chain: _Chain, contents: dict[str, bytes], where: str) -> list[object]:
    """Return a chain's number of events and its head; the events that it holds go to `contents`."""
    previous = bytes.fromhex(chain.previous)
    number = None
    for raw in chain.links:
        link = _parse_model(raw, _Link, f"{where}, a link of {chain.station[:40]!a}")
        number = link.number if number is None else number + 1
        digest = bytes.fromhex(link.digest)
        if link.content is not None:
            contents[link.hash] = bytes.fromhex(link.content)
            if event_digest(contents[link.hash]) != digest:
                raise _changed(f"event {link.number} as it was chained", "another content", where)
        if link.number != number:
            raise _changed(f"event {number}", f"{link.number}", where)
        previous = link_hash(previous, digest)
        if previous.hex() != link.hash:
            raise _changed(f"link {link.number} to follow from the one before", "a break", where)
    assert number is not None, "the model asks for a link"
    return [number + 1, previous]


def _parse_export(untrusted_bytes: bytes, where: str) -> _Export:
    if len(untrusted_bytes) > EXPORT_MAX_BYTES:
        raise ExportError(
            "the export is too long", expected=f"at most {EXPORT_MAX_BYTES} bytes", where=where
        )
    values_max = _VALUES_MAX + len(untrusted_bytes) // _BYTES_PER_VALUE
    if (values := count_values(untrusted_bytes)) > values_max:
        raise ExportError(
            "the export holds more values than an export of its size",
            expected=f"at most {values_max}",
            got=values,
            where=where,
        )
    try:
        document = from_json(untrusted_bytes, allow_inf_nan=False)
    except ValueError as error:
        raise _no_export("no JSON text", where) from error
    return _parse_model(document, _Export, where)


def _parse_model(document: object, model: type[_Model], where: str) -> _Model:
    try:
        return model.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise _no_export(
            describe_problem(first), f"{where}, {field}" if field else where
        ) from error


def _no_export(got: str, where: str) -> ExportError:
    return ExportError(
        "this is not the export of a unit",
        expected=EXPORT_SCHEMA,
        got=got,
        where=where,
        hint="make one with `ampforge unit export SERIAL`",
    )


def _changed(expected: str, got: str, where: str) -> ExportError:
    return ExportError(
        "the export was changed after it was made",
        expected=expected,
        got=got,
        where=where,
        hint="ask the factory for a new export",
    )


def serialize_heads(
    *, uuid: str, epoch: int, serial: str, exported_at: str, heads: dict[str, list[object]]
) -> bytes:
    """Return what a station signs of its chains: each one's number of events and head."""
    return serialize_cbor({1: uuid, 2: epoch, 3: serial, 4: exported_at, 5: heads})
