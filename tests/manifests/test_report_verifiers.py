"""Reports are verified in other processes as they would be in this one, whoever dies."""

from __future__ import annotations

import asyncio
import http.client
import os
import select
import signal
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from manifests import report_verifiers
from manifests.device_report import verify_device_report
from manifests.errors import DeviceMessageError, FleetStoreError
from manifests.received_report import digest_of
from manifests.report_verifiers import HELPED_FROM, SENT_MAX, ReportVerifiers
from manifests.server_plan import ServerPlan
from signing.refusal import Refusal
from tests.manifests.server_process import running
from tests.manifests.test_device_messages import REPORT, signed_report
from tests.manifests.world import NOW, trust, trust_bytes

GOOD = [signed_report(replace(REPORT, freshness_sequence=number)) for number in range(40)]
BAD = [b"", b"\xa0", GOOD[0][:-1], GOOD[0][:-1] + bytes([GOOD[0][-1] ^ 1]), bytes(3072)]


async def verify_all(verifiers, bodies):
    return await asyncio.gather(
        *(verifiers.verify(body, now=NOW) for body in bodies), return_exceptions=True
    )


def run(bodies, *, disturb=None, processes=1):
    """Verify in two rounds; between them, `disturb` is given the processes."""

    async def scenario():
        verifiers = ReportVerifiers(trust_bytes(), processes=processes)
        first = await verify_all(verifiers, bodies[:1])
        if disturb is not None:
            disturb(children())
        return first + await verify_all(verifiers, bodies[1:])

    return asyncio.run(scenario())


def children(pid: int | None = None) -> list[int]:
    """The verifying processes below this one."""
    pid = pid or os.getpid()
    found = []
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split():
        with suppress(FileNotFoundError):
            if b"report_verifying" in Path(f"/proc/{child}/cmdline").read_bytes():
                found.append(int(child))
    return found


def check(bodies, outcomes):
    for body, outcome in zip(bodies, outcomes, strict=True):
        if body in GOOD:
            report = verify_device_report(body, trust(), now=NOW)
            assert outcome.report == report
            assert (outcome.message, outcome.received_at_s) == (body, NOW.timestamp())
            assert outcome.digest == digest_of(report)
            continue
        with pytest.raises(Refusal) as refused:
            verify_device_report(body, trust(), now=NOW)
        assert isinstance(outcome, DeviceMessageError)
        assert str(outcome) == str(refused.value)
        assert outcome.hint == refused.value.hint


@pytest.mark.parametrize("processes", [1, 2])
def test_the_outcome_is_that_of_this_process(processes):
    bodies = GOOD[:10] + BAD + GOOD[10:]
    check(bodies, run(bodies, processes=processes))
    assert not children()


def test_a_process_that_is_killed_costs_no_report():
    bodies = GOOD[:1] + BAD + GOOD[1:]

    def kill(pids):
        (pid,) = pids
        os.kill(pid, signal.SIGKILL)

    check(bodies, run(bodies, disturb=kill))


async def kill_with_reports_in_hand(verifiers, *, times):
    """Kill the process so often while it holds 39 reports; what becomes of them."""
    await verify_all(verifiers, GOOD[:1])
    asking = None
    for _ in range(times):
        (pid,) = children()
        os.kill(pid, signal.SIGSTOP)
        asking = asking or asyncio.ensure_future(verify_all(verifiers, GOOD[1:]))
        while len(verifiers._waiting) > len(GOOD) - 1 - 2 * SENT_MAX or not verifiers._waiting:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0)
        os.kill(pid, signal.SIGKILL)
        while pid in children():  # noqa: ASYNC110 - as above
            await asyncio.sleep(0)
        while not children():  # noqa: ASYNC110 - as above
            await asyncio.sleep(0)
    return await asking


def test_a_process_that_dies_with_reports_in_hand_leaves_none_unanswered():
    verifiers = ReportVerifiers(trust_bytes(), processes=1)
    outcomes = asyncio.run(kill_with_reports_in_hand(verifiers, times=1))
    check(GOOD[1:], outcomes)


