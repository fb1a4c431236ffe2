"""The secure-version ledger: what it admits and records, and that no change to it goes unseen."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from firmware_images.errors import FirmwareImageError, SecureVersionError
from firmware_images.secure_version_entry import serialize_entry
from firmware_images.secure_version_history import LEDGER_MAX_BYTES, verify_ledger
from signing.errors import ChainError, DurableFileError
from signing.sign_log import EMPTY, Head
from tests.firmware_images.secure_version_bench import BOARDS, open_ledger, release

GOLDEN = Path(__file__).parents[1] / "golden" / "secure-version"


@pytest.fixture
def ledger(tmp_path):
    return open_ledger(tmp_path)


def fill(ledger):
    """Record three releases, the last of which spends a bit; returns the file."""
    ledger.admit(release(0, "one"), reason=None)
    ledger.admit(release(0, "two"), reason=None)
    ledger.admit(release(1, "three"), reason="1.0 leaks its key")
    return ledger.path.read_bytes()


def verify(content):
    return verify_ledger(content, hardware_class=BOARDS, chip="esp32c3", where="test")


def test_a_release_leaves_a_line_that_says_what_it_cost_and_why(ledger):
    history = ledger.admit(release(1, "one"), reason="boards sold before March leak")
    assert str(history.budget) == "secure_version 1 of 16; 15 left"
    line = json.loads(ledger.path.read_bytes())
    assert line == {
        "sequence": 1,
        "time": "2026-03-01T12:00:00Z",
        "who": "rita@bench",
        "tool": "ampforge 0.1.0",
        "hardware_class": "flare-c3",
        "chip": "esp32c3",
        "act": "sign-release",
        "app_version": "1.1.0",
        "digest": release(1, "one").digest.hex(),
        "secure_version": 1,
        "reason": "boards sold before March leak",
        "previous": "00" * 32,
        "hash": history.head.hash.hex(),
    }


def test_what_is_refused_leaves_the_ledger_as_it_was(ledger):
    before = fill(ledger)
    for signing, reason, telling in (
        (release(0, "old"), None, "lower than one"),
        (release(2, "new"), None, "without a reason"),
        (release(3, "new"), "because", "would waste 1"),
        (release(17, "new"), "because", "cannot count"),
        (release(1, "new"), "because", "nothing would be spent"),
        (release(2, "new"), "", "reason cannot be recorded"),
        (release(2, "new"), " ", "reason cannot be recorded"),
        (release(2, "new"), "two\nlines", "reason cannot be recorded"),
        (release(2, "new"), "x" * 201, "reason cannot be recorded"),
    ):
        with pytest.raises(SecureVersionError, match=telling):
            ledger.admit(signing, reason=reason)
    assert ledger.path.read_bytes() == before


def test_the_same_release_again_costs_nothing_until_it_is_revoked(ledger):
    before = fill(ledger)
    ledger.admit(release(1, "three"), reason=None)
    # As a script does that runs the same command again after a crash.
    ledger.admit(release(1, "three"), reason="1.0 leaks its key")
    assert ledger.path.read_bytes() == before
    with pytest.raises(SecureVersionError, match="lower than one"):
        ledger.admit(release(0, "one"), reason=None)


def test_boards_that_were_made_before_are_adopted_once(ledger):
    assert ledger.load().budget.left == 16
    for wrong in (-1, 17):
        with pytest.raises(SecureVersionError, match="cannot hold"):
            ledger.adopt(wrong, reason="read from ten boards")
    assert not ledger.path.exists()
    history = ledger.adopt(3, reason="read from ten boards")
    assert (history.budget.highest, history.budget.left) == (3, 13)
    before = ledger.path.read_bytes()
    with pytest.raises(SecureVersionError, match="has begun already"):
        ledger.adopt(4, reason="again")
    with pytest.raises(SecureVersionError, match="lower than one"):
        ledger.admit(release(2), reason=None)
    assert ledger.path.read_bytes() == before
    assert ledger.admit(release(3), reason=None).budget.left == 13


def test_a_head_that_was_kept_elsewhere_shows_missing_lines(ledger):
    whole = fill(ledger)
    head = ledger.load().head
    assert ledger.load(heads=(head, EMPTY)).head == head
    ledger.path.write_bytes(b"".join(whole.splitlines(keepends=True)[:2]))
    assert ledger.load().budget.left == 16
    with pytest.raises(ChainError, match="not the one that this head was taken from"):
        ledger.load(heads=(head,))
    with pytest.raises(ChainError, match="not the one"):
        ledger.load(heads=(Head(count=1, hash=bytes(32)),))


def test_nothing_is_admitted_to_a_damaged_ledger(ledger):
    damaged = fill(ledger).replace(b"leaks", b"holds")
    ledger.path.write_bytes(damaged)
    with pytest.raises(ChainError, match=r"does not match its hash: .*line 3|line 3"):
        ledger.admit(release(1, "four"), reason=None)
    assert ledger.path.read_bytes() == damaged


def test_where_the_line_cannot_be_written_nothing_is_admitted(ledger, monkeypatch):
    before = fill(ledger)

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(DurableFileError, match="No space left"):
        ledger.admit(release(1, "four"), reason=None)
    monkeypatch.undo()
    assert ledger.path.read_bytes() == before
    assert [path.name for path in ledger.path.parent.iterdir()] == [ledger.path.name]


def test_a_ledger_that_cannot_be_read_is_not_taken_for_an_empty_one(ledger):
    ledger.path.mkdir()
    with pytest.raises(ChainError, match="cannot be read"):
        ledger.load()


def test_signers_at_the_same_time_lose_no_line(ledger):
    threads = [
        threading.Thread(target=ledger.admit, args=(release(0, str(n)),), kwargs={"reason": None})
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ledger.load().entries) == 8


def test_of_two_who_spend_at_the_same_time_one_is_refused(ledger):
    ledger.admit(release(1, "one"), reason="leaks")
    with pytest.raises(SecureVersionError, match="nothing would be spent"):
        ledger.admit(release(1, "two"), reason="leaks")
    assert len(ledger.load().entries) == 1


def test_any_flipped_bit_of_a_ledger_is_refused(ledger):
    content = fill(ledger)
    for bit in range(0, 8 * len(content), 7):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ChainError):
            verify(bytes(changed))


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    steps=st.lists(
        st.tuples(st.integers(0, 6), st.sampled_from(["a", "b", "c"]), st.booleans()), max_size=12
    )
)
def test_whatever_is_tried_the_version_never_falls_and_each_step_has_a_reason(tmp_path, steps):
    ledger = open_ledger(tmp_path, chip="esp32c2")
    ledger.path.unlink(missing_ok=True)
    for secure_version, name, has_reason in steps:
        signing = release(secure_version, f"{name}{secure_version}")
        try:
            ledger.admit(signing, reason="because" if has_reason else None)
        except SecureVersionError:
            continue
    versions = [0, *(entry.secure_version for entry in ledger.load().entries)]
    for entry, before in zip(ledger.load().entries, versions[:-1], strict=True):
        assert entry.secure_version - before == (entry.reason is not None)
    assert versions[-1] <= 4
    assert len({entry.digest for entry in ledger.load().entries}) == len(ledger.load().entries)


@given(st.binary(max_size=200) | st.binary(max_size=60).map(lambda junk: junk + b"\n"))
def test_arbitrary_bytes_raise_only_our_errors(content):
    try:
        assert verify(content).entries == ()
    except (ChainError, FirmwareImageError):
        return
    assert content == b""


def test_a_huge_ledger_is_refused_before_it_is_read():
    with pytest.raises(ChainError, match="not whole"):
        verify(b"\n" * (LEDGER_MAX_BYTES + 1))
    with pytest.raises(ChainError, match="not readable"):
        verify(b"[" * 100_000 + b"\n")


def test_the_golden_ledger_is_read_and_written_the_same():
    golden = (GOLDEN / "flare-c3.jsonl").read_bytes()
    history = verify(golden)
    assert [(e.act, e.secure_version) for e in history.entries] == [
        ("adopt", 2),
        ("sign-release", 2),
        ("sign-image", 3),
        ("sign-release", 3),
    ]
    assert str(history.budget) == "secure_version 3 of 16; 13 left"
    assert b"".join(map(serialize_entry, history.entries)) == golden
