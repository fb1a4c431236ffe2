"""A ceremony: what its plan may ask for, what each step leaves, and what a witness refuses."""

from __future__ import annotations

import json
import shutil
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signing.ceremony_folder import hold_folder, load_ceremony
from signing.ceremony_plan import parse_plan
from signing.ceremony_run import run_next_step
from signing.ceremony_transcript import parse_transcript, serialize_entry
from signing.ceremony_verify import verify_ceremony
from signing.cose import sign_many
from signing.errors import CeremonyError, KeyFileError, SigningError
from signing.key_files import generate_key, is_test_key, load_public_key
from signing.key_uris import load_software_signer
from signing.keys import Algorithm
from signing.logged_signer import SIGN_LOG_NAME, load_sign_log
from signing.refusal import Refusal
from signing.roles import Role
from signing.signers import SoftwareSigner
from signing.trust import TRUST_RECORD_CONTENT_TYPE, verify_trust_record
from signing.trust_file import load_trust_record
from tests.signing.ceremony_bench import (
    ENCRYPTED_PLAN,
    NOW,
    PLAN,
    STEPS,
    make_folder,
    make_room,
    run_steps,
)
from tests.softhsm import PIN, make_token


@pytest.fixture(scope="module")
def held(tmp_path_factory):
    folder = make_folder(tmp_path_factory.mktemp("held") / "folder")
    assert len(run_steps(folder)) == STEPS
    return folder


@pytest.fixture
def folder(held, tmp_path):
    """A copy of what a witness gets: the public files alone."""
    copy = tmp_path / "copy"
    shutil.copytree(held, copy, ignore=shutil.ignore_patterns("media", "sign-log*", ".*"))
    return copy


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_witness_verifies_the_public_files_on_another_machine(folder):
    verified = verify_ceremony(folder)
    record = load_trust_record(folder / "trust.cose")
    assert record.version == 1
    assert (record.roles[Role.ROOT].threshold, len(record.roles[Role.ROOT].keys)) == (1, 2)
    assert set(verified.keys) == {"root-1", "root-2", "policy", "campaign"}
    assert verified.closed == ["root-1", "root-2"]
    for name, key in verified.keys.items():
        path = folder / "public" / f"{name}.pub.pem"
        assert load_public_key(path) == key
        assert is_test_key(path)
    text = (folder / "transcript.md").read_text()
    assert "REHEARSAL" in text
    for step in verified.steps:
        assert verified.confirmation(step).check_value in text
    values = [(step.number, verified.confirmation(step).check_value) for step in verified.steps]
    assert verify_ceremony(folder, checks=values)


def test_no_private_key_or_passphrase_is_in_any_public_file(tmp_path):
    folder = make_folder(tmp_path / "folder", ENCRYPTED_PLAN)
    run_steps(folder)
    path = folder / "media" / "root-1.pem"
    assert path.stat().st_mode & 0o777 == 0o600
    assert b"ENCRYPTED PRIVATE KEY" in path.read_bytes()
    der = load_software_signer(str(path), passphrase=lambda: b"passphrase of Ada").to_pkcs8_der()
    secrets = [b"passphrase of Ada", b"PRIVATE KEY", der, der.hex().encode()]
    for path, content in contents(folder).items():
        if path.parent.name != "media":
            assert not [secret for secret in secrets if secret in content], path


def test_each_signature_is_in_the_sign_log(held):
    entries = load_sign_log(held / SIGN_LOG_NAME)
    assert [entry.role for entry in entries] == ["root", "root", "policy", "root", "root", "root"]
    kinds = [entry.content_type.rpartition(".")[2] for entry in entries]
    assert kinds == [*["ceremony-key+cbor"] * 3, "trust+cbor", *["ceremony-transcript+cbor"] * 2]


def rewrite(folder, change):
    """Change the transcript as somebody would who can compute hashes."""
    path = folder / "transcript.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    change(lines)
    from signing.ceremony_transcript import Entry, Phase
    from signing.hash_chain import GENESIS

    content, previous = b"", GENESIS
    for number, line in enumerate(lines, 1):
        entry = Entry(
            sequence=number,
            time=NOW,
            step=line["step"],
            phase=Phase(line["phase"]),
            content=line["content"],
            previous=previous,
        )
        content += serialize_entry(entry)
        previous = entry.hash
    path.write_bytes(content)


def other_key(lines):
    stranger = SoftwareSigner.generate(Algorithm.ECDSA_P256).public_key
    lines[3]["content"] |= {"spki": stranger.spki_der.hex(), "key_id": stranger.key_id.hex()}


def brought_key(lines):
    stranger = SoftwareSigner.generate(Algorithm.ECDSA_P256).public_key
    lines[9]["content"] |= {"spki": stranger.spki_der.hex(), "key_id": stranger.key_id.hex()}


