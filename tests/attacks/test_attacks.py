"""Every attack of the matrix, against every reader that it concerns."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from tests.attacks import page
from tests.attacks.arena import READERS, arena  # noqa: F401 - a fixture
from tests.attacks.attack import Origin, Reader, Scene
from tests.attacks.ground import IN_FORCE
from tests.attacks.matrix import ATTACKS
from tests.conftest import IS_SOAK
from tests.reliability_page import figures
from tests.system_tools import give_up

SEED = 20_260_101
DRAWN = 2


def cells():
    """All in soak; else each attack against our updater and two others, drawn by a fixed seed."""
    draw = random.Random(SEED)
    for attack in ATTACKS:
        readers = [reader for reader in READERS if reader in attack.expected]
        others = [reader for reader in readers if reader is not Reader.UPDATER]
        drawn = {Reader.UPDATER, *draw.sample(others, min(DRAWN, len(others)))}
        for reader in readers:
            if IS_SOAK or reader in drawn:
                name = f"{attack.name.replace(' ', '-')}-{reader.name.lower()}"
                yield pytest.param(attack, reader, id=name)


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name.lower())
def test_a_reader_that_nobody_attacks_comes_to_the_release_in_force(arena, reader):  # noqa: F811
    """Or else a refusal would mean nothing."""
    arena.mirror.show({}, {})
    for is_updated in (False, True):
        opened = arena.open(reader, Scene(starts_updated=is_updated))
        assert opened.read(arena.mirror.lying_url) == IN_FORCE


def test_each_test_of_a_reader_that_is_not_installed_is_skipped(arena, tmp_path, monkeypatch):  # noqa: F811
    """And not only the first: what it leaves behind half-way is in nobody's way."""
    monkeypatch.delenv("AMPFORGE_REQUIRE_SYSTEM_TOOLS", raising=False)
    bare = replace(arena, folder=tmp_path, ask_tuf_js=lambda: give_up("there is no tuf-js"))
    for is_updated in (True, True, False, False):
        with pytest.raises(pytest.skip.Exception, match="there is no tuf-js"):
            bare.open(Reader.TUF_JS, Scene(starts_updated=is_updated))


@pytest.mark.parametrize(("attack", "reader"), list(cells()))
def test_an_attack_ends_as_the_matrix_says(arena, attack, reader):  # noqa: F811 - the fixture
    arena.meet(attack, reader)


@pytest.mark.parametrize(
    "attack",
    [attack for attack in ATTACKS if Reader.SERVER in attack.expected],
    ids=lambda attack: attack.name.replace(" ", "-"),
)
def test_an_attack_on_the_server_leaves_it_as_it_was(arena, attack):  # noqa: F811 - the fixture
    arena.meet_server(attack)


def test_the_page_shows_the_matrix_as_it_is():
    """`python -m tests.attacks.page` writes it."""
    assert page.PAGE.read_text(encoding="utf-8") == page.build_page()


def test_the_page_on_reliability_says_how_many_attacks_there_are():
    on_server = [attack for attack in ATTACKS if Reader.SERVER in attack.expected]
    assert figures("attacks on an update") == (
        f"{len(ATTACKS) - len(on_server)}, and {len(on_server)} on the server",
        f"the updater and {DRAWN} drawn readers each",
        "all",
    )


def test_the_matrix_has_every_attack_of_the_tuf_specification():
    named = {attack.name.partition(",")[0] for attack in ATTACKS if attack.origin is Origin.TUF}
    assert named == {
        "arbitrary software",
        "endless data",
        "extraneous dependencies",
        "fast-forward",
        "indefinite freeze",
        "malicious mirror",
        "mix-and-match",
        "rollback",
        "slow retrieval",
        "key compromise",
        "wrong software",
    }
