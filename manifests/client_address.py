"""Whose request it is, for limits: the peer, or whom a trusted proxy names.

A header that anybody can send is believed only from an address that was declared a proxy, and only
the one header that this proxy sets: `X-Forwarded-For`, or `Forwarded` (RFC 7239). Both are read
from the right, past further trusted proxies, to the first address that is none: what stands left
of it was written by the client. The address grants nothing: limits and the access log use it.
"""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, Any, Final

from manifests.errors import ServerError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from ipaddress import IPv4Network

    Address = IPv4Address | IPv6Address
    Network = IPv4Network | IPv6Network

X_FORWARDED_FOR: Final = "x-forwarded-for"
FORWARDED_MAX_LENGTH = 2048
CLIENT_PREFIX_BITS_V6 = 64
"""One customer's line has at least a /64: whoever has one has all its addresses."""
LOGGED_PREFIX_BITS = {4: 24, 6: 48}
_NODE = re.compile(r"\[([0-9A-Fa-f:.]{2,45})\](?::[0-9]{1,5})?|([0-9.]{7,15})(?::[0-9]{1,5})?")
_FOR = re.compile(r'(?:^|;)\s*for\s*=\s*("[^"]*"|[^";,\s]*)', re.IGNORECASE)


class ClientAddresses:
    """Finds the client of a request.

    Args:
        trusted_proxies: Networks in CIDR notation, or single addresses.
        header: Which header these proxies set, in lower case.

    Raises:
        ServerError: Something is no network.
    """

    def __init__(
        self, trusted_proxies: Iterable[str] = (), *, header: str = X_FORWARDED_FOR
    ) -> None:
        self._trusted = tuple(parse_network(text) for text in trusted_proxies)
        self._header = header

    def is_proxy(self, peer: str) -> bool:
        """Whether a peer was declared a proxy."""
        if not self._trusted:
            return False
        address = parse_node(peer)
        return address is not None and self._is_trusted(address)

    def find(self, peer: str, headers: Any) -> str:
        """Return the client's address; the peer's own when a proxy says nothing that is one.

        Args:
            peer: The address at the other end of the connection, a port behind it or not.
            headers: The request's, by lower-case name.
        """
        address = parse_node(peer)
        if address is None or not self._trusted or not self._is_trusted(address):
            return peer if address is None else str(address)
        for named in reversed(self._nodes(headers.get(self._header) or "")):
            found = parse_node(named)
            if found is None:
                break
            address = found
            if not self._is_trusted(found):
                break
        return str(address)

    def _nodes(self, value: str) -> list[str]:
        elements = value[-FORWARDED_MAX_LENGTH:].split(",")
        if len(value) > FORWARDED_MAX_LENGTH:
            # Only the proxy's end counts; the client must not hide behind a long beginning.
            del elements[0]
        if self._header == X_FORWARDED_FOR:
            return [element.strip() for element in elements]
        found = [_FOR.search(element) for element in elements]
        return [match.group(1).strip('"') if match else "" for match in found]

    def _is_trusted(self, address: Address) -> bool:
        return any(address in network for network in self._trusted)


def parse_network(text: str) -> Network:
    """Return a network in CIDR notation, or that of one address.

    Raises:
        ServerError: It is neither, or has bits set behind its prefix.
    """
    try:
        return ip_network(text)
    except ValueError as error:
        raise ServerError(
            "this is no network of trusted proxies",
            expected="an address, or a network such as 10.0.0.0/8",
            got=text,
            where="[serve] trusted_proxies",
        ) from error


@lru_cache(maxsize=1024)
def parse_node(text: str) -> Address | None:
    """Return the address in `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1` or `[2001:db8::1]:80`.

    An IPv4 address that came in an IPv6 one is the IPv4 address. `None` when it is no address, such
    as the `unknown` and the obfuscated names of RFC 7239.
    """
    match = _NODE.fullmatch(text)
    bare = (match.group(1) or match.group(2)) if match else text
    try:
        address = ip_address(bare.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def limit_key(address: str) -> str:
    """Return what a limit is counted by: an IPv4 address, or the /64 of an IPv6 one."""
    return _network(address, {4: 32, 6: CLIENT_PREFIX_BITS_V6})


def logged_network(address: str) -> str:
    """Return what may be logged of an address: its /24 or /48, which names nobody's device."""
    return _network(address, LOGGED_PREFIX_BITS)


def _network(text: str, bits: dict[int, int]) -> str:
    address = parse_node(text)
    if address is None:
        return "unknown"
    return str(ip_network((address, bits[address.version]), strict=False))