def other_record(lines):
    payload = bytes.fromhex(lines[11]["content"]["payload"])
    stranger = SoftwareSigner.generate(Algorithm.ECDSA_P256)
    signed = sign_many(payload, [stranger], content_type=TRUST_RECORD_CONTENT_TYPE)
    lines[13]["content"]["message"] = signed.hex()


def swapped_closings(lines):
    lines[17]["content"], lines[19]["content"] = lines[19]["content"], lines[17]["content"]


def replayed_proof(lines):
    lines[5]["content"]["proof"] = lines[3]["content"]["proof"]


@pytest.mark.parametrize(
    ("change", "telling"),
    [
        (other_key, "no key that may sign it"),
        (brought_key, "something else than the plan and the steps before it: 'payload'"),
        (other_record, "no key that may sign it"),
        (swapped_closings, "'key_id'"),
        (replayed_proof, "no key that may sign it"),
        (lambda lines: lines[1]["content"].update(witnesses=["Willi"]), "'witnesses'"),
        (lambda lines: lines[1]["content"].update(extra="x"), "'extra'"),
        (lambda lines: lines[2]["content"].update(holder="Eve"), "'holder'"),
        (lambda lines: lines[3]["content"].update(proof=""), "not a signed message"),
        (lambda lines: lines[3]["content"].update(proof="zz"), "has no proof"),
        (lambda lines: lines[9]["content"].update(proof="00"), "nobody asked for"),
        (lambda lines: lines.pop(8), "not the plan's next step"),
        (lambda lines: lines.append(lines[-1]), "expected the end"),
        (lambda lines: lines[15]["content"].update(sha256="00"), "'sha256'"),
    ],
)
def test_a_transcript_that_was_written_anew_is_refused(folder, change, telling):
    rewrite(folder, change)
    before = contents(folder)
    with pytest.raises(SigningError, match=telling):
        verify_ceremony(folder)
    assert contents(folder) == before


def test_a_transcript_that_holds_together_differs_from_what_the_witness_wrote_down(folder):
    """Who holds all private keys can hold another ceremony; only the check values tell."""
    value = load_ceremony(folder).entries[1].check_value
    changed = value.replace(value[0], "0" if value[0] != "0" else "1", 1)
    with pytest.raises(CeremonyError, match="not the one that the witness wrote down"):
        verify_ceremony(folder, checks=[(1, changed)])
    with pytest.raises(CeremonyError, match="not in the transcript"):
        verify_ceremony(folder, checks=[(STEPS + 1, value)])


@pytest.mark.parametrize(
    "name",
    ["trust.cose", "plan.toml", "transcript.md", "public/root-1.pub.pem", "transcript.jsonl"],
)
def test_a_changed_or_missing_file_is_refused(folder, name):
    path = folder / name
    content = path.read_bytes()
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 1
    for damaged in (bytes(flipped), content + b"\n", content[:-1]):
        path.write_bytes(damaged)
        with pytest.raises(SigningError):
            verify_ceremony(folder)
    path.unlink()
    with pytest.raises(CeremonyError, match=r"cannot be read|not finished"):
        verify_ceremony(folder)


def test_lines_that_were_cut_off_leave_an_unfinished_ceremony(folder):
    path = folder / "transcript.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-2]))
    with pytest.raises(CeremonyError, match="not finished"):
        verify_ceremony(folder)
    assert len(verify_ceremony(folder, allow_unfinished=True).closed) == 1
    path.write_bytes(b"".join(lines[:-1]) + lines[-1][:-20])
    with pytest.raises(CeremonyError, match="middle of a line"):
        verify_ceremony(folder)


