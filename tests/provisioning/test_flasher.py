"""The flasher against a port behind which something else answers."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest

from provisioning.errors import FlashError
from provisioning.flasher import EsptoolFlasher

if TYPE_CHECKING:
    from provisioning.serial_port import BoardPort


class OpenPort:
    """Enough of an open port for a loader that never gets to use it."""

    is_open = True
    baudrate = 115_200


@pytest.mark.parametrize(
    "error",
    [
        IndexError("index out of range"),
        KeyError(7),
        ValueError("not a MAC"),
        struct.error("unpack requires a buffer of 12 bytes"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_answer_that_esptool_stumbles_over_is_our_error(monkeypatch, error):
    from esptool import cmds

    def stumble(*_arguments, **_options):
        raise error

    monkeypatch.setattr(cmds, "detect_chip", stumble)
    port: BoardPort = OpenPort()  # type: ignore[assignment]
    with pytest.raises(FlashError, match="unusable") as refusal:
        EsptoolFlasher(port, where="rfc2217://host:1").detect()
    assert refusal.value.hint
    assert type(error).__name__ in str(refusal.value.got)


def test_an_esptool_error_without_a_text_is_our_error(monkeypatch):
    from esptool import cmds
    from esptool.util import FatalError

    def stumble(*_arguments, **_options):
        raise FatalError("")

    monkeypatch.setattr(cmds, "detect_chip", stumble)
    port: BoardPort = OpenPort()  # type: ignore[assignment]
    with pytest.raises(FlashError, match="flash loader failed"):
        EsptoolFlasher(port, where="rfc2217://host:1").detect()
