"""The group that every noun is: its help shows what each verb does, in a whole sentence."""

from __future__ import annotations

import sys

import click


class NounGroup(click.Group):
    """A group whose overview wraps the first sentence of each verb, instead of cutting it off.

    What a verb refuses or never does often stands at the end of that sentence.
    """

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write one row for each verb."""
        rows = [
            (name, command.get_short_help_str(limit=sys.maxsize))
            for name in self.list_commands(ctx)
            if (command := self.get_command(ctx, name)) is not None and not command.hidden
        ]
        if rows:
            with formatter.section("Commands"):
                formatter.write_dl(rows)
