"""The gallery of what a station must refuse, each in its own words."""

from __future__ import annotations

import os

import pytest

from provisioning.link_frames import serialize_frame
from tests.gallery import committed_files, read_expected, tell_outcome
from tests.provisioning.rejected_backups import BACKUPS
from tests.provisioning.rejected_backups import GOLDEN as GOLDEN_BACKUP
from tests.provisioning.rejected_station import GALLERY, export, read, request

EXPECTED = read_expected(GALLERY)
FILES = committed_files(GALLERY)


@pytest.mark.parametrize("name", sorted(FILES))
def test_the_file_is_refused_in_exactly_these_words(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert tell_outcome(lambda: read(name, FILES[name])) == EXPECTED[name]
    assert list(tmp_path.iterdir()) == []


def test_the_gallery_is_what_its_builder_writes_and_its_readme_names_each():
    assert GALLERY.build() == FILES
    assert set(EXPECTED) == set(FILES)
    assert "accepted" not in EXPECTED.values()


@pytest.mark.parametrize("name", sorted(committed_files(BACKUPS)))
def test_the_backup_is_refused_and_no_ledger_is_made(name):
    content = committed_files(BACKUPS)[name]
    assert tell_outcome(lambda: BACKUPS.read(name, content)) == read_expected(BACKUPS)[name]


def test_the_gallery_of_backups_is_what_its_builder_writes():
    assert BACKUPS.build() == committed_files(BACKUPS)
    assert set(read_expected(BACKUPS)) == set(BACKUPS.build())
    assert "accepted" not in read_expected(BACKUPS).values()
    assert BACKUPS.read("right", (GOLDEN_BACKUP).read_bytes())


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("frame", serialize_frame(request(0, {}, op=0))),
        ("request", request(0, {}, op=0)),
        ("serial", b"AMPFL1260700001L"),
        ("slot", b"port=a,meter=b,name=left"),
        ("config", b'[station]\nname = "station-1"\n'),
        ("export", export().encode()),
    ],
)
def test_the_same_check_accepts_what_is_right(name, content):
    assert read(f"{name}-right", content)


def test_a_port_that_is_there_is_accepted():
    controller, terminal = os.openpty()
    port = read("port-right", os.ttyname(terminal).encode())
    assert port.is_open
    port.close()
    os.close(controller)
    os.close(terminal)
