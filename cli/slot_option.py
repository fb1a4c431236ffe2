"""The option `--slots port=…,meter=…[,switch=…][,name=…]`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from provisioning.station_values import SlotConfig

_FORM = "port=URL,meter=ADDRESS[,switch=ADDRESS][,name=TEXT]"
_KEYS = ("name", "port", "meter", "switch")


class SlotType(click.ParamType[dict[str, str]]):
    """One slot as text; becomes a dictionary, so that help needs no heavy import."""

    name = "slot"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> dict[str, str]:
        """Return the parts of a slot."""
        if isinstance(value, dict):
            return value
        parts: dict[str, str] = {}
        for piece in str(value).split(","):
            key, equals, content = piece.partition("=")
            if key not in _KEYS or not equals or not content or key in parts:
                self.fail(f"expected {_FORM}, got {value!r}", param, ctx)
            parts[key] = content
        if missing := {"port", "meter"} - set(parts):
            self.fail(f"{value!r} has no {' and no '.join(sorted(missing))}", param, ctx)
        return parts


slots_option = click.option(
    "--slots",
    "slots",
    type=SlotType(),
    multiple=True,
    metavar="port=URL,meter=ADDRESS",
    help="One slot; repeatable (default: [[station.slots]]).",
)


def slot_configs(slots: tuple[dict[str, str], ...]) -> tuple[SlotConfig, ...]:
    """Return slots as the station takes them, numbered where they have no name."""
    from provisioning.station_values import SlotConfig

    return tuple(
        SlotConfig(
            name=slot.get("name", str(number)),
            port=slot["port"],
            meter=slot["meter"],
            switch=slot.get("switch"),
        )
        for number, slot in enumerate(slots, start=1)
    )
