"""The gallery of refused waveform files; run as a module it writes the README of the folder."""

from __future__ import annotations

from firmware_images.limits import judge_table, refuse_violations
from firmware_images.waveform_compile import compile_table
from firmware_images.waveform_csv import load_csv_waveform, parse_csv_waveform
from firmware_images.waveform_source import parse_waveforms
from tests.gallery import FOLDER, Gallery, committed_files, write_gallery

from .waveform_builders import flare_policy

ABOUT = """Each file has one thing wrong and is named after it. They are written by hand, as their
authors would: `.csv` files are read as `t_us,i_ua` rows, `.toml` files are compiled and judged by
the example product's limits. The table below is written by
`python -m tests.firmware_images.rejected_waveforms`;
`tests/firmware_images/test_rejected_waveforms.py` checks each error, word by word."""


def read(name: str, content: bytes) -> object:
    """Read a file as `ampforge waveform check` does."""
    if name.endswith(".csv"):
        return parse_csv_waveform(content, where=name)
    policy = flare_policy()
    source = parse_waveforms(
        content,
        where=name,
        load_csv=lambda csv_name: load_csv_waveform(FOLDER / "waveforms" / csv_name),
    )
    table = compile_table(source, policy, "flare-c3")
    refuse_violations(judge_table(table, policy), where=name)
    return table


GALLERY = Gallery(
    name="waveforms",
    title="Waveforms that are refused",
    about=ABOUT,
    build=lambda: committed_files(GALLERY),
    read=read,
)

if __name__ == "__main__":
    write_gallery(GALLERY)
