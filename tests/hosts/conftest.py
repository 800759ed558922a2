# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the tests in emulated machines: one segment, hosts that tests share, logs where a test fails.

Every test that uses a machine runs once for each vendor, AMD first ("vendor" is what its fixtures have in common). What is
left out for one of them says so at the test, @amd_only(why), and all that was left out is listed at the end.
"""
import collections
import contextlib
import itertools
import os
import re

import pytest

import bed

# Parts of the tests that run beside each other (tools/run_tests), each in its own namespace; without a lane, all of them.
MOVES = ("test_migrate.py", "test_check.py", "test_limits.py", "test_refusals.py")
# Which wait a lot, and what keeps CPUs busy beside them.
LINK = ("test_link.py", "test_smp.py", "test_sched.py", "test_large.py", "test_kernels.py")
# Those with several Bochs hosts, other than the pair.
SEVERAL = ("test_refusals.py", "test_smp.py", "test_tsc.py", "test_fleet.py")
LANE = os.environ.get("GODWIT_LANE", "")
OUT = bed.BUILD / "test" / LANE
ALPHA_IP, BETA_IP = "10.77.0.1", "10.77.0.2"
GUEST_IP = bed.guest_ip(1)   # of the guest that alpha and beta share
FOREIGN_IP = "10.77.0.40"   # a host of the other vendor
PEERS = {"alpha": ALPHA_IP, "beta": BETA_IP}
# Why a test need not run in Bochs, which is slow: what it looks at is the same code on both, and moves are tested there.
NEUTRAL = "the vendor makes no difference to it"
# Most of an encrypted move's time goes into AES here: a Linux guest takes 2.8 s instead of 0.8 in QEMU, and 31 s instead of 8 in Bochs.
# So the shared hosts speak in plain, but for tests with the mark `encrypted`; in Bochs always: what TLS has to do with the CPU is tested
# there on hosts of their own (test_tsc.py), and by `make demo VENDOR=intel`.
PLAIN = ("peers.plain",)
# A peer that is gone is given up after half the usual time: many tests wait for that. (Bochs' hosts have a time of their own.)
SETTINGS = {"amd": "peer_timeout = 5\n", "intel": ""}
# Of the guest that the pair shares, in MiB: little, as moving it is slow; the kernel alone wants 90.
MEMORY = {"amd": 192, "intel": 128}
# For a guest's kernel: what it has freed is zero, so that a move through Bochs' NIC takes half of its time.
FREED = {"amd": "", "intel": "init_on_free=1"}


def lane_of(item):
    file = item.path.name
    if vendor_of(item) == "intel":
        return "intel" if "pair" in item.fixturenames or file in SEVERAL else "solo"
    return "link" if file in LINK else "moves" if file in (*MOVES, "test_fleet.py") else "amd"


pairs = []     # of machines that tests share
started = []   # every host that a test of this run has started


def pytest_configure(config):
    if os.environ.get("GODWIT_NAMESPACE") != "1":
        raise pytest.UsageError("run it through tools/run_tests, or: GODWIT_NAMESPACE=1 unshare -rn tools/python -m pytest ...")


    config.addinivalue_line("markers", "encrypted: the shared hosts speak by TLS")
    config.addinivalue_line("markers", "anywhere: the shared guest may be on either host, pair.here; else it is on alpha")
    config.addinivalue_line("markers", "leave_out(vendor, why): the test does not run on that vendor's machines")


def amd_only(why=NEUTRAL):
    return pytest.mark.leave_out("intel", why)


def intel_only(why):
    return pytest.mark.leave_out("amd", why)


def vendor_params(marks):
    left_out = {mark.args[0]: mark.args[1] for mark in marks}
    return [pytest.param(vendor, marks=[pytest.mark.skip(reason=left_out[vendor])] if vendor in left_out else [])
            for vendor in bed.VENDORS]


def pytest_generate_tests(metafunc):
    """A test with a parameter of its own for each vendor gives "vendor" itself."""
    own = any("vendor" in mark.args[0] for mark in metafunc.definition.iter_markers("parametrize"))
    if "vendor" in metafunc.fixturenames and not own:
        marks = vendor_params(metafunc.definition.iter_markers("leave_out"))
        metafunc.parametrize("vendor", marks, indirect=True, scope="session")


def vendor_of(item):
    return getattr(item, "callspec", None) and item.callspec.params.get("vendor")


def pytest_collection_modifyitems(config, items):
    """Those of this lane. A vendor's tests one after the other: they share machines, and only one vendor's run at a time."""
    if LANE:
        others = [item for item in items if lane_of(item) != LANE]
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if item not in others]
    items.sort(key=lambda item: [None, *bed.VENDORS].index(vendor_of(item)))


def pytest_terminal_summary(terminalreporter):
    """What was skipped, by name, with the reason; loudly."""
    skipped = collections.defaultdict(list)
    for report in terminalreporter.stats.get("skipped", []):
        why = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        skipped[why.removeprefix("Skipped: ")].append(report.nodeid.rpartition("/")[2])
    for why, names in skipped.items():
        terminalreporter.write_line(f"SKIPPED, {why}:", yellow=True, bold=True)
        for name, count in collections.Counter(re.sub(r"\[.*?((?:amd|intel)?)\]$", r" [\1]", name) for name in names).items():
            terminalreporter.write_line(f"  {name}" + (f" ({count} times)" if count > 1 else ""))


@pytest.fixture(scope="session")
def vendor(request):
    if request.param == "intel" and (why := bed.why_no_bochs()):
        pytest.skip(why)
    return request.param


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        for host in started:
            if host.line:
                report.sections.append((f"{host.name}: {host.directory.relative_to(bed.TOP)}/serial.log ends with",
                                        host.line.tail(40)))


@contextlib.contextmanager
def switched_on(hosts):
    """Machines, {name: host}, that the tests of a module share: at their prompts; off in the end."""
    started.extend(hosts.values())
    for host in hosts.values():
        host.start()
    for host in hosts.values():
        host.wait_prompt()
    yield hosts
    for host in hosts.values():
        host.kill()
        started.remove(host)


@pytest.fixture(scope="session")
def segment():
    made = bed.Segment()
    yield made
    made.close()


numbers = itertools.count(16)


@pytest.fixture
def new_host(segment, vendor, request):
    """A function that makes a host of this test's own; it is switched off when the test ends."""
    mine = []

    def make(name="solo", ip="10.77.0.9", **options):
        options.setdefault("number", next(numbers))
        options.setdefault("vendor", vendor)
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

    def __init__(self, segment, vendor):
        self.vendor = vendor
        files = {"web.cfg": bed.guest_config(memory=MEMORY[vendor], extra=FREED[vendor]),
                 "race.cfg": "name = 'race'\nmemory = 6\nkernel = 'race.bin'\n",
                 "twin.cfg": "name = 'twin'\nmemory = 6\nkernel = 'race.bin'\nuuid = '3f0c3c58-0000-4000-8000-00000000aaaa'\n",
                 "race.bin": (bed.GUEST / "race.bin").read_bytes(),
                 "small.cfg": bed.guest_config("small", 96, 3)}
        self.hosts = {name: bed.host(segment, name, ip, OUT / vendor / name, number=number, vendor=vendor, files=files,
                                     peers={**PEERS, "foreign": FOREIGN_IP}, settings=SETTINGS[vendor])
                      for number, (name, ip) in enumerate(PEERS.items(), 1)}
        self.alpha, self.beta = self.hosts["alpha"], self.hosts["beta"]
        pairs.append(self)

    def boot(self, *hosts):
        for host in hosts:
            host.kill()
            if host not in started:
                started.append(host)
            host.start()
        for host in hosts:
            host.wait_prompt()

    def ready(self, encrypted, anywhere=False):
        """Both hosts at their prompts, web running on alpha (or anywhere) and nowhere else, every link up; whatever went before."""
        for host in self.hosts.values():
            host.standing_faults = PLAIN
        try:
            self.settle(anywhere)
        except bed.Trouble:
            self.boot(*self.hosts.values())
            self.settle(anywhere)
        if encrypted and self.vendor == "amd":
            for host in self.hosts.values():
                host.standing_faults = ()
                host.clear_faults()
        return self

    def settle(self, anywhere):
        self.boot(*[host for host in self.hosts.values() if not host.running()])
        for host in self.hosts.values():
            host.segment.link(host.tap, True)
            host.to_prompt()
            host.clear_faults()
        self.here, self.there = self.alpha, self.beta
        at_alpha, at_beta = self.alpha.guests(), self.beta.guests()
        if at_beta.get("web") == "running" and "web" not in at_alpha:
            if anywhere:
                self.here, self.there = self.beta, self.alpha
            else:
                self.beta.migrate("web", "alpha")
        elif "web" in at_beta:
            self.beta.command("destroy web")
        if self.here.guests().get("web") != "running":
            if "web" in self.alpha.guests():
                self.alpha.command("destroy web")
            self.alpha.command("create web")
        bed.wait_guest(GUEST_IP)

    def hold(self, step):
        """Begins a live move of web that stops at a fault point of the protocol; returns the host that holds it there."""
        holder = self.alpha if step.startswith("send") else self.beta
        holder.command(f"fault {step}")
        self.alpha.line.skip()
        self.alpha.line.send("migrate --live --verify web beta\r")
        self.alpha.expect("web -> beta", 30)
        self.alpha.line.send("\r")     # the prompt back; the move goes on
        self.alpha.expect(r"\(goes on")
        self.alpha.wait_prompt()
        bed.until(lambda: re.search(rf"^{re.escape(step)}\s+hit [1-9]", holder.command("fault"), re.M),
                  f"the move to stop at {step}", 30)
        if step == "recv.commit":
            # The peer waits for COMMIT from when it said PREPARED; the source may still be comparing digests.
            bed.until(lambda: "committed" in self.alpha.command("migrate --status"), "the source to commit", 30)
        return holder

    def clear(self, guest):
        """Wherever it is, it goes, and so do the faults."""
        for host in self.hosts.values():
            host.clear_faults()
            if guest in host.guests():
                host.command(f"destroy {guest}")

    def close(self):
        pairs.remove(self)
        for host in self.hosts.values():
            host.kill()
            if host in started:
                started.remove(host)


SHARED = {"pair", "hosts", "host", "tiny"}     # fixtures: hosts that several tests use


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item):
    """The pair stands still during tests that do not use it, while the hosts are booted that several of them share, too; and every Bochs
    that is there, which never sleeps, during those that only use hosts of their own."""
    resting = [host for pair in pairs for host in pair.hosts.values()] if "pair" not in item.fixturenames else []
    if "new_host" in item.fixturenames and not SHARED.intersection(item.fixturenames):
        resting += [host for host in started if host.VENDOR == "intel" and host not in resting]
    for host in resting:
        host.freeze()
    yield
    for host in resting:
        host.thaw()


@pytest.fixture(scope="session")
def shared_pair(segment, vendor):
    made = Pair(segment, vendor)
    yield made
    made.close()


@pytest.fixture
def pair(shared_pair, request):
    marks = [mark.name for mark in request.node.iter_markers()]
    return shared_pair.ready("encrypted" in marks, "anywhere" in marks)
