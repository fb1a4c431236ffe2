"""Builds the gallery of refused data files: gauge studies and capability studies."""

from __future__ import annotations

from typing import Final

from provisioning.capability_data import parse_process_data
from provisioning.gauge_data import parse_gauge_data
from provisioning.gauge_study import GaugeMethod, analyse_gauge
from provisioning.process_capability import Limits, assess_capability
from tests.gallery import Gallery, write_gallery
from tests.provisioning.aiag_study import HEADER, ROWS

ABOUT: Final = """Each file has one thing wrong and is named after it: `gauge-` files are read by
`ampforge gauge rr`, `capability-` files by `ampforge capability study --lower -1 --upper 1`.
Written by `python -m tests.provisioning.rejected_studies`;
`tests/provisioning/test_rejected_studies.py` checks each error, word by word."""


def read(name: str, content: bytes) -> object:
    """Read a file as the command line does."""
    if name.startswith("capability-"):
        data = parse_process_data(content, where=name)
        return assess_capability(data.values, Limits(lower=-1, upper=1), subgroups=data.subgroups)
    return analyse_gauge(parse_gauge_data(content, where=name), GaugeMethod.ANOVA)


def build_rejected() -> dict[str, bytes]:
    """Return each file's name and content."""
    return {
        name: text.encode() for name, text in {**_gauge_texts(), **_capability_texts()}.items()
    } | {
        "gauge-not-utf-8.csv": HEADER.encode() + b"1,\xc4,1,0.5\n",
        "gauge-zip-instead-of-csv.csv": b"PK\x03\x04\x14\x00\x08\x08\x08\x00\xff\xfe",
    }


def _gauge_texts() -> dict[str, str]:
    small = [
        f"{part},{who},{trial},{value}\n"
        for part, who, trial, value in [
            ("1", "A", "1", "10.1"), ("1", "A", "2", "10.2"), ("1", "B", "1", "10.2"),
            ("1", "B", "2", "10.4"), ("2", "A", "1", "12.1"), ("2", "A", "2", "12.0"),
            ("2", "B", "1", "12.3"), ("2", "B", "2", "12.2"),
        ]
    ]  # fmt: skip

    def study(*rows: str) -> str:
        return HEADER + "".join(rows)

    def without(text: str) -> str:
        return study(*(row for row in small if text not in row))

    def edited(old: str, new: str) -> str:
        assert old in study(*small)
        return study(*small).replace(old, new)

    return {
        "gauge-empty.csv": "",
        "gauge-header-alone.csv": HEADER,
        "gauge-without-header.csv": "".join(small),
        "gauge-operator-for-appraiser.csv": edited("appraiser", "operator"),
        "gauge-column-too-many.csv": edited("value", "value,unit"),
        "gauge-semicolons.csv": study(*small).replace(",", ";"),
        "gauge-decimal-comma.csv": edited("10.4", "10,4"),
        "gauge-field-missing.csv": edited("1,B,2,10.4", "1,B,10.4"),
        "gauge-value-with-unit.csv": edited("10.4", "10.4 µA"),
        "gauge-value-empty.csv": edited("10.4", ""),
        "gauge-value-nan.csv": edited("10.4", "nan"),
        "gauge-value-infinite.csv": edited("10.4", "1e999"),
        "gauge-value-underscore.csv": edited("10.4", "10_4"),
        "gauge-value-of-absurd-exponent.csv": edited("10.4", "1e-999999999"),
        "gauge-value-of-absurd-length.csv": edited("10.4", "10." + "4" * 80),
        "gauge-value-overload.csv": edited("10.4", "+9.90000000E+37"),
        "gauge-part-without-name.csv": edited("1,B,2,", ",B,2,"),
        "gauge-appraiser-with-control-character.csv": edited("1,B,2,", "1,B\x1b[2J,2,"),
        "gauge-name-too-long.csv": edited("1,B,2,", "1," + "B" * 41 + ",2,"),
        "gauge-quoted-line-break.csv": edited("1,B,2,", '"1\nB",B,2,'),
        "gauge-reading-twice.csv": edited("1,B,2,10.4", "1,B,1,10.4"),
        "gauge-cell-missing.csv": without("1,B,2,"),
        "gauge-appraiser-skipped-a-part.csv": without("2,B,"),
        "gauge-trials-numbered-on.csv": edited("2,B,2,", "2,B,3,"),
        "gauge-name-in-two-spellings.csv": edited("1,B,2,", "1,b,2,"),
        "gauge-one-part.csv": study(*small[:4]),
        "gauge-one-appraiser.csv": without(",B,"),
        "gauge-one-trial.csv": without(",2,1"),
        "gauge-no-variation.csv": study(
            *(f"{part},{who},{trial},{part}\n" for part in "12" for who in "AB" for trial in "12")
        ),
        "gauge-all-readings-alike.csv": study(
            *(f"{part},{who},{trial},5\n" for part in "12" for who in "AB" for trial in "12")
        ),
        "gauge-spreadsheet-error.csv": study(*ROWS).replace("-2.16", "#REF!"),
    }


def _capability_texts() -> dict[str, str]:
    right = "value,subgroup\n0.1,a\n0.2,a\n-0.3,b\n0.1,b\n"

    def edited(old: str, new: str) -> str:
        assert old in right
        return right.replace(old, new)

    return {
        "capability-empty.csv": "",
        "capability-header-alone.csv": "value\n",
        "capability-two-values.csv": "value\n0.1\n0.2\n",
        "capability-column-twice.csv": edited("subgroup", "value"),
        "capability-unknown-column.csv": edited("subgroup", "serial"),
        "capability-field-too-many.csv": edited("-0.3,b", "-0.3,b,c"),
        "capability-value-nan.csv": edited("-0.3", "NaN"),
        "capability-value-overload.csv": edited("-0.3", "-9.9E37"),
        "capability-value-with-unit.csv": edited("-0.3", "-0.3uA"),
        "capability-value-in-arabic-digits.csv": edited("-0.3", "\u0663"),
        "capability-no-spread.csv": "value\n0.1\n0.1\n0.1\n",
        "capability-subgroups-of-one.csv": "value,subgroup\n0.1,a\n0.2,b\n0.3,c\n",
        "capability-subgroups-without-spread.csv": "value,subgroup\n0,a\n0,a\n1,b\n1,b\n",
        "capability-amperes-for-microamps.csv": "value\n1e-12\n3e-12\n2e-12\n",
    }


GALLERY = Gallery(
    name="studies",
    title="What a study refuses",
    about=ABOUT,
    build=build_rejected,
    read=read,
)

if __name__ == "__main__":
    write_gallery(GALLERY)
