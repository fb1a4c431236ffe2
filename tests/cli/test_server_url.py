"""A server's URL is judged before anything is opened: one that is none is a usage error."""

from __future__ import annotations

import click.testing
import pytest

from cli.failures import EXIT_USAGE, UsageRefusal, exit_code
from cli.main import ampforge


@pytest.mark.parametrize("url", ["ftp://updates.example", "updates.example", "http://x:99999", ""])
@pytest.mark.parametrize(
    "command", [("device", "update", "--board", "."), ("repo", "verify")], ids="_".join
)
def test_a_url_that_is_none_is_a_usage_error_and_nothing_is_made(
    command, url, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    done = click.testing.CliRunner().invoke(ampforge, [*command, "--url", url])
    assert isinstance(done.exception, UsageRefusal)
    assert exit_code(done.exception) == EXIT_USAGE == 2
    assert "http://HOST[:PORT]" in str(done.exception)
    assert "--url" in str(done.exception)
    assert list(tmp_path.iterdir()) == []
