"""A refusal says what, expected, got and where; the file comes before the part of it."""

from __future__ import annotations

import pytest

from signing.refusal import Refusal, refusing_in


@pytest.mark.parametrize(
    ("inner", "where"),
    [
        (None, "release.zip"),
        ("app.bin", "release.zip, app.bin"),
        ("release.zip", "release.zip"),
        ("release.zip, byte 7", "release.zip, byte 7"),
        ("release.zip.old", "release.zip, release.zip.old"),
    ],
)
def test_a_refusal_in_a_file_names_the_file_once(inner, where):
    with pytest.raises(Refusal) as refused, refusing_in("release.zip"):
        raise Refusal("no", where=inner)
    assert refused.value.where == where
    assert str(refused.value) == f"no ({where})"


def test_what_is_no_refusal_passes_untouched():
    with pytest.raises(ZeroDivisionError), refusing_in("release.zip"):
        raise ZeroDivisionError
