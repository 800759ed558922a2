# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the tests in emulated machines: one segment, hosts that tests share, logs where a test fails."""
import itertools
import os
import re

import pytest

import bed

OUT = bed.BUILD / "test"
ALPHA_IP, BETA_IP, GUEST_IP = "10.77.0.1", "10.77.0.2", "10.77.0.101"
PEERS = {"alpha": ALPHA_IP, "beta": BETA_IP}
started = []   # every host that a test of this run has started


def pytest_configure(config):
    if os.environ.get("GODWIT_NAMESPACE") != "1":
        raise pytest.UsageError("run it through tools/run_tests, or: GODWIT_NAMESPACE=1 unshare -rn tools/python -m pytest ...")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        for host in started:
            if host.line:
                report.sections.append((f"{host.name}: {host.directory.relative_to(bed.TOP)}/serial.log ends with",
                                        host.line.tail(40)))


@pytest.fixture(scope="session")
def segment():
    made = bed.Segment()
    yield made
    made.close()


numbers = itertools.count(16)


@pytest.fixture
def new_host(segment, request):
    """A function that makes a host of this test's own; it is switched off when the test ends."""
    mine = []

    def make(name="solo", ip="10.77.0.9", **options):
        options.setdefault("number", next(numbers))
        directory = OUT / re.sub(r"[^\w.]+", "-", request.node.name).strip("-") / name
        host = bed.host(segment, name, ip, directory, **options)
        mine.append(host)
        started.append(host)
        return host

    yield make
    for host in mine:
        host.kill()
        started.remove(host)


class Pair:
    """alpha and beta, and the guest "web" that moves between them. Tests share them: booting costs."""

    def __init__(self, segment):
        files = {"web.cfg": bed.guest_config(ip=GUEST_IP),
                 "race.cfg": "name = 'race'\nmemory = 16\nkernel = 'race.bin'\n",
                 "race.bin": (bed.GUEST / "race.bin").read_bytes(),
                 "small.cfg": bed.guest_config("small", 96, "52:54:00:77:01:03", "10.77.0.103")}
        self.hosts = {name: bed.host(segment, name, ip, OUT / name, number=number, peers=PEERS, files=files)
                      for number, (name, ip) in enumerate(PEERS.items(), 1)}
        self.alpha, self.beta = self.hosts["alpha"], self.hosts["beta"]

    def boot(self, *hosts):
        for host in hosts:
            host.kill()
            if host not in started:
                started.append(host)
            host.start()
        for host in hosts:
            host.wait_prompt()

    def ready(self):
        """Both hosts at their prompts, web running on alpha and nowhere else, every link up; whatever went before."""
        try:
            self.settle()
        except bed.Trouble:
            self.boot(*self.hosts.values())
            self.settle()
        return self

    def settle(self):
        self.boot(*[host for host in self.hosts.values() if not host.running()])
        for host in self.hosts.values():
            host.segment.link(host.tap, True)
            host.to_prompt()
            host.command("fault --clear")
        here, there = self.alpha.guests(), self.beta.guests()
        if there.get("web") == "running" and "web" not in here:
            self.beta.migrate("web", "alpha")
        elif "web" in there:
            self.beta.command("destroy web")
        if self.alpha.guests().get("web") != "running":
            if "web" in self.alpha.guests():
                self.alpha.command("destroy web")
            self.alpha.command("create web")
        bed.wait_guest(GUEST_IP)

    def hold(self, step):
        """Begins a live move of web that stops at a fault point of the protocol; returns the host that holds it there."""
        holder = self.alpha if step.startswith("send") else self.beta
        holder.command(f"fault {step}")
        self.alpha.line.skip()
        self.alpha.line.send("migrate --live web beta\r")
        self.alpha.expect("web -> beta", 30)
        self.alpha.line.send("\r")     # the prompt back; the move goes on
        self.alpha.expect(r"\(goes on")
        self.alpha.wait_prompt()
        bed.until(lambda: re.search(rf"^{re.escape(step)}\s+hit [1-9]", holder.command("fault"), re.M),
                  f"the move to stop at {step}", 30)
        return holder

    def clear(self, guest):
        """Wherever it is, it goes, and so do the faults."""
        for host in self.hosts.values():
            host.command("fault --clear")
            if guest in host.guests():
                host.command(f"destroy {guest}")

    def close(self):
        for host in self.hosts.values():
            host.kill()
            if host in started:
                started.remove(host)


@pytest.fixture(scope="session")
def shared_pair(segment):
    made = Pair(segment)
    yield made
    made.close()


@pytest.fixture
def pair(shared_pair):
    return shared_pair.ready()
