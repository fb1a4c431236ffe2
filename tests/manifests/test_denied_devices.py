"""Reports of devices on the operator's list are refused, and of nobody else."""

from __future__ import annotations

import signal
import time
from contextlib import closing
from dataclasses import replace

import pytest

from manifests.denied_devices import DeniedDevices
from manifests.device_report import verify_whole_report
from manifests.errors import DeniedDeviceError, ServerError
from manifests.fleet import FleetStore
from manifests.received_report import receive_report
from manifests.server_app import RepositoryApp
from manifests.service_parts import ServiceParts
from tests.manifests.server_process import ServerProcess, running, whole_plan
from tests.manifests.test_device_messages import REPORT, signed_report
from tests.manifests.test_server_metrics import ask as ask_port
from tests.manifests.world import NOW, Request, ask, make_publisher, new_bundle, trust

VERIFIED = verify_whole_report(signed_report(), trust(), now=NOW)
SERIAL = VERIFIED.report.serial_number
MAC = VERIFIED.certificate.common_name
KEY = VERIFIED.certificate.public_key.key_id.hex()
RECEIVED = receive_report(
    VERIFIED.report,
    b"",
    now=NOW,
    mac=MAC,
    key_id=bytes.fromhex(KEY),
)
NAMES = [f"serial {SERIAL}", f"mac {MAC}", f"key {KEY}"]


def write(path, *lines):
    path.write_text("".join(f"{line}\n" for line in lines), encoding="ascii")
    return path


@pytest.mark.parametrize("line", NAMES, ids=["serial", "mac", "key"])
def test_a_device_is_known_by_serial_number_mac_or_key(tmp_path, line):
    others = ("# a comment", "", "serial FL26A999999", "mac 02:00:00:00:00:00", "key " + "0" * 64)
    denied = DeniedDevices(write(tmp_path / "list", *others))
    denied.refuse(RECEIVED)
    write(tmp_path / "list", *others, f"  {line}   # sent back")
    denied.reload()
    assert len(denied) == 4
    with pytest.raises(DeniedDeviceError, match="not taken here"):
        denied.refuse(RECEIVED)


@pytest.mark.parametrize(
    "line",
    [
        SERIAL,
        "serial",
        f"serial {SERIAL} {SERIAL}",
        "serial " + "X" * 21,
        f"mac {MAC.upper()[:-2]}ZZ",
        f"mac {MAC[:-3]}",
        f"key {KEY[:-2]}",
        f"key {KEY}0",
        f"Serial {SERIAL}",
        "serial FL26Ä",
    ],
    ids=range(10),
)
def test_a_line_that_names_no_device_refuses_the_list_and_the_old_one_stays(tmp_path, line):
    path = write(tmp_path / "list", NAMES[0])
    denied = DeniedDevices(path)
    path.write_text(f"{NAMES[1]}\n{line}\n", encoding="utf-8")
    with pytest.raises(ServerError, match="list of denied devices"):
        denied.reload()
    with pytest.raises(DeniedDeviceError):
        denied.refuse(RECEIVED)
    with pytest.raises(ServerError, match="list of denied devices"):
        DeniedDevices(path)


def test_a_missing_list_is_no_empty_list(tmp_path):
    with pytest.raises(ServerError, match="cannot be read"):
        DeniedDevices(tmp_path / "none")


def test_a_denied_report_is_answered_403_and_not_stored_and_a_forged_one_400(tmp_path):
    denied = DeniedDevices(write(tmp_path / "list", NAMES[2]))
    with closing(FleetStore(tmp_path / "reports.sqlite")) as fleet:
        parts = ServiceParts(trust=trust(), fleet=fleet, denials=denied, clock=lambda: NOW)
        app = RepositoryApp(tmp_path, parts)
        body = signed_report()
        answer = ask(app, Request("POST", "/api/reports", body=body))
        assert (answer.status, answer.fields["cache-control"]) == (403, "no-store")
        assert b"not taken here" in answer.content
        assert SERIAL.encode() not in answer.content
        forged = body[:-1] + bytes([body[-1] ^ 1])
        assert ask(app, Request("POST", "/api/reports", body=forged)).status == 400
        assert fleet.list_reports() == ()
        assert parts.counts.reports == {"denied": 1, "refused": 1}
        app.close()


def test_a_running_server_reads_its_list_again_and_keeps_it_when_it_is_broken(tmp_path):
    publisher = make_publisher(tmp_path / "repository")
    publisher.publish_bundle(new_bundle(), None, now=NOW)
    path = write(tmp_path / "denied-devices.txt")
    plan = whole_plan(publisher, tmp_path, denied_devices=path)
    with running(plan) as server:
        sent = iter(range(1, 1000))

        def report():
            body = signed_report(replace(REPORT, freshness_sequence=next(sent)))
            return ask_port(server.port, "POST", "/api/reports", body)[0]

        def wait_for(status):
            deadline_s = time.monotonic() + 10
            server.process.send_signal(signal.SIGHUP)
            while (last := report()) != status and time.monotonic() < deadline_s:
                pass
            return last

        assert report() == 201
        write(path, NAMES[1])
        assert wait_for(403) == 403
        stored = len(closed_list(plan.reports_path))
        write(path, "nonsense")
        server.process.send_signal(signal.SIGHUP)
        assert "not read again" in server.process.stderr.readline()
        assert report() == 403
        assert len(closed_list(plan.reports_path)) == stored
        write(path)
        assert wait_for(201) == 201
    broken = ServerProcess(replace(plan, denied_devices=tmp_path / "none"))
    assert "list of denied devices cannot be read" in broken.error
    broken.end()


def closed_list(path):
    with closing(FleetStore(path)) as fleet:
        return fleet.list_reports()
