"""TLS by certificate and key in files, which can be read again while the server runs.

New connections get what was read last, running ones keep what they began with. The versions are
1.2 and 1.3, nothing is negotiated again, the cipher suites those of the system's OpenSSL policy.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from manifests.errors import ServerError

if TYPE_CHECKING:
    from pathlib import Path


class TlsFiles:
    """A certificate chain and its key.

    Args:
        certificate: PEM: the server's certificate first, then its issuers.
        key: PEM, not encrypted; mode 0600 is its owner's business.

    Raises:
        ServerError: They cannot be read, or do not belong together.

    Attributes:
        context: For all connections of the server; what it shows follows `reload`.
    """

    def __init__(self, certificate: Path, key: Path) -> None:
        self._certificate = certificate
        self._key = key
        self._current = self._load()
        self.context = self._load()
        # OpenSSL calls this for each handshake, whether the client names a server or not.
        self.context.sni_callback = self._show_current

    def reload(self) -> None:
        """Read both files again.

        Raises:
            ServerError: They cannot be used; what was read before stays in use.
        """
        self._current = self._load()

    def _show_current(self, connection: ssl.SSLObject, name: str | None, old: object) -> None:
        del name, old
        connection.context = self._current

    def _load(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        # Each costs the server a handshake; before OpenSSL 3 a peer may ask for them without end.
        context.options |= ssl.OP_NO_RENEGOTIATION
        context.set_alpn_protocols(["http/1.1"])
        try:
            context.load_cert_chain(self._certificate, self._key, password=_refuse_encrypted)
        except (OSError, ValueError) as error:
            raise ServerError(
                "the server's TLS certificate or key cannot be used",
                expected="a PEM certificate chain and its unencrypted PEM key",
                got=getattr(error, "reason", None) or getattr(error, "strerror", None) or error,
                where=f"{self._certificate}, {self._key}",
                hint="check both files, that the key is the certificate's, and their permissions",
            ) from error
        return context


def _refuse_encrypted() -> str:
    # Without this OpenSSL asks the terminal, and a server waits forever.
    raise ValueError("the key is encrypted")
