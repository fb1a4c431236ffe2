"""A download that drips is left, however short each wait is."""

from __future__ import annotations

from manifests.download_pace import DownloadPace


def test_after_the_grace_what_came_pays_for_the_time():
    now_s = [100.0]
    pace = DownloadPace(grace_s=10, minimum_bytes_per_s=512, clock_s=lambda: now_s[0])
    now_s[0] = 110.0
    assert not pace.is_too_slow(0)
    now_s[0] = 110.1
    assert pace.is_too_slow(0)
    assert pace.is_too_slow(51)
    assert not pace.is_too_slow(52)
    now_s[0] = 112.0
    assert pace.is_too_slow(1023)
    assert not pace.is_too_slow(1024)
