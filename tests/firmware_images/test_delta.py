"""Patches: made, packed, applied by detools' own command and as a device does, and refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_images import delta
from firmware_images.delta import create_delta
from firmware_images.delta_applying import apply_patch
from firmware_images.delta_format import (
    PatchCompression,
    PatchEncoding,
    parse_patch_header,
)
from firmware_images.delta_settings import DeltaSettings
from firmware_images.errors import DeltaError
from signing.written_checks import UnfitTableError
from signing.written_table import read_table
from tests.firmware_images.release_parts import APP_1_4_0, APP_1_5_0, HEATSHRINK

PLAIN = PatchEncoding(compression=PatchCompression.NONE)
DETOOLS = str(Path(sys.executable).with_name("detools"))
OLD, NEW = APP_1_4_0.read_bytes(), APP_1_5_0.read_bytes()


def heatshrink(window_bits: int, lookahead_bits: int) -> PatchEncoding:
    return PatchEncoding(
        compression=PatchCompression.HEATSHRINK,
        window_bits=window_bits,
        lookahead_bits=lookahead_bits,
    )


def applied(
    base: bytes, patch: bytes, result_size_bytes: int, *, encoding: PatchEncoding | None = None
) -> bytes:
    pieces = apply_patch(
        lambda offset, size: patch[offset : offset + size],
        len(patch),
        lambda offset, size: base[offset : offset + size],
        len(base),
        result_size_bytes=result_size_bytes,
        encoding=encoding,
    )
    return b"".join(pieces)


@st.composite
def image_pairs(draw):
    """A base, and a new image that was edited from it: pieces kept, moved, changed, added."""
    base = draw(st.binary(min_size=1, max_size=600))
    pieces = draw(
        st.lists(
            st.one_of(
                st.binary(max_size=60),
                st.tuples(
                    st.integers(0, len(base)), st.integers(0, len(base)), st.integers(0, 255)
                ).map(lambda t: bytes((b + t[2]) & 255 for b in base[min(t[:2]) : max(t[:2])])),
                st.tuples(st.binary(min_size=1, max_size=1), st.integers(1, 300)).map(
                    lambda t: t[0] * t[1]
                ),
            ),
            max_size=6,
        )
    )
    new = b"".join(pieces) or b"\0"
    return base, new if new != base else new + b"+"


@st.composite
def encodings(draw):
    window_bits = draw(st.integers(4, 14))
    lookahead_bits = draw(st.integers(3, window_bits - 1))
    return draw(st.sampled_from([PLAIN, heatshrink(window_bits, lookahead_bits)]))


@given(pair=image_pairs(), encoding=encodings())
def test_a_patch_makes_the_new_image_in_every_encoding(pair, encoding):
    base, new = pair
    made = create_delta(base, new, [encoding])
    assert made.encoding == encoding == parse_patch_header(made.patch).encoding
    assert applied(base, made.patch, len(new), encoding=encoding) == new


@pytest.mark.parametrize("encoding", [PLAIN, HEATSHRINK, heatshrink(11, 4), heatshrink(14, 13)])
def test_detools_own_command_makes_the_same_patch_and_the_same_image(encoding, tmp_path):
    made = create_delta(OLD, NEW, [encoding])
    (tmp_path / "ours.patch").write_bytes(made.patch)
    options = ["-c", str(encoding.compression)]
    if encoding.window_bits:
        options += ["--heatshrink-window-sz2", str(encoding.window_bits)]
        options += ["--heatshrink-lookahead-sz2", str(encoding.lookahead_bits)]
    files = [str(APP_1_4_0), str(APP_1_5_0), "theirs.patch"]
    for command in (
        ["create_patch", *options, *files],
        ["apply_patch", str(APP_1_4_0), "ours.patch", "made.bin"],
    ):
        subprocess.run([DETOOLS, *command], cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path / "theirs.patch").read_bytes() == made.patch
    assert (tmp_path / "made.bin").read_bytes() == NEW


def test_the_smallest_declared_encoding_is_kept_and_each_is_told():
    made = create_delta(OLD, NEW, [PLAIN, heatshrink(8, 4), HEATSHRINK, heatshrink(5, 3)])
    sizes = dict(made.tried)
    assert [encoding for encoding, _ in made.tried][2] == HEATSHRINK == made.encoding
    assert len(made.patch) == min(sizes.values()) < sizes[heatshrink(8, 4)] < sizes[PLAIN]
    assert made.is_worthwhile
    assert made.percent < 3


def test_a_patch_above_sixty_percent_is_not_worthwhile():
    noise = bytes(range(256)) * 4
    other = bytes(b * 167 + 13 & 255 for b in noise[:600]) + noise[:400]
    made = create_delta(noise, other, [PLAIN])
    assert len(made.patch) > 600
    assert not made.is_worthwhile
    smaller = delta.Delta(**{name: getattr(made, name) for name in made.__slots__})
    object.__setattr__(smaller, "patch", bytes(600))
    assert smaller.is_worthwhile
    object.__setattr__(smaller, "patch", bytes(601))
    assert not smaller.is_worthwhile


@pytest.mark.parametrize(
    ("base", "new", "message"),
    [
        (OLD, OLD, "are the same"),
        (b"", NEW, "the base has a size"),
        (OLD, b"", "the new image has"),
    ],
)
def test_images_that_have_no_patch_are_refused(base, new, message):
    with pytest.raises(DeltaError, match=message):
        create_delta(base, new, [HEATSHRINK])


def test_without_the_extra_the_hint_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "detools", None)
    with pytest.raises(DeltaError, match="cannot be made by this installation") as refused:
        create_delta(OLD, NEW, [HEATSHRINK])
    assert "pip install 'ampforge[delta]'" in str(refused.value.hint)


def test_a_patch_that_makes_something_else_never_leaves(monkeypatch):
    """The maker is not trusted: whatever it makes is applied and compared."""
    real = delta._find_differences

    def find_others(*arguments: object) -> bytes:
        wrong = bytearray(real(*arguments))
        wrong[-2000] ^= 1
        return bytes(wrong)

    monkeypatch.setattr(delta, "_find_differences", find_others)
    for encoding in (PLAIN, HEATSHRINK):
        with pytest.raises(DeltaError, match="image when the reference device applies it"):
            create_delta(OLD, NEW, [encoding])


@pytest.mark.parametrize("encoding", [PLAIN, HEATSHRINK])
def test_a_patch_that_was_packed_wrongly_never_leaves(monkeypatch, encoding):
    real = delta._pack

    def pack_otherwise(*arguments: object, **sizes: int) -> bytes:
        wrong = bytearray(real(*arguments, **sizes))
        wrong[-40] ^= 1
        return bytes(wrong)

    monkeypatch.setattr(delta, "_pack", pack_otherwise)
    with pytest.raises(DeltaError, match="does not make the new image when detools applies it"):
        create_delta(OLD, NEW, [encoding])


def test_detools_and_the_device_each_judge_before_a_patch_is_published(monkeypatch):
    made = create_delta(OLD, NEW, [PLAIN])
    delta.prove_for_publication(made, OLD, NEW)
    with pytest.raises(DeltaError, match="when detools applies it"):
        delta.prove_for_publication(made, bytes(len(OLD)), NEW)
    monkeypatch.setattr(delta, "apply_patch", lambda *_, **__: iter([NEW[:-1]]))
    with pytest.raises(DeltaError, match="when the reference device applies it"):
        delta.prove_for_publication(made, OLD, NEW)


def test_a_patch_on_another_base_never_makes_the_new_image():
    made = create_delta(OLD, NEW, [HEATSHRINK])
    other = OLD[:100] + b"\xff" + OLD[101:]
    assert applied(other, made.patch, len(NEW)) != NEW
    with pytest.raises(DeltaError, match="reads outside of its base"):
        applied(OLD[: len(OLD) // 2], made.patch, len(NEW))


def test_another_size_or_encoding_than_was_promised_is_refused():
    made = create_delta(OLD, NEW, [HEATSHRINK])
    with pytest.raises(DeltaError, match="another size of result"):
        applied(OLD, made.patch, len(NEW) + 1)
    with pytest.raises(DeltaError, match="another encoding than was promised"):
        applied(OLD, made.patch, len(NEW), encoding=PLAIN)


@pytest.mark.parametrize("encoding", [PLAIN, HEATSHRINK])
@pytest.mark.parametrize("change", ["cut", "byte", "zeros"])
def test_a_patch_that_is_cut_or_goes_on_is_refused(encoding, change):
    patch = create_delta(OLD, NEW, [encoding]).patch
    hostile = {"cut": patch[:-3], "byte": patch + b"\1", "zeros": patch + bytes(300)}[change]
    with pytest.raises(DeltaError, match=r"ends before its image|goes on after its end"):
        applied(OLD, hostile, len(NEW))


@given(tail=st.binary(max_size=200), first=st.sampled_from([0x00, 0x04]), size=st.integers(1, 63))
def test_arbitrary_bytes_make_the_promised_number_of_bytes_or_are_refused(tail, first, size):
    patch = bytes([first, size]) + tail
    try:
        made = applied(b"base" * 20, patch, size)
    except DeltaError:
        return
    assert len(made) == size


@given(patch=st.binary(max_size=60))
def test_arbitrary_bytes_have_a_header_or_are_refused(patch):
    try:
        header = parse_patch_header(patch)
    except DeltaError:
        return
    assert header.result_size_bytes >= 1
    assert 2 <= header.instructions_offset_bytes <= len(patch)


@given(data=st.data())
def test_a_flipped_bit_is_refused_or_makes_as_many_bytes(data):
    patch = bytearray(create_delta(OLD[:3000], NEW[:3000], [HEATSHRINK]).patch)
    bit = data.draw(st.integers(0, 8 * len(patch) - 1))
    patch[bit // 8] ^= 1 << bit % 8
    try:
        made = applied(OLD[:3000], bytes(patch), 3000)
    except DeltaError:
        return
    assert len(made) == 3000


def test_a_patch_that_decompresses_to_nothing_useful_stops_in_time():
    """Zeros, repeated 2^13 at a time, are millions of instructions that make nothing."""
    bomb = bytes([0x04, 0x81, 0x80, 0x04, 0xAA]) + bytes(1 << 20)
    with pytest.raises(DeltaError, match="more instructions than its image has bytes"):
        applied(OLD, bomb, parse_patch_header(bomb).result_size_bytes)


def test_an_endless_size_is_refused():
    with pytest.raises(DeltaError, match="a size in a patch is too long"):
        parse_patch_header(b"\0" + b"\x80" * 1000)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"accepts": []}, "must not be empty"),
        ({"accepts": [{"kind": "in-place", "compression": "none"}]}, "sequential"),
        ({"accepts": [{"kind": "sequential", "compression": "lzma"}]}, "heatshrink"),
        ({"accepts": [{"kind": "sequential", "compression": "heatshrink"}]}, "window_bits 4 to 14"),
        (
            {
                "accepts": [
                    {
                        "kind": "sequential",
                        "compression": "heatshrink",
                        "window_bits": 8,
                        "lookahead_bits": 8,
                    }
                ]
            },
            "lookahead_bits 3 to 7",
        ),
        (
            {"accepts": [{"kind": "sequential", "compression": "none", "window_bits": 8}]},
            "neither for none",
        ),
        ({"accepts": [{"kind": "sequential", "compression": "none"}] * 2}, "twice"),
        (
            {"accepts": [{"kind": "sequential", "compression": "none"}], "more": 1},
            "more is not a key",
        ),
    ],
)
def test_a_declaration_that_no_device_can_keep_is_refused(table, message):
    with pytest.raises(UnfitTableError, match=message):
        read_table(DeltaSettings, table)


def test_the_default_is_what_detools_c_library_is_built_with():
    assert DeltaSettings().encodings == (HEATSHRINK,)
