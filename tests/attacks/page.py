"""Writes docs/security/attack-matrix.md from the table: `python -m tests.attacks.page`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tests.attacks.attack import (
    NEW_ROOT,
    NOTE,
    SLOT,
    STEPS,
    Attack,
    Blind,
    Origin,
    Reader,
    Refuses,
    Takes,
    up_to,
)
from tests.attacks.matrix import ATTACKS

if TYPE_CHECKING:
    from collections.abc import Iterable

PAGE = Path(__file__).parents[2] / "docs" / "security" / "attack-matrix.md"
READERS = (Reader.UPDATER, Reader.C, Reader.GATEWAY, Reader.PYTHON_TUF, Reader.TUF_JS)
HEAD = """# Attack matrix

Every attack that the TUF specification names, and every one that a fleet of boards meets, against
every reader; what each says, and what it has changed by then. Generated from the table that the
tests run (`python -m tests.attacks.page`); what is promised against whom is in
[threat-model.md](threat-model.md).

## 1. Readers

| reader | what it is | what it keeps |
|---|---|---|
| updater | `manifests/updater.py` on a board, over HTTP | the board's flash |
| C verifier | `examples/flare/firmware/verifier`, shown what the updater sees | nothing |
| gateway | `device update --gateway`: TUF first, then the board again | flash and a TUF cache |
| python-tuf | `tuf.ngclient`, with its own fetcher | cache |
| tuf-js | in Node.js, with its own fetcher | cache |

Each reads from a mirror on this machine that repeats what `ampforge serve` says, but for what the
attack changes. A run counts only if the mirror was asked for something that it lied about. After
each attack the same reader, with what is left on its disk or in its flash, is shown the truth, and
has to come to the release in force: a refusal that leaves a reader stuck would be an attack that
worked. And a reader that nobody attacks comes to that release first.

What a field quotes is in the reader's refusal, as a regular expression; the C verifier's are codes
of `af_codes.h`. Where nothing else is written the reader has changed nothing: no byte of flash, no
file. *After X*: what it verified before is kept, up to X in the order timestamp, snapshot, targets,
campaign, assignment, manifest, artifacts, and nothing that was refused. *Slot*: the slot that does
not run holds a part, and is never switched to. *Noted*: a download is noted, and none began. Who
takes something has changed nothing but what an update changes. An empty field:
nothing is changed that this reader looks at.
"""


def build_page() -> str:
    """Return the page."""
    notes: list[str] = []
    parts = [HEAD]
    for number, origin in enumerate(Origin, start=2):
        rows = [
            attack
            for attack in ATTACKS
            if attack.origin is origin and Reader.SERVER not in attack.expected
        ]
        parts += [f"\n## {number}. {origin}\n\n", *_table(rows, notes)]
    parts += ["\n", *(f"{index}. {note}.\n" for index, note in enumerate(notes, start=1))]
    server = [attack for attack in ATTACKS if Reader.SERVER in attack.expected]
    parts += [
        "\n## 4. Against the server\n\n`ampforge serve`, with its report database. After each the",
        " database and the repository are as they were, and an honest report is stored.\n\n",
        "| attack | the attacker has | and | answer |\n|---|---|---|---|\n",
        *(
            f"| {attack.name} | {attack.holds} | {attack.does} "
            f"| `{_escaped(attack.expected[Reader.SERVER].telling)}` |\n"
            for attack in server
        ),
    ]
    return "".join(parts)


def _table(attacks: Iterable[Attack], notes: list[str]) -> Iterable[str]:
    yield f"| attack | the attacker has | and | {' | '.join(READERS)} |\n"
    yield f"|{'---|' * (3 + len(READERS))}\n"
    for attack in attacks:
        cells = (_cell(attack.expected.get(reader), notes) for reader in READERS)
        yield f"| {attack.name} | {attack.holds} | {attack.does} | {' | '.join(cells)} |\n"


def _cell(expected: Refuses | Takes | Blind | None, notes: list[str]) -> str:
    match expected:
        case Refuses(telling, left):
            return f"`{_escaped(telling)}`{_left_in_words(left)}"
        case Takes(counter, why):
            return f"takes release {counter} ({_note(why, notes)})"
        case Blind(why):
            return f"not asked for ({_note(why, notes)})"
        case None:
            return ""


def _note(why: str, notes: list[str]) -> int:
    if why not in notes:
        notes.append(why)
    return notes.index(why) + 1


def _left_in_words(left: frozenset[str]) -> str:
    rest, words = set(left), []
    for names, word in ((SLOT, "slot"), (NOTE, "noted")):
        if names <= rest:
            rest -= names
            words.append(word)
    if STEPS["root"] in rest:
        rest -= NEW_ROOT
        words.append("the new root")
    if rest:
        last = [step for step, name in STEPS.items() if name in rest][-1]
        assert rest <= up_to(last), rest
        words.append(f"after {last}")
    return f" ({', '.join(words)})" if words else ""


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(build_page(), encoding="utf-8")
