"""Section `[station]` of ampforge.toml: name, folder, serial numbers, slots.

```toml
[station]
name = "station-1"
folder = "station"

[station.serials]
prefix = "AMP"
model = "FLR" # the product's own model when absent
format = "PPPMMMYYWWSSSSSC" # picture of a number

[[station.slots]]
name = "1"
port = "usb:A50285BI" # or usb-location:1-1.4, /dev/ttyUSB0, rfc2217://HOST:PORT
meter = "TCPIP0::192.168.1.20::5025::SOCKET"
```

`[station.metrology]` is described in `measurement_settings`. Paths are relative to the file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from provisioning.check_standard_settings import CheckStandardSettings
from provisioning.errors import SerialNumberError, UdiError
from provisioning.measurement_settings import MetrologySettings
from provisioning.meter_settings import MeterSettings
from provisioning.plausible_settings import refuse_implausible
from provisioning.serial_formats import (
    GS1_SERIAL_MAX_LENGTH,
    STANDARD_PICTURE,
    SerialFormat,
    parse_format,
)
from provisioning.serial_numbers import require_code
from provisioning.station_values import SlotConfig
from provisioning.udi import require_lot

SECTION = "station"


def _require_lot(lot: str) -> str:
    try:
        return require_lot(lot)
    except UdiError as error:
        raise ValueError(f"{error.what}: expected {error.expected}") from error


_Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]
_Prefix = Annotated[str, Field(pattern=r"^[0-9A-Z]{1,3}$")]
_Model = Annotated[str, Field(pattern=r"^[0-9A-Z]{0,3}$")]
_Lot = Annotated[str, AfterValidator(_require_lot)]
_Text = Annotated[str, Field(min_length=1, max_length=200)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class SerialSettings(_Section):
    """What the product's serial numbers look like (docs/spec/serial-number.md §1).

    Attributes:
        prefix: Maker, as many characters A-Z 0-9 as the format has P.
        model: Model, as many as the format has M; the product's own model when absent.
        format: Picture of a number (`provisioning.serial_formats`). The ledger has one, for ever.
    """

    prefix: _Prefix = "AMP"
    model: _Model | None = None
    format: Annotated[str, Field(max_length=GS1_SERIAL_MAX_LENGTH)] = STANDARD_PICTURE

    @model_validator(mode="after")
    def _judge(self) -> Self:
        try:
            self._require_codes(self.model)
        except SerialNumberError as error:
            raise ValueError(f"{error.what}: expected {error.expected}, got {error.got}") from error
        return self

    @property
    def serial_format(self) -> SerialFormat:
        """The format of the numbers."""
        return parse_format(self.format)

    def find_model(self, product_model: str) -> str:
        """Return the model code that stands in the numbers.

        Args:
            product_model: Model of the product, used when the section names none.

        Raises:
            SerialNumberError: It does not fit in the format.
        """
        if self.model is not None:
            return self.model
        model = product_model if self.serial_format.model_length else ""
        self._require_codes(model)
        return model

    def _require_codes(self, model: str | None) -> None:
        serial_format = self.serial_format
        require_code(self.prefix, field="prefix", length=serial_format.prefix_length)
        if model is not None:
            require_code(model, field="model", length=serial_format.model_length)


class SlotSettings(_Section):
    """One place of the fixture.

    Attributes:
        name: What the operator calls it; its number when absent.
        port: Serial port, by device, USB adapter or RFC 2217 URL (`provisioning.serial_port`).
        meter: VISA address.
        switch: VISA address of what switches the loads; the meter itself when absent.
    """

    name: _Text | None = None
    port: _Text
    meter: _Text
    switch: _Text | None = None


class StationSettings(_Section):
    """The section `[station]`.

    Attributes:
        name: Name in the ledger and in the station's certificate.
        folder: Folder with keys, certificates and, unless `ledger` says otherwise, the ledger.
        ledger: A path, or `postgresql://USER@HOST:PORT/DATABASE` without a password.
        serials: What the serial numbers look like.
        lot: Lot that is made, in the record and the UDI of each unit; `station run --lot` may
            name another.
        flash_baud: Highest rate at which flash is written, baud.
        use_stub: Whether esptool's stub loader is used.
        boot_timeout_s: How long a board may take to answer after a reset, in seconds.
        temperature_centi_c: Ambient temperature in hundredths of a degree Celsius.
        ca: Key of the factory CA: a file or a `pkcs11:` URI; the one in the folder when absent.
        nvs: File that says what each board's NVS partition holds.
        efuses: File that says what is burned into each board's eFuses.
        slots: The fixture's places.
        meter: Which kind of instrument there is, and what it must show before a job.
        check_standard: The known current that is read before and after the units, if any.
        metrology: How units are measured and judged.
    """

    name: _Name = "station-1"
    folder: Annotated[Path, Field(strict=False)] = Path("station")
    ledger: Annotated[str, Field(min_length=1, max_length=1000)] | None = None
    serials: SerialSettings = SerialSettings()
    lot: _Lot | None = None
    flash_baud: Annotated[int, Field(ge=9_600, le=3_000_000)] = 921_600
    use_stub: bool = True
    boot_timeout_s: Annotated[float, Field(gt=0, le=60, allow_inf_nan=False)] = 4.0
    temperature_centi_c: Annotated[int, Field(ge=-4_000, le=12_500)] = 2_300
    ca: Annotated[str, Field(min_length=1, max_length=1024)] | None = None
    nvs: Annotated[Path, Field(strict=False)] | None = None
    efuses: Annotated[Path, Field(strict=False)] | None = None
    slots: Annotated[tuple[SlotSettings, ...], Field(strict=False, max_length=64)] = ()
    meter: MeterSettings = MeterSettings()
    check_standard: CheckStandardSettings | None = None
    metrology: MetrologySettings = MetrologySettings()

    @model_validator(mode="after")
    def _check_metrology(self) -> Self:
        refuse_implausible(self.metrology)
        return self

    @model_validator(mode="after")
    def _check_temperature(self) -> Self:
        # Outside it the specification, and with it every stated uncertainty, does not hold.
        metrology, ambient_c = self.metrology, self.temperature_centi_c / 100
        low_c = metrology.accuracy_temperature_min_c + metrology.temperature_span_c
        high_c = metrology.accuracy_temperature_max_c - metrology.temperature_span_c
        if not low_c <= ambient_c <= high_c:
            raise ValueError(
                f"temperature_centi_c: {ambient_c:g} °C is outside {low_c:g} to {high_c:g} °C, "
                "where the instrument's accuracy holds"
            )
        return self

    def slot_configs(self) -> tuple[SlotConfig, ...]:
        """Return the slots as the workflow takes them, each with a name."""
        return tuple(
            SlotConfig(
                name=slot.name or str(number),
                port=slot.port,
                meter=slot.meter,
                switch=slot.switch,
            )
            for number, slot in enumerate(self.slots, start=1)
        )
