"""Errors of the firmware_images package."""

from __future__ import annotations

from signing.refusal import Refusal


class FirmwareImageError(Refusal):
    """Raised when an image, waveform, table or bundle is refused."""


class FlashMediumError(FirmwareImageError):
    """Raised when flash is addressed outside its size or against its sectors."""


class PartitionTableError(FirmwareImageError):
    """Raised when a partition table cannot be read, or its partitions do not fit."""


class OtaDataError(FirmwareImageError):
    """Raised when otadata cannot be read, or a slot change is not possible."""


class RecordError(FirmwareImageError):
    """Raised when a record in the device-record partition is damaged or does not fit."""


class CalibrationRecordError(FirmwareImageError):
    """Raised when a calibration record is not acceptable, or does not cover what is asked of it."""


class NvsError(FirmwareImageError):
    """Raised when an NVS partition cannot be described, built or read."""


class EfusePlanError(FirmwareImageError):
    """Raised when an eFuse plan cannot be read, or would brick every board of a release."""


class EspImageError(FirmwareImageError):
    """Raised when bytes are not a whole ESP32 application image."""


class SecureBootError(EspImageError):
    """Raised when an image cannot be signed, or its signature sector is not one that boots."""


class SecureVersionError(FirmwareImageError):
    """Raised when a release would waste eFuse bits of the anti-rollback counter, or has too few."""


class BundleError(FirmwareImageError):
    """Raised when a release bundle is not exactly what its signed statement says."""


class DeltaError(FirmwareImageError):
    """Raised when a patch cannot be made, or is not one that makes the promised image."""


class WaveformError(FirmwareImageError):
    """Raised when a waveform, in whatever form, is not one that a device may hold."""


class WaveformSourceError(WaveformError):
    """Raised when a TOML or CSV waveform file cannot be read as written."""


class TickError(WaveformError):
    """Raised when rule TICK is broken: ticks, the order of levels, or the last sample."""


class WaveformTableError(WaveformError):
    """Raised when bytes are not a waveform table or a waveform slot."""


class PolicyError(FirmwareImageError):
    """Raised when a limits policy cannot be read, or is not the one that a table names."""


class LimitError(WaveformError):
    """Raised when a table breaks one or more limits of the policy."""


class ApprovalError(FirmwareImageError):
    """Raised when a table approval is not for this table, policy, version or hardware."""


class WaiverError(FirmwareImageError):
    """Raised when a waiver is not one, is out of force, or does not cover what it should."""
