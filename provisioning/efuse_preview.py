"""Says what a plan would burn into the board in a slot, and burns nothing.

The board is reset into its loader to be asked, and into its application afterwards.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from firmware_images.efuse_comparison import EfuseComparison, compare_efuses
from firmware_images.unit_values import EXAMPLE_UNIT, UnitValues
from provisioning.device_link import DeviceLink
from provisioning.errors import FlashError, LedgerError, LockedChipError, ProvisioningError
from provisioning.esptool_flasher import EsptoolFlasher
from provisioning.ledger_units import find_unit
from provisioning.serial_port import open_port

if TYPE_CHECKING:
    from firmware_images.efuse_plan import EfusePlan
    from provisioning.flasher import SecurityFacts
    from provisioning.ledger import Ledger


@dataclass(frozen=True, slots=True, kw_only=True)
class EfusePreview:
    """What would come of one board.

    Attributes:
        mac: Its MAC, or `None` of a locked chip.
        serial: Its serial number, or `None` if the ledger has not given it one.
        comparisons: Each field; none of a locked chip. Without a number the user data is left out.
        security: What a locked chip tells, or `None`.
    """

    mac: bytes | None
    serial: str | None
    comparisons: tuple[EfuseComparison, ...]
    security: SecurityFacts | None = None


def preview_efuses(port_url: str, plan: EfusePlan, ledger: Ledger) -> EfusePreview:
    """Compare a board's eFuses with a plan.

    Args:
        port_url: Where the board is.
        plan: What they shall be.
        ledger: Knows the serial number of the board.

    Raises:
        PortError: The port cannot be opened, or died.
        FlashError: No loader answers, or it is of another chip than the plan's.
    """
    port = open_port(port_url)
    try:
        flasher = EsptoolFlasher(port, where=port_url)
        try:
            found = flasher.detect()
            _require_chip(found.chip, plan.chip, where=port_url)
            mac = found.mac
            access = flasher.open_efuses()
        except LockedChipError:
            security = flasher.read_security()
            return EfusePreview(mac=None, serial=None, comparisons=(), security=security)
        serial = _find_serial(ledger, mac)
        unit = UnitValues(serial=serial or EXAMPLE_UNIT.serial, mac=mac, job=EXAMPLE_UNIT.job)
        known = plan if serial is not None else replace(plan, user_data=None)
        fields = known.fields(unit)
        facts = access.read({field.name for field in fields})
        return EfusePreview(mac=mac, serial=serial, comparisons=compare_efuses(fields, facts))
    finally:
        with suppress(ProvisioningError):  # what was found out counts, not how the board is left
            DeviceLink(port, where=port_url).reset_board()
        port.close()


def _require_chip(found: str, planned: str, *, where: str) -> None:
    if found.lower().replace("-", "") != planned:
        raise FlashError(
            "this is not the plan's chip",
            expected=planned,
            got=found,
            where=where,
            hint="section [product] names the chip; check which board is in the slot",
        )


def _find_serial(ledger: Ledger, mac: bytes) -> str | None:
    try:
        return find_unit(ledger.database, mac=mac).serial
    except LedgerError:
        return None
