"""Section `[station]` of ampforge.toml: name, folder, serial numbers, slots.

```toml
[station]
name = "station-1"
folder = "station"

[station.serials]
prefix = "AMP"
model = "FLR" # the product's own model when absent

[[station.slots]]
name = "1"
port = "usb:A50285BI" # or usb-location:1-1.4, /dev/ttyUSB0, rfc2217://HOST:PORT
meter = "TCPIP0::192.168.1.20::5025::SOCKET"
```

`[station.metrology]` is described in `measurement_settings`. Paths are relative to the file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from provisioning.measurement_settings import MetrologySettings
from provisioning.station_values import SlotConfig

SECTION = "station"
_Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]
_Code = Annotated[str, Field(pattern=r"^[0-9A-Z]{3}$")]
_Text = Annotated[str, Field(min_length=1, max_length=200)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class SerialSettings(_Section):
    """The maker's part of the serial numbers (docs/spec/serial-number.md §1).

    Attributes:
        prefix: Maker, three characters A-Z 0-9.
        model: Model, three characters A-Z 0-9; the product's own model when absent.
    """

    prefix: _Code = "AMP"
    model: _Code | None = None


class SlotSettings(_Section):
    """One place of the fixture.

    Attributes:
        name: What the operator calls it; its number when absent.
        port: Serial port, by device, USB adapter or RFC 2217 URL (`provisioning.serial_port`).
        meter: VISA address.
    """

    name: _Text | None = None
    port: _Text
    meter: _Text


class StationSettings(_Section):
    """The section `[station]`.

    Attributes:
        name: Name in the ledger and in the station's certificate.
        folder: Folder with keys, certificates and, unless `ledger` says otherwise, the ledger.
        ledger: A path, or `postgresql://USER@HOST:PORT/DATABASE` without a password.
        serials: The maker's part of the serial numbers.
        flash_baud: Highest rate at which flash is written, baud.
        use_stub: Whether esptool's stub loader is used.
        boot_timeout_s: How long a board may take to answer after a reset, in seconds.
        temperature_centi_c: Ambient temperature in hundredths of a degree Celsius.
        ca: Key of the factory CA: a file or a `pkcs11:` URI; the one in the folder when absent.
        nvs: File that says what each board's NVS partition holds.
        efuses: File that says what is burned into each board's eFuses.
        slots: The fixture's places.
        metrology: How units are measured and judged.
    """

    name: _Name = "station-1"
    folder: Annotated[Path, Field(strict=False)] = Path("station")
    ledger: Annotated[str, Field(min_length=1, max_length=1000)] | None = None
    serials: SerialSettings = SerialSettings()
    flash_baud: Annotated[int, Field(ge=9_600, le=3_000_000)] = 921_600
    use_stub: bool = True
    boot_timeout_s: Annotated[float, Field(gt=0, le=60, allow_inf_nan=False)] = 4.0
    temperature_centi_c: Annotated[int, Field(ge=-4_000, le=12_500)] = 2_300
    ca: Annotated[str, Field(min_length=1, max_length=1024)] | None = None
    nvs: Annotated[Path, Field(strict=False)] | None = None
    efuses: Annotated[Path, Field(strict=False)] | None = None
    slots: Annotated[tuple[SlotSettings, ...], Field(strict=False, max_length=64)] = ()
    metrology: MetrologySettings = MetrologySettings()

    def slot_configs(self) -> tuple[SlotConfig, ...]:
        """Return the slots as the workflow takes them, each with a name."""
        return tuple(
            SlotConfig(name=slot.name or str(number), port=slot.port, meter=slot.meter)
            for number, slot in enumerate(self.slots, start=1)
        )
