"""The sign log: what is written for a signature, and that no change to it goes unseen."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signing.canonical_cbor import serialize_cbor
from signing.cose import sign_many, sign_one
from signing.cose_detached import sign_detached
from signing.errors import ChainError, DurableFileError
from signing.hash_chain import GENESIS
from signing.logged_signer import SIGN_LOG_NAME, SignLog, describe_signed, head_path, load_sign_log
from signing.sign_log import (
    EMPTY,
    Head,
    SignLogEntry,
    parse_entry,
    parse_head,
    serialize_entry,
    verify_sign_log,
)
from tests.signing.fixed_keys import fixed_signer

if TYPE_CHECKING:
    from pathlib import Path

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
TYPE = "application/vnd.ampforge.test"


@pytest.fixture
def log(tmp_path: Path) -> SignLog:
    moments = (NOON + timedelta(seconds=second) for second in range(10_000))
    return SignLog(
        path=tmp_path / SIGN_LOG_NAME,
        who="rita@bench",
        tool="ampforge 0.1.0",
        clock=lambda: next(moments),
    )


def filled(log: SignLog, count: int = 4) -> list[bytes]:
    """Sign `count` messages and return the lines of the log."""
    signer = log.wrap(fixed_signer("release"), "release")
    for number in range(count):
        sign_one(b"%d" % number, signer, content_type=TYPE)
    return log.path.read_bytes().splitlines(keepends=True)


def test_a_signature_leaves_a_line_that_says_who_what_and_when(log):
    signer = log.wrap(fixed_signer("release"), "release")
    message = sign_many(b"payload", [signer], content_type=TYPE)
    assert message == sign_many(b"payload", [fixed_signer("release")], content_type=TYPE)
    (entry,) = load_sign_log(log.path)
    assert entry == SignLogEntry(
        sequence=1,
        time=NOON,
        who="rita@bench",
        role="release",
        key_id=signer.public_key.key_id,
        content_type=TYPE,
        digest=hashlib.sha256(b"payload").digest(),
        tool="ampforge 0.1.0",
        previous=GENESIS,
    )
    line = json.loads(log.path.read_bytes())
    assert line["time"] == "2026-03-01T12:00:00Z"
    assert line["hash"] == entry.head.hash.hex()
    assert head_path(log.path).read_text() == f"1:{line['hash']}\n"
    assert not signer.is_test_key
    assert "LoggedSigner(SoftwareSigner(" in repr(signer)


def test_what_is_signed_is_told_from_its_bytes():
    body = json.dumps({"_type": "timestamp", "version": 1}).encode()
    assert describe_signed(body) == ("application/vnd.tuf.timestamp+json", body)
    assert describe_signed(b"{}")[0] == "application/json"
    for other in (b"{", b"[]", b"\x80", b"", b"\x83\x61a\x40\x40", bytes(70)):
        assert describe_signed(other) == ("application/octet-stream", other)


def test_a_suit_envelope_is_told_from_other_signatures_over_what_lies_beside_them(log):
    signer = log.wrap(fixed_signer("release"), "release")
    digest = serialize_cbor([-16, bytes(32)])
    foreign = (
        serialize_cbor([-16, bytes(31)]),
        serialize_cbor([-15, bytes(32)]),
        serialize_cbor([-16, bytes(32), 0]),
        serialize_cbor({"digest": bytes(32)}),
        b"\xff",
        b"",
    )
    for payload in (digest, *foreign):
        sign_detached(payload, signer)
    sign_one(digest, signer, content_type=TYPE)  # ours says by itself what it is
    entries = load_sign_log(log.path)
    assert [entry.content_type for entry in entries] == [
        "application/suit-envelope+cose",
        *["application/octet-stream"] * len(foreign),
        TYPE,
    ]
    assert entries[0].digest == hashlib.sha256(digest).digest()


@given(st.binary(max_size=80))
def test_arbitrary_bytes_are_described(message):
    content_type, content = describe_signed(message)
    assert content_type
    assert content in message


def test_any_line_edited_removed_added_or_moved_is_found(log):
    lines = filled(log)
    remembered = load_sign_log(log.path)[-1].head
    foreign = SignLogEntry(**{**_fields(lines[1]), "who": "eve@bench"})
    for changed, telling in (
        (lines[:1] + lines[2:], "does not follow"),
        (lines[1:], "does not follow"),
        ([lines[0], lines[2], lines[1], lines[3]], "does not follow"),
        ([*lines[:2], lines[1], *lines[2:]], "does not follow"),
        ([lines[0], lines[1].replace(b"rita", b"eve."), *lines[2:]], "match its hash"),
        ([lines[0], lines[1].replace(b'"role"', b'"Role"'), *lines[2:]], "not readable"),
        ([lines[0], lines[1].replace(b"{", b"{ "), *lines[2:]], "match its hash"),
        ([lines[0], serialize_entry(foreign), *lines[2:]], "line 3"),
        (lines[:3], "removed from the end"),
        ([], "removed from the end"),
        ([*lines, b"\n"], "not readable"),
        ([*lines, lines[3][:-1]], "not complete"),
    ):
        log.path.write_bytes(b"".join(changed))
        with pytest.raises(ChainError, match=telling):
            load_sign_log(log.path, heads=(remembered,))


def _fields(line: bytes) -> dict[str, object]:
    entry = parse_entry(line[:-1], where="test")
    return {name: getattr(entry, name) for name in SignLogEntry.__slots__}


def test_a_log_that_was_written_anew_is_found_by_a_remembered_head(log):
    filled(log)
    remembered = load_sign_log(log.path)[1].head
    log.path.unlink()
    head_path(log.path).unlink()
    filled(replace(log, who="eve@bench"))
    assert len(load_sign_log(log.path)) == 4
    with pytest.raises(ChainError, match="not the one that this head was taken from"):
        load_sign_log(log.path, heads=(remembered,))


def test_a_remembered_head_stays_good_while_the_log_grows(log):
    filled(log, 2)
    remembered = load_sign_log(log.path)[-1].head
    filled(log, 2)
    assert len(load_sign_log(log.path, heads=(EMPTY, remembered))) == 4


def test_the_head_beside_the_log_must_be_there_and_readable(log):
    filled(log)
    head_path(log.path).write_text("4:nonsense")
    with pytest.raises(ChainError, match="head of a sign log is not readable"):
        load_sign_log(log.path)
    head_path(log.path).unlink()
    with pytest.raises(ChainError, match="head beside the sign log is missing"):
        load_sign_log(log.path)


@pytest.mark.parametrize("kept", [0, 2])
def test_nothing_is_signed_on_a_shortened_log(log, kept):
    lines = filled(log)
    log.path.write_bytes(b"".join(lines[:kept]))
    signer = log.wrap(fixed_signer("release"), "release")
    with pytest.raises(ChainError, match="nothing was signed"):
        sign_one(b"x", signer, content_type=TYPE)
    assert log.path.read_bytes() == b"".join(lines[:kept])


def test_a_kill_between_a_line_and_its_head_or_within_a_line_stops_nobody(log):
    lines = filled(log, 3)
    # Killed before the head was replaced: the head is one line behind.
    head_path(log.path).write_text(str(parse_entry(lines[1][:-1], where="test").head))
    filled(log, 1)
    assert len(load_sign_log(log.path)) == 4
    # Killed within a line: it has no end, and its signature never left.
    with log.path.open("ab") as file:
        file.write(lines[0][:40])
    with pytest.raises(ChainError, match="not complete"):
        load_sign_log(log.path)
    filled(log, 1)
    assert len(load_sign_log(log.path)) == 5


def test_without_a_place_to_write_there_is_no_signature(log, tmp_path):
    nowhere = replace(log, path=tmp_path / "none" / SIGN_LOG_NAME)
    with pytest.raises(DurableFileError, match="nothing was signed"):
        nowhere.wrap(fixed_signer("release"), "release").sign(b"x")
    with pytest.raises(ChainError, match="cannot be read"):
        load_sign_log(nowhere.path)


def test_two_programs_at_once_write_one_chain(log):
    program = (
        "import sys, pathlib, datetime\n"
        "from signing.logged_signer import SignLog\n"
        "log = SignLog(path=pathlib.Path(sys.argv[1]), who='w', tool='t',\n"
        "    clock=lambda: datetime.datetime(2026, 3, 1, tzinfo=datetime.UTC))\n"
        "for _ in range(20): log.append('release', bytes(32), 'x/y', bytes(32))\n"
    )
    running = [subprocess.Popen([sys.executable, "-c", program, str(log.path)]) for _ in range(3)]
    assert [process.wait() for process in running] == [0, 0, 0]
    assert len(load_sign_log(log.path)) == 60


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_a_log_or_refused(content):
    try:
        verify_sign_log(content)
    except ChainError:
        return
    assert content == b""


@given(st.text(max_size=90))
def test_arbitrary_text_is_a_head_or_refused(text):
    try:
        head = parse_head(text)
    except ChainError:
        return
    assert parse_head(str(head)) == head


NAMES = st.text(max_size=20)


@settings(max_examples=50)
@given(
    st.tuples(NAMES, NAMES, NAMES, NAMES),
    st.integers(1, 10**9),
    st.binary(min_size=32, max_size=32),
)
def test_round_trip_of_any_entry(texts, sequence, digest):
    who, role, content_type, tool = texts
    entry = SignLogEntry(
        sequence=sequence,
        time=NOON,
        who=who,
        role=role,
        key_id=digest,
        content_type=content_type,
        digest=digest,
        tool=tool,
        previous=GENESIS,
    )
    line = serialize_entry(entry)
    assert parse_entry(line[:-1], where="test") == entry
    assert entry.head == Head(count=sequence, hash=bytes.fromhex(json.loads(line)["hash"]))
