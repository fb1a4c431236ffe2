"""One page of a report: its pictures go inside, its values come out of our templates escaped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from provisioning.errors import ReportError
from provisioning.inline_svg import inline_svg
from provisioning.report_texts import (
    digits_of_ua,
    format_kohm,
    format_percent,
    format_probability,
    format_ratio,
    format_ratio_with_u,
    format_short_probability,
    format_signed_ua,
    format_time,
    format_ua,
)

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(slots=True)
class ReportPage:
    """The pictures of a page, whose ids must differ.

    Attributes:
        count: How many it has.
    """

    count: int = 0

    def add(self, svg: str, label: str) -> str:
        """Return a picture ready to stand in the page."""
        self.count += 1
        return inline_svg(svg, prefix=f"p{self.count}", label=label)

    def add_waveforms(self, waveform_svgs: Mapping[str, str | bytes]) -> list[str]:
        """Take in one picture for each mode.

        Raises:
            ReportError: A picture cannot be put into a page.
        """
        pictures = []
        for mode, svg in waveform_svgs.items():
            try:
                text = svg if isinstance(svg, str) else svg.decode("utf-8")
            except UnicodeDecodeError as error:
                raise ReportError(
                    "a picture is not UTF-8 text", got=str(error), where=f"waveform of {mode}"
                ) from error
            pictures.append(self.add(text, f"Waveform of {mode}"))
        return pictures


def render_template(template: str, **values: object) -> str:
    """Return a page from one of our templates, every value escaped but the pictures."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("provisioning", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "ua": format_ua,
        "signed_ua": format_signed_ua,
        "kohm": format_kohm,
        "time": format_time,
        "probability": format_probability,
        "short_probability": format_short_probability,
        "percent": format_percent,
        "ratio": format_ratio,
        "ratio_with_u": format_ratio_with_u,
        "digits": digits_of_ua,
        # Pictures only: inline_svg has refused everything that is not drawing.
        "picture": Markup,
    }
    return environment.get_template(template).render(**values)
