"""Ways in to what repository, gateway and device send each other."""

from __future__ import annotations

from functools import partial

from manifests.carried_reports import parse_carried_reports, parse_outcomes, serialize_outcomes
from manifests.freshness import parse_freshness_request
from manifests.http_transport import parse_base_url
from manifests.s3_address import parse_s3_address
from manifests.served_files import parse_range
from manifests.suit_envelope import parse_suit_envelope
from manifests.suit_export import verify_release_envelope
from tests.hostile.entry import add_bytes, argument, golden
from tests.manifests import golden_messages, rejected_messages

for _name in ("manifest", "assignment", "freshness"):
    add_bytes(
        _name,
        "cose",
        partial(rejected_messages.read, f"{_name}-"),
        golden(f"manifests/{_name}.cose"),
    )
add_bytes(
    "freshness request",
    "cbor",
    parse_freshness_request,
    golden("manifests/freshness-request.cbor"),
)
add_bytes(
    "SUIT envelope",
    "cbor cose",
    lambda content: verify_release_envelope(content, golden_messages.golden_trust()),
    golden("suit/flare-1.7.0.suit"),
)
add_bytes(
    "SUIT envelope, unverified", "cbor cose", parse_suit_envelope, golden("suit/flare-1.5.0.suit")
)
add_bytes(
    "device report",
    "cbor cose",
    partial(rejected_messages.read, "report-"),
    golden("manifests/report.cbor"),
)
add_bytes(
    "batch of device reports",
    "cbor",
    parse_carried_reports,
    golden("manifests/report-batch.cbor"),
)
add_bytes(
    "outcomes of a batch of device reports",
    "json",
    partial(parse_outcomes, count=2),
    lambda: serialize_outcomes([(201, "stored"), (400, "refused")]),
)
for _name in ("root", "targets", "snapshot", "timestamp"):
    add_bytes(
        f"TUF {_name}",
        "json",
        partial(rejected_messages.read_metadata, f"tuf-{_name}-"),
        partial(rejected_messages.metadata().__getitem__, _name),
    )
add_bytes(
    "server's URL", "text", argument(parse_base_url), lambda: b"https://updates.example:8443/flare"
)
add_bytes(
    "bucket's address", "text", argument(parse_s3_address), lambda: b"s3://flare-updates/prod"
)
add_bytes(
    "range of a request",
    "text",
    lambda c: parse_range(c.decode("latin-1"), 1 << 20),
    lambda: b"bytes=4096-8191",
)
