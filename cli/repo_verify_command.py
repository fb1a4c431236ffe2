"""`ampforge repo verify`: a full audit of a published repository."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cli.clock import utc_now
from cli.configuration import load_configuration
from cli.output import count_of, print_result
from cli.params import EXISTING_FILE, config_option, json_option, server_url_option

if TYPE_CHECKING:
    from pathlib import Path

    from manifests.repository_audit import Audit
    from manifests.store import Store

EXIT_UNSOUND = 4


@click.command("verify", epilog="Example: ampforge repo verify --root 1.root.json")
@server_url_option(text="Audit what a server or CDN gives out, instead of the configured store.")
@click.option(
    "--root",
    "root_path",
    type=EXISTING_FILE,
    help="The first root as it was handed out, to compare with the one that lies there.",
)
@config_option
@json_option
def verify(
    *, url: str | None, root_path: Path | None, config_path: Path | None, as_json: bool
) -> None:
    """Check everything that was published: chain, signatures, files, and what devices are shown.

    Needs the trust record and no key. Every root from the first, thresholds, expiry, delegations,
    each file's length and digest, each manifest and assignment as a device verifies it, each bundle
    behind them, and what lies there unnamed; at the end python-tuf's own client reads it all. Exit
    code 4 if anything is wrong.
    """
    from cli.repository_files import load_trust, open_store
    from cli.station_access import read_file
    from manifests.gateway import ROOT_MAX_BYTES
    from manifests.repository_audit import AUDIT_SCHEMA, audit_repository

    configuration = load_configuration(config_path)
    store: Store
    if url is not None:
        from manifests.url_store import UrlStore

        store = UrlStore(url)
    else:
        store = open_store(configuration)
    trust = load_trust(configuration)
    root = None if root_path is None else read_file(root_path, max_bytes=ROOT_MAX_BYTES)
    audit = audit_repository(
        store,
        trust,
        now=utc_now(),
        trusted_root=root,
        lists=url is None,
    )
    document = {
        "schema": AUDIT_SCHEMA,
        "repository": str(store),
        "product": trust.product,
        "trust_record_version": trust.version,
        "is_sound": audit.is_sound,
        "counts": audit.counts,
        "findings": [
            {
                "severity": finding.severity.value,
                "what": finding.what,
                "where": finding.where,
                "hint": finding.hint,
            }
            for finding in audit.findings
        ],
    }
    print_result(document, _format(audit, store), as_json=as_json)
    if not audit.is_sound:
        raise click.exceptions.Exit(EXIT_UNSOUND)


def _format(audit: Audit, store: Store) -> str:
    lines = []
    for finding in audit.findings:
        mark = "✗" if finding.severity == "error" else "·"
        lines.append(f"{mark} {finding.what} ({finding.where})")
        if finding.hint:
            lines.append(f"    {finding.hint}")
    errors = sum(finding.severity == "error" for finding in audit.findings)
    verdict = "sound" if audit.is_sound else f"NOT sound: {count_of(errors, 'error')}"
    looked = ", ".join(
        f"{count} {name.removesuffix('s') if count == 1 else name}"
        for name, count in audit.counts.items()
    )
    counted = [f"  looked at {looked}"] if looked else []
    return "\n".join([*lines, f"{store} is {verdict}", *counted])
