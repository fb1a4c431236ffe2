"""What a server is told: plain values, so that another process can be given them."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path

from manifests.client_address import X_FORWARDED_FOR
from signing.canonical_cbor import parse_cbor, serialize_cbor

PLAN_MAX_BYTES = 1 << 20
BACKGROUND_DRAIN_S = 10
FIRST_CHECK_S = 60
"""A server that begins has more urgent things to do than to look for damage."""
_PATHS = (
    "folder",
    "reports_path",
    "denied_devices",
    "tls_certificate",
    "tls_key",
    "access_log",
    "control",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerPlan:
    """What is served, where, and within which limits.

    Attributes:
        folder: The repository's folder.
        trust_record: The signed trust record; empty leaves nonces and reports out.
        freshness_key_der: PKCS #8 of the freshness role's key; empty leaves nonces out.
        reports_path: The report database; `None` leaves reports out.
        first_check_s: When it is looked at for damage first, after the start.
        denied_devices: Names devices whose reports are refused; `None` refuses none.
        host: Address to listen on.
        port: TCP port; 0 takes a free one.
        tls_certificate: PEM chain; `None` serves unencrypted.
        tls_key: Its PEM key.
        trusted_proxies: Networks whose peers may say who the client is.
        forwarded_header: Where they say it, in lower case.
        api_requests_per_minute: Nonces and reports for each client; `None` sets no limit.
        connections_per_address_max: `None` sets no limit.
        drain_s: How long running downloads may take when the server is to end.
        metrics: `(address, port)` for Prometheus; `None` offers none.
        access_log: File; `None` writes none.
        control: Unix socket by which a successor takes over; `None` offers none.
        is_successor: Whether to take the place of the server behind `control`.
    """

    folder: Path
    trust_record: bytes = b""
    freshness_key_der: bytes = field(default=b"", repr=False)
    reports_path: Path | None = None
    first_check_s: int = FIRST_CHECK_S
    denied_devices: Path | None = None
    host: str = "127.0.0.1"
    port: int = 0
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    trusted_proxies: tuple[str, ...] = ()
    forwarded_header: str = X_FORWARDED_FOR
    api_requests_per_minute: int | None = None
    connections_per_address_max: int | None = None
    drain_s: int = BACKGROUND_DRAIN_S
    metrics: tuple[str, int] | None = None
    access_log: Path | None = None
    control: Path | None = None
    is_successor: bool = False


def serialize_plan(plan: ServerPlan) -> bytes:
    """Return a plan as CBOR, with whole paths: the other process may be in another folder."""
    document: dict[str, object] = {}
    for one in fields(plan):
        value = getattr(plan, one.name)
        match value:
            case Path():
                document[one.name] = str(value.resolve())
            case tuple():
                document[one.name] = list(value)
            case _:
                document[one.name] = value
    return serialize_cbor(document)


def parse_plan(content: bytes) -> ServerPlan:
    """Return the plan that the parent process sent."""
    document = parse_cbor(content, max_bytes=PLAN_MAX_BYTES)
    assert isinstance(document, dict)
    values: dict[str, object] = dict(document)
    for name in _PATHS:
        if values[name] is not None:
            values[name] = Path(str(values[name]))
    for name in ("trusted_proxies", "metrics"):
        if values[name] is not None:
            values[name] = tuple(values[name])  # type: ignore[arg-type]  # as serialize_plan writes it
    return ServerPlan(**values)  # type: ignore[arg-type]  # as above
