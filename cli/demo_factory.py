"""The demo's second act: simulated boards go through the station's whole workflow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cli.demo_release import FIRST_VERSION

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from cli.demo_release import DemoProduct
    from provisioning.simulator.line import SimulatedLine
    from provisioning.station import Station
    from provisioning.station_values import SlotResult, UnitReport

LINE_FOLDER = "boards"
RECORDS_FOLDER = "records"


@dataclass(frozen=True, slots=True, kw_only=True)
class FactoryDay:
    """What the station made.

    Attributes:
        units: The units' reports, in the order of the slots.
        document: The run as `station run --json` prints it.
        records: The exported record of each unit, by serial number.
    """

    units: tuple[UnitReport, ...]
    document: dict[str, object]
    records: dict[str, Path]


class FactoryFloor:
    """A simulated line and the station that works on it.

    Args:
        product: The product to make.
        console: Where the story is told.
        board_count: Simulated boards.
        seed: What they are drawn from.
    """

    def __init__(
        self, product: DemoProduct, console: Console, *, board_count: int, seed: int
    ) -> None:
        self._product = product
        self._console = console
        self._board_count = board_count
        self._seed = seed

    def power_on(self) -> SimulatedLine:
        """Return the line: boards with serial ports, each with a multimeter; enter it to start."""
        from cli.station_options import simulated_line

        return simulated_line(
            self._product.folder / LINE_FOLDER, board_count=self._board_count, seed=self._seed
        )

    def provision(self, line: SimulatedLine, *, as_json: bool) -> FactoryDay:
        """Take every board from a blank chip to a verdict, and export its record."""
        from cli.station_display import choose_display
        from cli.station_documents import describe_run
        from provisioning.slots import run_slots
        from provisioning.station_values import SlotConfig

        self._console.rule("[bold]2  The factory: flash, serial, identity, calibration, verdict")
        slots = tuple(
            SlotConfig(name=str(number), port=slot.port_url, meter=slot.meter_address)
            for number, slot in enumerate(line.slots, start=1)
        )
        station = self._open_station()
        try:
            with choose_display(self._console, slots, as_json=as_json) as display:
                results = run_slots(
                    station, slots, on_progress=display.on_progress, on_result=display.on_result
                )
            units = _require_reports(results)
            return FactoryDay(
                units=units,
                document=describe_run(station, results),
                records={unit.serial: self._export(station, unit.serial) for unit in units},
            )
        finally:
            station.close()

    def _open_station(self) -> Station:
        from cli.station_access import real_outside
        from provisioning.station_opening import open_station

        path = self._product.bundle_path(FIRST_VERSION)
        return open_station(
            self._product.station_folder,
            self._product.station,
            product_model=self._product.settings.model,
            gtin=self._product.settings.gtin,
            bundle_bytes=path.read_bytes(),
            trust_bytes=self._product.trust_path.read_bytes(),
            outside=real_outside(),
            passphrase=None,
            bundle_where=str(path),
        )

    def _export(self, station: Station, serial: str) -> Path:
        import json

        from provisioning.unit_exports import export_unit
        from signing.durable_file import save_durably

        exported = export_unit(
            station.ledger,
            serial,
            keys=station.keys,
            station=station.settings.name,
            now=station.outside.now(),
        )
        path = self._product.folder / RECORDS_FOLDER / f"{serial}.unit.json"
        path.parent.mkdir(exist_ok=True)
        save_durably(path, (json.dumps(exported, indent=2, ensure_ascii=False) + "\n").encode())
        return path


def _require_reports(results: tuple[SlotResult, ...]) -> tuple[UnitReport, ...]:
    units = []
    for result in results:
        if result.error is not None:
            raise result.error
        assert result.report is not None, "a slot ends with a report or an error"
        units.append(result.report)
    return tuple(units)
