"""What `station check` looks at: each thing by itself, so that one fault hides no other."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from cli.failures import describe_error
from cli.output import count_of
from cli.station_release_checks import ReleaseChecks
from signing.refusal import Refusal

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from firmware_images.product import ProductSettings
    from provisioning.check_standard_settings import CheckStandardSettings
    from provisioning.instruments import InstrumentIdentity
    from provisioning.ledger import Ledger
    from provisioning.ledger_address import LedgerAddress
    from provisioning.station_settings import StationSettings
    from provisioning.station_values import SlotConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: What it is.
        found: What was found, when it is good.
        error: What is wrong with it, or `None`.
        details: The same for a program, where there is more to say.
    """

    name: str
    found: str
    error: Refusal | None
    details: dict[str, object] = field(default_factory=dict)

    def document(self) -> dict[str, object]:
        """Return the check as JSON values."""
        error = None if self.error is None else describe_error(self.error)
        return {"name": self.name, "found": self.found, "error": error, **self.details}

    def line(self) -> str:
        """Return the check as a person reads it."""
        if self.error is None:
            return f"ok     {self.name}: {self.found}"
        hint = f"\n         next: {self.error.hint}" if self.error.hint else ""
        return f"ERROR  {self.name}: {self.error}{hint}"


def check_station(
    *,
    folder: Path,
    ledger_address: LedgerAddress,
    settings: StationSettings,
    product: ProductSettings,
    slots: Iterable[SlotConfig],
    trust_path: Path,
    nvs_path: Path | None,
    efuses_path: Path | None,
    find_release: Callable[[], Path],
    ca_uri: str | None,
    passphrase: Callable[[], bytes],
    now: Callable[[], dt.datetime],
) -> tuple[Check, ...]:
    """Look at everything that a station needs."""

    def check_ledger() -> str:
        from provisioning.ledger import Ledger
        from provisioning.ledger_verification import verify_ledger

        ledger = Ledger.open(ledger_address)
        try:
            verified = verify_ledger(ledger, folder=folder, now=now())
        finally:
            ledger.close()
        return f"{ledger.identity.uuid}, {count_of(verified.event_count, 'event')}, chains unbroken"

    def check_lease() -> str:
        from provisioning.errors import LedgerError
        from provisioning.lease_status import describe_held_lease
        from provisioning.ledger import Ledger
        from provisioning.ledger_values import Writer

        writer = Writer(station=settings.name, now=now, new_job=str)  # writes nothing
        try:
            ledger = Ledger.open(ledger_address)
        except LedgerError:  # told above
            return describe_held_lease(folder, None, writer)
        try:
            return describe_held_lease(folder, ledger, writer)
        finally:
            ledger.close()

    def check_keys() -> str:
        from provisioning.station_keys import load_station_keys

        keys = load_station_keys(
            folder, station_name=settings.name, now=now(), passphrase=passphrase, ca_uri=ca_uri
        )
        return f"station key {keys.station_signer.public_key.key_id.hex()[:16]}"

    def check_trust() -> str:
        from provisioning.errors import StationError
        from provisioning.station_files import CA_CERTIFICATE_NAME, read_certificate
        from signing.trust_file import load_trust_record

        record = load_trust_record(trust_path)
        if record.factory_ca_der != read_certificate(folder / CA_CERTIFICATE_NAME):
            raise StationError(
                "the trust record does not carry this factory's CA",
                where=trust_path,
                hint=f"`ampforge trust sign --factory-ca {folder / CA_CERTIFICATE_NAME}`",
            )
        return f"version {record.version}, carries this factory's CA"

    release = ReleaseChecks(find_release, trust_path, nvs_path)
    checks = [
        _check("ledger", check_ledger),
        _check("keys", check_keys),
        _check("trust record", check_trust),
        _check("release", release.check_release),
        _check("serial numbers", partial(_measure_serials, ledger_address, settings, product, now)),
        _check("lease", check_lease),
        _check("UDI", partial(_describe_identification, settings, product)),
        _check("loads", partial(_describe_loads, settings, product)),
    ]
    if nvs_path is not None:
        checks.append(_check("NVS plan", release.check_nvs_plan))
    if efuses_path is not None:
        look = partial(release.check_efuse_plan, efuses_path, product.chip)
        checks.append(_check("eFuse plan", look))
    for slot in slots:
        checks += _check_slot(slot, settings, ledger_address, now)
    return tuple(checks)


def _check_slot(
    slot: SlotConfig,
    settings: StationSettings,
    ledger_address: LedgerAddress,
    now: Callable[[], dt.datetime],
) -> list[Check]:
    look = partial(_ask_meter, slot, settings, ledger_address, now)
    checks = [
        _check(f"slot {slot.name} port", partial(_open_port, slot)),
        _check(f"slot {slot.name} meter", look),
    ]
    if (standard := settings.check_standard) is not None:
        checks.append(_look_at_check_standard(slot, settings, standard, ledger_address, now))
    return checks


