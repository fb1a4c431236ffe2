"""Whatever is signed and assigned, the C verifier decides about it as our updater does.

Each thing that can be odd about a session is met in every run, and any two of them together in a
sample. Reading changed bytes alike is `test_differential`.
"""

from __future__ import annotations

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from manifests.manifest import message_digest
from manifests.message_fields import MESSAGE_MAX_BYTES
from manifests.transfer import run_session
from manifests.updater import update_device
from signing.refusal import Refusal
from tests.c_verifier.signed_sessions import (
    ODD,
    Messages,
    ReachedAppError,
    answer,
    assign,
    cases,
    prepare,
    signed_releases,
)
from tests.c_verifier.witness import Recording, Witness
from tests.manifests.world import RULES
from tests.reliability_page import figures

ANY_TWO = 40


@pytest.mark.parametrize("odd", ODD)
@settings(max_examples=2)
@given(data=st.data())
def test_whatever_is_odd_about_a_session_leads_both_to_the_same_decision(c_verifier, odd, data):
    compare(c_verifier, data, frozenset({odd}))


@settings(max_examples=ANY_TWO)
@given(data=st.data(), odd=st.frozensets(st.sampled_from(ODD), max_size=2))
def test_any_signed_bytes_lead_both_to_the_same_decision(c_verifier, data, odd):
    compare(c_verifier, data, odd)


def test_the_page_on_reliability_says_how_many_oddities_there_are():
    points, in_check, in_soak = figures("sessions of signed messages")
    assert points == f"{len(ODD)} oddities"
    assert in_check == f"each twice, {ANY_TWO} with any two"
    assert in_soak == "each with fresh examples"


def compare(c_verifier, data, odd):
    draw = data.draw
    case = draw(cases(odd))
    messages = draw(signed_releases(case))
    names = [message_digest(message) for message in messages]
    sequence = 4 - ("assignment sequence" in case.odd)
    signed = assign(case, names, sequence)
    assert len(signed) <= MESSAGE_MAX_BYTES
    shown = messages[::-1] if "swapped" in case.odd else messages
    by_path = {
        f"device/manifests/{name.hex()}.cose": message
        for name, message in zip(names, shown, strict=True)
    }
    given_up = names[0] if "step given up" in odd else draw(st.sampled_from(names))
    device = prepare(case, given_up)
    nonce = (device.board.nonces + 1).to_bytes(16, "big")
    freshness = answer(case, nonce, sequence)
    # With the application in place a session would go on to its end, and change the board.
    content = b"" if "app runs" in case.odd else case.image.content
    recording = Recording(Messages(signed, by_path, freshness, content))
    witness = Witness(c_verifier, device)
    try:
        ending = run_session(update_device(device, RULES), recording)
    except ReachedAppError:
        code = witness.ask(recording)
        assert code == "ok"
    except Refusal as refusal:
        code = witness.compare(recording, refusal)
        assert code is not None
    else:
        code = witness.compare(recording, ending)
    event(f"{code}, {sum(kind.startswith('step-') for kind in recording.came)} steps looked at")