@settings(max_examples=40)
@given(data=st.data())
def test_any_flipped_bit_of_the_transcript_is_refused(held, data):
    content = bytearray((held / "transcript.jsonl").read_bytes())
    position = data.draw(st.integers(0, len(content) * 8 - 1))
    content[position // 8] ^= 1 << position % 8
    with pytest.raises(CeremonyError):
        parse_transcript(bytes(content), where="transcript")


@settings(max_examples=60)
@given(st.binary(max_size=300) | st.text(max_size=200).map(str.encode))
def test_arbitrary_bytes_are_refused_as_plan_and_transcript(content):
    with pytest.raises(CeremonyError):
        parse_plan(content, where="plan")
    if content:
        with pytest.raises(CeremonyError):
            parse_transcript(content, where="transcript")


def test_a_plan_that_was_changed_after_the_beginning_is_refused(tmp_path):
    folder = make_folder(tmp_path / "folder")
    run_steps(folder, 2)
    before = contents(folder)
    plan = folder / "plan.toml"
    plan.write_text(PLAN.replace("Quinn", "Eve"))
    with pytest.raises(CeremonyError, match="not the one that the ceremony began with"):
        run_steps(folder, 1)
    assert {**contents(folder), plan: before[plan]} == before


def test_a_key_file_that_is_there_already_is_never_taken_or_overwritten(tmp_path):
    folder = make_folder(tmp_path / "folder")
    path = folder / "media" / "root-2.pem"
    generate_key(path, Algorithm.ECDSA_P256, passphrase=None)
    before = contents(folder)
    with pytest.raises(KeyFileError, match="exists already"):
        run_steps(folder)
    lock = folder / ".ceremony.lock"
    assert {path: content for path, content in contents(folder).items() if path != lock} == before


def test_what_is_missing_is_refused_before_the_first_holder_sits_down(tmp_path):
    folder = make_folder(tmp_path / "folder")
    (folder / "media/campaign.pub.pem").unlink()
    with pytest.raises(KeyFileError, match="cannot be read"):
        run_steps(folder)
    assert not (folder / "transcript.jsonl").exists()


def test_a_medium_that_is_not_there_is_asked_for_and_the_step_done_again(tmp_path):
    folder = make_folder(tmp_path / "folder", PLAN.replace("media/root-2", "stick/root-2"))
    with pytest.raises(CeremonyError, match="place for a private key is not there") as refused:
        run_steps(folder)
    assert "Bea's medium" in refused.value.hint
    (folder / "stick").mkdir()
    run_steps(folder)
    verify_ceremony(folder)


def test_a_holder_cannot_sign_with_another_key_than_the_one_of_the_ceremony(tmp_path):
    folder = make_folder(tmp_path / "folder")
    run_steps(folder, 6)
    for suffix in (".pem", ".pub.pem"):
        (folder / "media" / f"root-1{suffix}").unlink()
    generate_key(folder / "media" / "root-1.pem", Algorithm.ECDSA_P256, passphrase=None)
    with pytest.raises(CeremonyError, match="not the key that was made in the ceremony"):
        run_steps(folder, 1)
    assert load_ceremony(folder).next_step.number == 7


def test_a_test_key_is_not_brought_to_a_real_ceremony(tmp_path):
    folder = make_folder(tmp_path / "folder", PLAN.replace("rehearsal = true", "rehearsal = false"))
    with pytest.raises(CeremonyError, match="test key was brought"):
        run_steps(folder)


def test_a_clock_that_goes_back_is_refused(tmp_path):
    folder = make_folder(tmp_path / "folder")
    run_steps(folder, 1)
    with pytest.raises(CeremonyError, match="clock of this machine has gone back"):
        run_steps(folder, 1, clock=lambda: NOW - timedelta(hours=1))
    assert load_ceremony(folder).next_step.number == 2


def test_two_processes_do_not_run_one_ceremony(tmp_path):
    folder = make_folder(tmp_path / "folder")
    with (
        hold_folder(folder),
        pytest.raises(CeremonyError, match="run by another process"),
        hold_folder(folder),
    ):
        pass
    with pytest.raises(CeremonyError, match="cannot be used"), hold_folder(tmp_path / "none"):
        pass


def test_root_keys_in_two_tokens_are_asked_for_their_own_pins(tmp_path):
    plan = PLAN
    uris = {}
    for name in ("root-1", "root-2"):
        token = make_token()
        path = tmp_path / f"{name}.pem"
        generate_key(path, Algorithm.ECDSA_P256, passphrase=None)
        uris[name] = token.import_key(path, name)
        plan = plan.replace(f"media/{name}.pem", uris[name])
    folder = make_folder(tmp_path / "folder", plan)
    asked = []

    def answer(planned, is_new):
        asked.append((planned.name, is_new))
        return PIN.encode()

    # A PIN in the environment would be one for all holders: it does not count here.
    run_steps(
        folder, passphrase=answer, environment={**token.environment, "AMPFORGE_PKCS11_PIN": "0"}
    )
    assert asked == [("root-1", False), ("root-2", False)]
    verified = verify_ceremony(folder)
    assert verified.keys["root-2"] == load_public_key(tmp_path / "root-2.pub.pem")
    assert PIN not in (folder / "transcript.jsonl").read_text()


def test_everything_is_done_again_without_harm_when_all_is_done(held):
    before = contents(held)
    with hold_folder(held):
        assert run_next_step(held, make_room(held)) is None
    assert contents(held) == before


def test_the_signed_record_is_one_that_devices_accept(held):
    content = (held / "trust.cose").read_bytes()
    assert verify_trust_record(content, current=None).product == "flare"


def test_every_refusal_is_one_of_ours():
    assert issubclass(CeremonyError, Refusal)
