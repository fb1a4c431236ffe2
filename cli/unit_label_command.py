"""`ampforge unit label`: the UDI of a released unit, to be printed."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING

import click

from cli.failures import UsageRefusal
from cli.output import print_result
from cli.params import DAY, FILE, config_option, json_option
from cli.station_access import open_ledger, station_option
from cli.unit_names import find_serial

if TYPE_CHECKING:
    from datetime import date, datetime
    from pathlib import Path

    from provisioning.labels import Label, LabelFormat
    from provisioning.ledger import Ledger
    from provisioning.udi import Udi


@click.command(
    "label",
    epilog="Example: ampforge unit label AMPFL1264700001Z --output label.png\n\n"
    "Example: ampforge unit label --all-released --since 2026-11-26 --output today.zpl",
)
@click.argument("units", metavar="[SERIAL|MAC]...", nargs=-1)
@click.option(
    "-o",
    "--output",
    type=FILE,
    required=True,
    help="File to write: .svg, .png or .zpl; many: .zpl.",
)
@click.option("--all-released", is_flag=True, help="Every released unit instead of named ones.")
@click.option(
    "--since",
    type=DAY,
    help="With --all-released: only units with this production date or a later one.",
)
@click.option("--dpi", default=300, show_default=True, help="Dots of the printer per inch.")
@click.option(
    "--module-dots", default=5, show_default=True, help="Dots of one module of the symbol."
)
@station_option
@config_option
@json_option
def label(
    *,
    units: tuple[str, ...],
    output: Path,
    all_released: bool,
    since: datetime | None,
    dpi: int,
    module_dots: int,
    station_folder: Path | None,
    config_path: Path | None,
    as_json: bool,
) -> None:
    """Write the label of a released unit: GS1 DataMatrix with the UDI, and its text.

    The symbol is read back before anything is written. Print without scaling: the size is stated,
    and modules are whole dots of the printer. A unit that is not released has no label.
    """
    from provisioning.labels import LabelSize, build_label, render_label
    from signing.durable_file import save_durably

    kind = _find_kind(output, count=len(units), all_released=all_released)
    if bool(units) == all_released or (since is not None and not all_released):
        raise UsageRefusal(
            "it is not clear which labels are meant",
            expected="serial numbers, or --all-released with or without --since",
            hint="`ampforge serials status` lists the numbers",
        )
    size = LabelSize(dpi=dpi, module_dots=module_dots)
    with open_ledger(config_path, station_folder) as ledger:
        if all_released:
            day = None if since is None else since.replace(tzinfo=UTC).date()
            udis, without = _find_released(ledger, day)
        else:
            # dict: a unit that was named twice gets one label.
            serials = dict.fromkeys(find_serial(ledger, unit) for unit in units)
            udis, without = [_require_udi(ledger, serial) for serial in serials], []
    labels = [build_label(udi, size) for udi in udis]
    if not labels:
        raise UsageRefusal(
            "there is no label to write",
            expected="released units with a UDI",
            got=f"{len(without)} without a UDI" if without else "none",
            hint="a unit gets its UDI with the first PASS, when [product] has a gtin",
        )
    save_durably(output, b"".join(render_label(one, kind) for one in labels))
    document = {
        "schema": "ampforge.unit-label/1",
        "path": str(output),
        "labels": [{"serial": one.udi.serial, "udi": one.udi.document()} for one in labels],
        "size": labels[0].describe(),
        "without_udi": without,
    }
    print_result(document, _format(output, labels, without), as_json=as_json)


def _find_kind(output: Path, *, count: int, all_released: bool) -> LabelFormat:
    from provisioning.labels import LabelFormat

    try:
        kind = LabelFormat(output.suffix.removeprefix(".").lower())
    except ValueError as error:
        raise UsageRefusal(
            "the file's name does not say what to write",
            expected="a name that ends in .svg, .png or .zpl",
            got=output.name,
            hint=".zpl is for label printers that draw the symbol themselves",
        ) from error
    if (count > 1 or all_released) and kind is not LabelFormat.ZPL:
        raise UsageRefusal(
            "a picture holds one label",
            expected="one unit, or a .zpl file",
            got=output.name,
            hint="call it once for each unit",
        )
    return kind


def _require_udi(ledger: Ledger, serial: str) -> Udi:
    from provisioning.errors import UdiError
    from provisioning.ledger_queries import find_given
    from provisioning.ledger_units import find_unit
    from provisioning.ledger_values import SerialState, UnitState
    from provisioning.unit_udi import load_udi

    unit = find_unit(ledger.database, serial=serial)
    number = find_given(ledger.database, [serial])[serial]
    if unit.state is not UnitState.PASS or number.state is not SerialState.RELEASED:
        raise UdiError(
            "the unit is not released",
            expected="a unit that passed, and a good check standard after it where there is one",
            got=f"{unit.state.value}, serial number {number.state.value}",
            where=f"unit {serial}",
            hint="its label is printed after its PASS: `ampforge unit show` says what is missing",
        )
    udi = load_udi(ledger, serial)
    if udi is None:
        raise UdiError(
            "the record of the unit has no UDI",
            expected="one that its PASS wrote down",
            got="none: there was no GTIN",
            where=f"unit {serial}",
            hint="set gtin under [product] and let it pass again: `ampforge station run --again`",
        )
    return udi


def _find_released(ledger: Ledger, since: date | None) -> tuple[list[Udi], list[str]]:
    """Return the UDIs of all released units, and the numbers of those that have none."""
    from provisioning.ledger_queries import list_serials, list_units
    from provisioning.ledger_values import SerialState, UnitState
    from provisioning.unit_udi import load_udi

    udis, without = [], []
    released = {
        number.serial
        for number in list_serials(ledger.database)
        if number.state is SerialState.RELEASED
    }
    for unit in list_units(ledger.database):
        if unit.state is not UnitState.PASS or unit.serial not in released:
            continue
        udi = load_udi(ledger, unit.serial)
        if udi is None:
            without.append(unit.serial)
        elif since is None or udi.production_date >= since:
            udis.append(udi)
    return udis, without


def _format(output: Path, labels: list[Label], without: list[str]) -> str:
    size = labels[0].describe()
    lines = [f"wrote {output}: {len(labels)} label{'s' if len(labels) > 1 else ''}"]
    lines += [f"  {one.udi.human_readable}" for one in labels]
    lines.append(
        f"  symbol {size['symbol_mm']} mm, module {size['module_mm']} mm "
        f"({size['module_dots']} dots at {size['dpi']} dpi), label {size['width_mm']} mm wide and "
        f"{size['height_mm']} mm high: print it without scaling"
    )
    if without:
        lines.append(f"  without a UDI, and so without a label: {', '.join(without)}")
    return "\n".join(lines)
