"""`ampforge waveform check --explain RULE`: what a rule means, and the policy's own figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cli.configuration import has_configuration
from cli.failures import UsageRefusal
from cli.output import print_result
from cli.release_defaults import ReleaseDefaults

if TYPE_CHECKING:
    from pathlib import Path

ALL = "all"


def explain_rule(
    name: str, limits_path: Path | None, config_path: Path | None, *, as_json: bool
) -> None:
    """Print one rule with the figures of the policy at hand, or the page about all of them.

    Args:
        name: A rule's id, a limit's key, or `all`.
        limits_path: The policy of `--limits`; else that of the configuration, if there is one.
        config_path: The file of `--config`.
        as_json: Whether `--json` was given.

    Raises:
        UsageRefusal: Listing every rule, when there is none of that name.
    """
    from firmware_images.limits import load_limits
    from firmware_images.limits_explained import (
        describe_rule,
        find_rule,
        format_rule,
        format_rules_document,
    )
    from firmware_images.limits_texts import RULE_TEXTS

    if name.lower() == ALL and not as_json:
        click.echo(format_rules_document(), nl=False)
        return
    texts = RULE_TEXTS
    if name.lower() != ALL:
        text = find_rule(name)
        if text is None:
            raise UsageRefusal(
                "there is no such rule",
                expected=", ".join(text.rule for text in RULE_TEXTS),
                got=repr(name[:40]),
                hint=f"`--explain {ALL}` prints them all",
            )
        texts = (text,)
    policy = None
    if limits_path is not None or config_path is not None or has_configuration():
        policy = load_limits(limits_path or ReleaseDefaults(config_path).limits())
    documents = [describe_rule(text, policy) for text in texts]
    if len(documents) > 1:
        print_result({"schema": "ampforge.rules/1", "rules": documents}, as_json=as_json)
        return
    print_result(documents[0], format_rule(texts[0], policy), as_json=as_json)