def _check(name: str, look: Callable[[], str]) -> Check:
    try:
        return Check(name=name, found=look(), error=None)
    except Refusal as error:
        return Check(name=name, found="", error=error)


def _measure_serials(
    ledger_address: LedgerAddress,
    settings: StationSettings,
    product: ProductSettings,
    now: Callable[[], dt.datetime],
) -> str:
    from provisioning.errors import SerialNumberError
    from provisioning.ledger import Ledger
    from provisioning.serial_capacity import measure_capacity
    from provisioning.station_opening import require_ledger_format

    ledger = Ledger.open(ledger_address)
    try:
        require_ledger_format(settings.serials, ledger)
        model = settings.serials.find_model(product.model)
        capacity = measure_capacity(ledger, prefix=settings.serials.prefix, model=model, now=now())
    finally:
        ledger.close()
    if not capacity.is_enough:
        raise SerialNumberError(
            "the serial numbers run out",
            got=capacity.describe(),
            hint="set another model code under [station.serials]: its numbers begin anew",
        )
    return capacity.describe()


def _describe_loads(settings: StationSettings, product: ProductSettings) -> str:
    from provisioning.verification_plan import refuse_unverified_claim

    low_ohm, high_ohm = refuse_unverified_claim(
        settings.metrology,
        load_min_ohm=product.claim_load_min_ohm,
        load_max_ohm=product.claim_load_max_ohm,
    )
    return (
        f"{product.claim_load_min_ohm} to {product.claim_load_max_ohm} Ω are claimed, "
        f"{low_ohm} to {high_ohm} Ω verified"
    )


def _describe_identification(settings: StationSettings, product: ProductSettings) -> str:
    if product.gtin is None:
        return "none: there is no gtin under [product], units pass without one"
    lot = "without a lot" if settings.lot is None else f"lot {settings.lot}"
    return f"GTIN {product.gtin}, {lot}"


def _open_port(slot: SlotConfig) -> str:
    from provisioning.serial_port import open_port

    port = open_port(slot.port)
    port.close()
    return slot.port if port.port == slot.port else f"{slot.port}, now {port.port}"


def _look_at_check_standard(
    slot: SlotConfig,
    settings: StationSettings,
    standard: CheckStandardSettings,
    ledger_address: LedgerAddress,
    now: Callable[[], dt.datetime],
) -> Check:
    """Say how a slot stands with its check standard; nothing is read, only the meter is asked."""
    from provisioning.check_schedule import find_standing
    from provisioning.errors import CheckStandardError
    from provisioning.ledger import Ledger

    name = f"slot {slot.name} check standard"
    details: dict[str, object] = {}
    try:
        ledger = Ledger.open(ledger_address)
        try:
            identity, certificate = _identify_meter(slot, settings, ledger, now)
            standing = find_standing(
                ledger,
                standard,
                station=settings.name,
                slot=slot.name,
                instrument=identity.serial_number,
                certificate=certificate,
                now=now(),
            )
        finally:
            ledger.close()
        details = {"check_standard": standing.document()}
        if standing.last is not None and not standing.last.entry.is_good:
            raise CheckStandardError(
                "the last reading of the check standard was not good",
                expected=f"{standard.name} as it was",
                got="; ".join(standing.last.entry.reasons),
                where=f"slot {slot.name}, instrument {standing.instrument}",
                hint="find the cause, then read it again: `ampforge instrument check`; units on "
                f"hold: `ampforge instrument impact {standing.instrument} --since-check`",
            )
    except Refusal as error:
        return Check(name=name, found="", error=error, details=details)
    return Check(name=name, found=str(standing), error=None, details=details)


def _ask_meter(
    slot: SlotConfig,
    settings: StationSettings,
    ledger_address: LedgerAddress,
    now: Callable[[], dt.datetime],
) -> str:
    from provisioning.ledger import Ledger

    ledger = Ledger.open(ledger_address)
    try:
        identity, certificate = _identify_meter(slot, settings, ledger, now)
    finally:
        ledger.close()
    return f"{identity}, " + (f"certificate {certificate}" if certificate else "none on file")


def _identify_meter(
    slot: SlotConfig, settings: StationSettings, ledger: Ledger, now: Callable[[], dt.datetime]
) -> tuple[InstrumentIdentity, str | None]:
    """Return who measures in a slot, and its certificate in the ledger's register."""
    from provisioning.instrument_certificates import refuse_uncertified
    from provisioning.instrument_register import apply_register, read_register
    from provisioning.slot_meter import open_slot_meter

    certified = apply_register(settings, read_register(ledger))
    meter = open_slot_meter(slot, certified, clock=now)
    meter.close()
    identity = meter.identity
    return identity, refuse_uncertified(identity, certified.metrology, today=now().date())
