"""A process whose children run a ceremony and kill themselves at a stated moment.

`python -m tests.signing.killed_ceremony` reads one JSON line for each child: folder, and the moment
as `["before", n]` or `["after", n]` the n-th time that a file takes its name; it answers with the
signal or exit code that ended the child. Children are forked, so that everything is imported once.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

from tests.dying_children import run_children
from tests.signing.ceremony_bench import run_steps


def run_and_die(folder: str, moment: list[object]) -> None:
    names_taken = 0

    def killing(act):
        def taking(*arguments, **options):
            nonlocal names_taken
            names_taken += 1
            if moment == ["before", names_taken]:
                os.kill(os.getpid(), signal.SIGKILL)
            act(*arguments, **options)
            if moment == ["after", names_taken]:
                os.kill(os.getpid(), signal.SIGKILL)

        return taking

    # The two ways in which a file takes its name for good (signing.durable_file).
    os.replace, os.link = killing(os.replace), killing(os.link)
    run_steps(Path(folder))


def main() -> None:
    import signing.ceremony_verify
    from signing.keys import Algorithm
    from signing.signers import SoftwareSigner

    # Imported once, for all children.
    assert signing.ceremony_verify, SoftwareSigner.generate(Algorithm.ECDSA_P256).sign(b"")
    run_children(run_and_die)


if __name__ == "__main__":
    main()
