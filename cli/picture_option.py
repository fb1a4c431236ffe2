"""The option `--plot FILE`, whose name decides the kind of picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cli.failures import UsageRefusal
from cli.output_file import refuse_input_as_output
from cli.params import FILE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from provisioning.report_canvas import PictureFormat

plot_option = click.option(
    "--plot", "plot_path", type=FILE, help="Also draw it: a name that ends in .svg or .png."
)


def picture_format_of(path: Path) -> PictureFormat:
    """Return the kind of picture that a name asks for.

    Raises:
        UsageRefusal: It asks for neither.
    """
    match path.suffix.lower():
        case ".svg":
            return "svg"
        case ".png":
            return "png"
        case other:
            raise UsageRefusal(
                "the picture's name says no known kind",
                expected="a name that ends in .svg or .png",
                got=other or path.name,
                where="--plot",
                hint="SVG is sharp at any size; PNG is for programs that take nothing else",
            )


def save_picture(
    path: Path | None, draw: Callable[[PictureFormat], bytes], *, made_from: Path | None
) -> None:
    """Draw and write a picture, if one was asked for.

    Args:
        path: The value of `--plot`.
        draw: Returns the picture.
        made_from: A file that must not be replaced.
    """
    if path is None:
        return
    from signing.durable_file import save_durably

    picture_format = picture_format_of(path)
    refuse_input_as_output(path, made_from, option="--plot")
    save_durably(path, draw(picture_format))
