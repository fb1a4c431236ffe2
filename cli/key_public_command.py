"""`ampforge key public`: the public half of a key that lies in a token or a file."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import click

from cli.output import print_result
from cli.params import FILE, json_option, passphrase_file_option, passphrase_source

if TYPE_CHECKING:
    from pathlib import Path


@click.command(
    "public",
    epilog="Example: ampforge key public 'pkcs11:token=release;object=flare' -o keys/flare.pub.pem",
)
@click.argument("uri", metavar="KEY")
@click.option("-o", "--output", type=FILE, help="A new file for it (default: print it).")
@passphrase_file_option
@json_option
def public(*, uri: str, output: Path | None, passphrase_file: Path | None, as_json: bool) -> None:
    """Show or write the public key of a private one: what [signing] keys and trust records name.

    KEY is a pkcs11: URI or a file. The private key is tried with one signature, which is verified
    and thrown away.
    """
    from signing.durable_file import create_durably
    from signing.key_uris import load_signer

    source = passphrase_source(passphrase_file, prompt="Passphrase or PIN of the key")
    signer = load_signer(uri, passphrase=partial(source, uri))
    key = signer.public_key
    # A trial, so that a token which cannot sign is found before root trusts its key.
    trial = b"ampforge key trial"
    key.verify(trial, signer.sign(trial))
    if output is not None:
        create_durably(output, key.pem(), mode=0o644)
    document = {
        "schema": "ampforge.public-key/1",
        "path": None if output is None else str(output),
        "algorithm": str(key.algorithm),
        "key_id": key.key_id.hex(),
        "public_pem": key.pem().decode(),
    }
    pem = key.pem().decode().rstrip()
    human = pem if output is None else f"{key.algorithm} key {key.key_id.hex()}, in {output}"
    print_result(document, human, as_json=as_json)