def test_a_process_that_does_not_answer_is_replaced(monkeypatch):
    async def scenario():
        verifiers = ReportVerifiers(trust_bytes(), processes=1)
        await verify_all(verifiers, GOOD[:1])
        (pid,) = children()
        os.kill(pid, signal.SIGSTOP)
        monkeypatch.setattr(report_verifiers, "ANSWER_TIMEOUT_S", 0.1)
        asking = asyncio.ensure_future(verify_all(verifiers, GOOD[1:]))
        while pid in children():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0)
        # The next one has to start first.
        monkeypatch.setattr(report_verifiers, "ANSWER_TIMEOUT_S", 60)
        return await asking

    check(GOOD[1:], asyncio.run(scenario()))
    assert not children()


def test_reports_that_two_processes_died_with_are_to_be_sent_again_and_the_others_are_not():
    verifiers = ReportVerifiers(trust_bytes(), processes=1)
    outcomes = asyncio.run(kill_with_reports_in_hand(verifiers, times=2))
    refused = outcomes[: 2 * SENT_MAX]
    assert all(isinstance(one, FleetStoreError) for one in refused)
    assert "could not be verified now" in str(refused[0])
    check(GOOD[1 + 2 * SENT_MAX :], outcomes[2 * SENT_MAX :])


def test_what_a_further_process_died_with_does_not_wait_for_another_report():
    async def scenario():
        verifiers = ReportVerifiers(trust_bytes(), processes=2)
        await verify_all(verifiers, GOOD * 3)
        further = children()[1]
        os.kill(further, signal.SIGSTOP)
        asking = [asyncio.ensure_future(verifiers.verify(one, now=NOW)) for one in GOOD * 3]
        while sum(one.done() for one in asking) < len(asking) - 2 * SENT_MAX:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0)
        os.kill(further, signal.SIGKILL)
        return await asyncio.gather(*asking)

    check(GOOD * 3, asyncio.run(asyncio.wait_for(scenario(), 20)))


def test_where_no_process_can_be_started_reports_are_to_be_sent_again(monkeypatch):
    monkeypatch.setattr(report_verifiers.sys, "executable", "/nowhere/python")
    outcomes = run(GOOD[:3])
    assert [type(one) for one in outcomes] == [FleetStoreError] * 3


def test_further_processes_are_started_only_when_many_reports_wait():
    async def scenario():
        verifiers = ReportVerifiers(trust_bytes(), processes=3)
        await verify_all(verifiers, GOOD[:HELPED_FROM])
        counts = [len(children())]
        await verify_all(verifiers, GOOD * 4)
        counts.append(len(children()))
        return counts

    assert asyncio.run(scenario()) == [1, 3]


def test_where_no_further_process_can_be_started_the_first_does_it_all(monkeypatch):
    async def scenario():
        verifiers = ReportVerifiers(trust_bytes(), processes=2)
        await verify_all(verifiers, GOOD[:1])
        monkeypatch.setattr(report_verifiers.sys, "executable", "/nowhere/python")
        return await verify_all(verifiers, GOOD * 3)

    check(GOOD * 3, asyncio.run(scenario()))


def test_more_than_may_wait_are_refused(monkeypatch):
    monkeypatch.setattr(report_verifiers, "WAITING_MAX", 20)
    outcomes = run(GOOD)
    refused = [one for one in outcomes if isinstance(one, FleetStoreError)]
    assert len(refused) == 19
    assert "too many" in str(refused[0])
    assert sum(one.report is not None for one in outcomes if one not in refused) == 21


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_processes_end_with_the_server(tmp_path, number):
    (tmp_path / "repository").mkdir()
    plan = ServerPlan(
        folder=tmp_path / "repository",
        trust_record=trust_bytes(),
        reports_path=tmp_path / "reports.sqlite",
    )
    with running(plan) as server:
        parts = urlsplit(server.url)
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=20)
        for body, status in ((GOOD[0], 201), (BAD[1], 400), (GOOD[0], 200)):
            connection.request("POST", "/api/reports", body)
            answer = connection.getresponse()
            answer.read()
            assert answer.status == status
        connection.close()
        verifying = children(server.process.pid)
        assert verifying
        watched = [os.pidfd_open(pid) for pid in verifying]
        server.process.send_signal(number)
        server.end()
        for descriptor in watched:
            assert select.select([descriptor], [], [], 10)[0]
            os.close(descriptor)
