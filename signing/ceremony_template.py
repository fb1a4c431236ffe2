"""Writes a plan to start from: root and the offline roles, with a line of words for each choice."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from signing.errors import CeremonyError

if TYPE_CHECKING:
    from collections.abc import Sequence

_HEAD: Final = """\
# The plan of a key ceremony: edit it, read it aloud, then `ampforge key ceremony run` this folder.
# Once the first step is done it cannot be changed. docs/how-to/key-ceremony.md explains it.

product = {product}
place = "not stated" # for the transcript
witnesses = {witnesses} # they hold no key, and write each check value down
rehearsal = {rehearsal} # true marks the keys as test keys: never for products
minimum_policy_version = 0 # oldest limits policy whose approvals count

# How many keys of a role must sign. Root needs one key more than that, so that one can be lost.
[thresholds]
root = {threshold}
policy = 1
release = 2

# uri: where the private key is made, a file on the holder's own medium (relative to this folder),
#      or pkcs11:token=…;object=… for one that was made in a token with its maker's tool.
# public: instead of uri, the .pub.pem of a key that was made elsewhere; possession is not proved.
# algorithm: ecdsa-p256, which devices verify, or ed25519. no_passphrase = true leaves a file open.
"""
_KEY: Final = """
[[keys]]
role = "{role}"
name = "{name}"
holder = "{holder}"
uri = "media/{name}.pem"
"""
_TAIL: Final = """
# The other roles are made on the machines where they live, and brought:
#
# [[keys]]
# role = "campaign" # also freshness, timestamp, snapshot; supervisor, of the factory
# name = "campaign"
# holder = "the server's operator"
# public = "incoming/campaign.pub.pem"
"""


def build_plan(
    *,
    product: str,
    threshold: int,
    root_count: int,
    witnesses: Sequence[str],
    rehearsal: bool,
    no_passphrase: bool = False,
) -> bytes:
    """Return a plan for root, policy and release, to be edited.

    Args:
        product: Name of the product.
        threshold: Root keys that must sign.
        root_count: Root keys there are.
        witnesses: Who watches.
        rehearsal: Whether the keys are test keys.
        no_passphrase: Whether key files are left open.

    Raises:
        CeremonyError: A name is no text.
    """
    keys = [("root", f"root-{number}") for number in range(1, root_count + 1)]
    keys += [("policy", "policy")]  # the names of `ampforge init`, so that public/ fits [signing]
    keys += [("release", f"release-{number}") for number in (1, 2, 3)]
    text = _HEAD.format(
        product=json.dumps(product),
        witnesses=json.dumps(list(witnesses), ensure_ascii=False),
        rehearsal="true" if rehearsal else "false",
        threshold=threshold,
    )
    end = "no_passphrase = true\n" if no_passphrase else ""
    text += "".join(
        _KEY.format(role=role, name=name, holder=f"holder of {name}") + end for role, name in keys
    )
    try:
        return (text + _TAIL).encode()
    except UnicodeEncodeError as error:
        raise CeremonyError(
            "a name is not text",
            expected="UTF-8",
            got=ascii(text[error.start : error.end])[:80],
            where="--product or --witness",
            hint="type it again on a terminal that is set to UTF-8",
        ) from error
