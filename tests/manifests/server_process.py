"""A server in a process of its own, that tests send signals to, and certificates for it."""

from __future__ import annotations

import datetime as dt
import ipaddress
import json
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from manifests.server_plan import ServerPlan, serialize_plan
from tests.firmware_images.release_parts import signer
from tests.manifests.world import trust_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from manifests.publishing import Publisher

RUN = (
    "import json, sys\n"
    "from manifests.server import run_server\n"
    "from manifests.server_plan import parse_plan\n"
    "from signing.refusal import Refusal\n"
    "plan = parse_plan(bytes.fromhex(sys.argv[1]))\n"
    "try:\n"
    "    run_server(plan, on_ready=lambda url: print(json.dumps({'url': url}), flush=True))\n"
    "except Refusal as error:\n"
    "    print(json.dumps({'error': str(error)}), flush=True)\n"
)


def whole_plan(publisher: Publisher, folder: Path, **options: object) -> ServerPlan:
    """A plan with nonces and reports; the report database lies in the folder."""
    return ServerPlan(
        folder=publisher.store.root,
        trust_record=trust_bytes(),
        freshness_key_der=signer("freshness-1").to_pkcs8_der(),
        reports_path=folder / "reports.sqlite",
        **options,
    )


class ServerProcess:
    """A running server; its first line says where, or why not."""

    def __init__(self, plan: ServerPlan) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", RUN, serialize_plan(plan).hex()],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        said = json.loads(self.process.stdout.readline() or "{}")
        self.error = said.get("error")
        self.url = said.get("url", "")
        self.port = urlsplit(self.url).port

    def end(self) -> int:
        """Wait for its end, the hard way if need be."""
        try:
            return self.process.wait(60)
        finally:
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()
            self.process.stderr.close()


@contextmanager
def running(plan: ServerPlan) -> Iterator[ServerProcess]:
    server = ServerProcess(plan)
    try:
        yield server
    finally:
        server.process.terminate()
        server.end()


def write_certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """Write a self-signed certificate for this machine and its key; the name is its subject."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    paths = folder / "server.pem", folder / "server.key"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return paths
