"""`ampforge station efuse-plan`: what would be burned, and nothing burned."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cli.configuration import load_configuration
from cli.failures import UsageRefusal
from cli.output import print_result
from cli.params import EXISTING_FILE, config_option, json_option
from cli.slot_option import slot_configs, slots_option
from cli.station_access import load_station_settings, open_ledger, station_option

if TYPE_CHECKING:
    from pathlib import Path

    from firmware_images.efuse_comparison import EfuseComparison
    from provisioning.efuse_preview import EfusePreview

_ACTIONS = {"there": "nothing: burned already", "burn": "WOULD BURN", "conflict": "CONFLICT"}


@click.command("efuse-plan", epilog="Example: ampforge station efuse-plan --dry-run")
@click.option(
    "--dry-run", is_flag=True, help="Say it again: this command never burns; `station run` does."
)
@click.option(
    "--plan", "plan_path", type=EXISTING_FILE, help="The plan (default: [station] efuses)."
)
@slots_option
@station_option
@config_option
@json_option
def efuse_plan(
    *,
    dry_run: bool,  # noqa: ARG001 - for those who want to see it written
    plan_path: Path | None,
    slots: tuple[dict[str, str], ...],
    station_folder: Path | None,
    config_path: Path | None,
    as_json: bool,
) -> None:
    """Compare the eFuses of the board in every slot with the plan, and burn nothing.

    Each field is shown as it is, as it shall be, and what `station run` would do about it after
    the board has passed.
    """
    from firmware_images.efuse_plan import load_efuse_plan
    from firmware_images.product import ProductSettings
    from provisioning.efuse_preview import preview_efuses

    configuration = load_configuration(config_path)
    settings = load_station_settings(configuration)
    if plan_path is None and settings.efuses is None:
        raise UsageRefusal(
            "no eFuse plan is configured, so that nothing is ever burned",
            expected="efuses in section [station], or --plan FILE",
            where=configuration.path,
            hint="docs/spec/efuses.md describes the file; the example product has one",
        )
    plan = load_efuse_plan(
        plan_path or configuration.resolve(settings.efuses or ""),
        chip=configuration.section("product", ProductSettings).chip,
    )
    chosen = slot_configs(slots) or settings.slot_configs()
    if not chosen:
        raise UsageRefusal(
            "there is no slot to look at",
            expected="--slots port=URL,meter=ADDRESS, or [[station.slots]]",
            got="none",
            where=configuration.path,
            hint="`ampforge station ports` lists what is plugged in",
        )
    with open_ledger(config_path, station_folder) as ledger:
        previews = {slot.name: preview_efuses(slot.port, plan, ledger) for slot in chosen}
    document = {
        "schema": "ampforge.efuse-plan/1",
        "plan": plan.digest.hex(),
        "slots": [_describe(name, preview) for name, preview in previews.items()],
    }
    lines = [line for name, preview in previews.items() for line in _format(name, preview)]
    lines.append("nothing was burned")
    print_result(document, "\n".join(lines), as_json=as_json)


def _describe(name: str, preview: EfusePreview) -> dict[str, object]:
    return {
        "slot": name,
        "mac": None if preview.mac is None else preview.mac.hex(":"),
        "serial": preview.serial,
        "is_locked": preview.security is not None,
        "fields": [one.to_json() for one in preview.comparisons],
    }


def _format(name: str, preview: EfusePreview) -> list[str]:
    if preview.security is not None or preview.mac is None:
        return [f"slot {name}: locked; its loader tells no eFuses any more"]
    serial = preview.serial or "no number yet: its user data is left out here"
    rows = [f"slot {name}: {preview.mac.hex(':')}, {serial}"]
    width = max((len(one.field.label) for one in preview.comparisons), default=0)
    return rows + [_format_field(one, width) for one in preview.comparisons]


def _format_field(one: EfuseComparison, width: int) -> str:
    document = one.to_json()
    action = _ACTIONS[one.status.value] + (f": {one.reason}" if one.reason else "")
    now, wanted = _shorten(str(document["now"])), _shorten(str(document["wanted"]))
    return f"  {one.field.label:<{width}}  now {now:<19}  wanted {wanted:<19}  {action}"


def _shorten(text: str) -> str:
    return text if len(text) <= 19 else f"{text[:16]}…"  # noqa: PLR2004 - the column
