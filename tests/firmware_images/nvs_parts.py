"""An NVS partition with one value of every type, and what its entries are."""

from __future__ import annotations

from firmware_images.nvs_values import NvsEntry, NvsType

SIZE_BYTES = 0x5000
KEY = bytes(range(64))
PLAN = b"""partition = "nvs"

[namespaces.factory]
serial = { string = "{serial}" }
mac = { blob = "{mac_hex}" }
label = { string = "{job} on {mac}" }
revision = { u8 = 1 }
"""


def entry(
    key: str, kind: NvsType, value: int | str | bytes, *, namespace: str = "factory"
) -> NvsEntry:
    return NvsEntry(namespace=namespace, key=key, type=kind, value=value)


ENTRIES = (
    entry("largest", NvsType.U64, (1 << 64) - 1),
    entry("smallest", NvsType.I64, -(1 << 63)),
    entry("revision", NvsType.U8, 255),
    entry("offset", NvsType.I8, -128),
    entry("fifteen-letters", NvsType.U16, 0),
    entry("name", NvsType.STRING, "Gerät №1"),
    entry("empty", NvsType.STRING, ""),
    entry("long", NvsType.STRING, "x" * 3000),
    entry("blob", NvsType.BLOB, bytes(range(256)) * 20),
    entry("name", NvsType.STRING, "the same key elsewhere", namespace="user"),
)
