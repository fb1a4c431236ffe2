"""Errors of the provisioning package."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from signing.refusal import Refusal


class ProvisioningError(Refusal):
    """Raised when a station, link, ledger or instrument step is refused."""


class LinkFrameError(ProvisioningError):
    """Raised when bytes on the serial link are not a valid frame."""


class SerialNumberError(ProvisioningError):
    """Raised when a text is not one of our serial numbers, or no number is left to give."""


class UdiError(ProvisioningError):
    """Raised when a unit's identification (UDI) cannot be written, printed or read."""


class LedgerError(ProvisioningError):
    """Raised when a ledger is missing, of another version, damaged, or cannot be written."""


class Damage(StrEnum):
    """What was done to an event."""

    EDITED = "edited"
    DELETED = "deleted"
    REORDERED = "reordered"
    TRUNCATED = "truncated"
    """It was the last one, or those after it are gone as well."""
    FORGED = "forged"
    """It is none of the station's, or what is signed in it is not."""


class LedgerDamageError(LedgerError):
    """Raised when an event was edited, deleted, reordered, cut off or forged.

    Attributes:
        damage: What was done.
        station: Whose chain it is.
        number: The first event that is known to be wrong, by its place in that chain.
        at: Its time as the database has it; `None` when it is not there.
    """

    def __init__(
        self,
        what: str,
        *,
        damage: Damage,
        station: str,
        number: int,
        at: str | None = None,
        **told: Any,
    ) -> None:
        place = f"station {station}, event {number}"
        place += f", {at[:40]}" if isinstance(at, str) else ""
        super().__init__(what, where=f"{place}: {damage}", **told)
        self.damage = damage
        self.station = station
        self.number = number
        self.at = at


class LedgerUnreachableError(LedgerError):
    """Raised when the ledger is not there at present: its server, its network or its disk."""


class LeaseError(ProvisioningError):
    """Raised when a lease of serial numbers is not one, or must not be used."""


class PortError(ProvisioningError):
    """Raised when a serial port cannot be opened, or dies while it is used."""


class LinkTimeoutError(ProvisioningError):
    """Raised when a board does not answer within the time it was given."""


class BoardRestartError(ProvisioningError):
    """Raised when a board goes silent whenever it drives a current, and answers afterwards."""


class LinkAnswerError(ProvisioningError):
    """Raised when a board answers something that is not the answer to the request."""


class BoardRefusalError(ProvisioningError):
    """Raised when a board understood a request and refused it.

    Attributes:
        code_name: Name of the error code of docs/spec/serial-link.md §4.10, or the SMP code.
    """

    def __init__(
        self, what: str, *, code_name: str, where: object = None, hint: str | None = None
    ) -> None:
        super().__init__(what, got=code_name, where=where, hint=hint)
        self.code_name = code_name


class FlashError(ProvisioningError):
    """Raised when a board cannot be connected in download mode, or its flash cannot be written."""


class LockedChipError(FlashError):
    """Raised when a chip's loader answers, and tells neither MAC nor flash: it is locked."""


class EfuseError(ProvisioningError):
    """Raised when a chip's eFuses contradict the plan, or cannot be read or burned."""


class StationError(ProvisioningError):
    """Raised when a station is not set up, or its files do not belong together."""


class SimulatorError(ProvisioningError):
    """Raised when a simulated board or line cannot be set up, or is asked for the impossible."""


class FitDataError(ProvisioningError):
    """Raised when measured data cannot be fitted: too few points, no spread, no uncertainty."""


class GaugeDataError(ProvisioningError):
    """Raised when readings are not a whole gauge study, or show nothing that could be told."""


class CapabilityDataError(ProvisioningError):
    """Raised when measured values and limits describe no process: too few, no spread, no limit."""


class RiskError(ProvisioningError):
    """Raised when a tolerance, spread or guard band describes no decision."""


class MetrologySettingsError(ProvisioningError):
    """Raised when the section [station.metrology] asks for something that cannot be measured."""


class InstrumentError(ProvisioningError):
    """Raised when an instrument cannot be opened, reports an error or answers nonsense."""


class InstrumentTimeoutError(InstrumentError):
    """Raised when an instrument does not answer in time."""


class InstrumentOverloadError(InstrumentError):
    """Raised when an input is larger than the range that was selected."""


class InstrumentSettlingError(InstrumentError):
    """Raised when the samples of a block keep moving."""


class InstrumentLeadError(InstrumentError):
    """Raised when leads are open, or current flows with the output off."""


class HeldUnitError(ProvisioningError):
    """Raised when a board is put on a fixture whose unit a failed check standard holds."""


class ReleaseOrderError(ProvisioningError):
    """Raised when a board must not be given the station's release now: others come first."""


class CheckEntryError(LedgerError):
    """Raised when an event is not the reading of a check standard that it says it is."""


class CheckStandardError(InstrumentError):
    """Raised when a check standard reads other than it must: nothing measured by it can count."""


class InstrumentDescriptionError(ProvisioningError):
    """Raised when the description of an instrument is not one, or lacks what is asked for."""


class InstrumentRegisterError(ProvisioningError):
    """Raised when an entry of the register of instruments is not one, or contradicts another."""


class CalibrationError(ProvisioningError):
    """Raised when a calibration cannot be carried out or a stored one cannot be read.

    A unit that is measured and found bad is not an error: it is a result with findings.
    """


class VerificationError(ProvisioningError):
    """Raised when a verification cannot be carried out or a stored one cannot be read.

    A unit that is measured and fails is not an error: it is a result with an outcome.
    """


class ReportError(ProvisioningError):
    """Raised when a report cannot be rendered from what it was given."""


class IdentityError(ProvisioningError):
    """Raised when a board cannot prove that it is the unit that it should be."""


class ExportError(ProvisioningError):
    """Raised when the exported record of a unit is not one, or was changed."""


class QuarantineError(ProvisioningError):
    """Raised when a board must not be worked on until a supervisor has looked at it."""


class SetAsideError(QuarantineError):
    """Raised when a board must wait until the ledger can say what it is."""


class SupervisionError(ProvisioningError):
    """Raised when a supervisor's order is not one, or does not fit what the ledger says."""
