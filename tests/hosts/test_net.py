# SPDX-License-Identifier: Apache-2.0
"""The network: addresses by DHCP, ping and TCP through every NIC, honest checksums, jumbo frames, the switch, links that fail."""
import contextlib
import json
import re
import time

import pytest

import bed
import frames
from conftest import ALPHA_IP, GUEST_IP, OUT, amd_only
from test_migrate import move

# Without any offload the hypervisor has to cut segments and to complete checksums itself.
PLAIN_VIRTIO = ("virtio-net-pci,csum=off,gso=off,guest_csum=off,guest_tso4=off,guest_tso6=off,guest_ecn=off,guest_ufo=off,"
                "host_tso4=off,host_tso6=off,host_ecn=off,host_ufo=off")
NICS = {"virtio": "virtio-net-pci", "virtio-plain": PLAIN_VIRTIO, "e1000": "e1000", "e1000e": "e1000e"}
WEB_MAC, SMALL_MAC, SMALL_IP = "52:54:00:77:01:01", "52:54:00:77:01:03", bed.guest_ip(3)
JUMBO_IP = bed.guest_ip(8)
MB = 1_000_000


class DhcpServer:
    """busybox' udhcpd on the bridge, with leases so short that they are renewed while a test runs."""

    CONFIG = """start 10.77.0.60
end 10.77.0.79
interface br0
max_leases 20
lease_file {dir}/leases
pidfile {dir}/pid
option subnet 255.255.255.0
option router 10.77.0.254
option lease 20
min_lease 10
"""

    def __init__(self, directory):
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "leases").write_bytes(b"")
        (directory / "udhcpd.conf").write_text(self.CONFIG.format(dir=directory))
        self.log = open(directory / "log", "w+")
        busybox = bed.TOP / "third_party/guest/root/usr/bin/busybox"
        self.process = bed.spawn([busybox, "udhcpd", "-f", "-a", "0", directory / "udhcpd.conf"], stdout=self.log, stderr=self.log)

    def grants(self, ip):
        """How often the address was given out or renewed."""
        return (self.directory / "log").read_text().count(f"sending ACK to {ip}")

    def close(self):
        self.process.terminate()
        self.process.wait()
        self.log.close()


@pytest.fixture
def dhcp(segment, request):
    server = DhcpServer(OUT / re.sub(r"[^\w.]+", "-", request.node.name) / "dhcp")
    yield server
    server.close()


def wait_for(what, condition, timeout=30):
    """timeout: on a quiet machine."""
    timeout *= 4
    end = time.monotonic() + timeout
    while not (found := condition()):
        assert time.monotonic() < end, f"no {what} within {timeout} s"
        time.sleep(0.2)
    return found


def ping(ip, *options, count=5):
    """How many of count pings were answered; nothing may come twice."""
    # Long to wait for the last: on a busy machine an answer may be late, but none is lost.
    said = bed.run("ping", "-n", "-c", count, "-i", "0.05", "-W", "10", *options, ip, check=False).stdout
    assert "DUP" not in said and "wrong" not in said, said
    return int(re.search(r"(\d+) received", said).group(1))


def address_of(host):
    match = re.search(r"address\s*: (\d+\.\d+\.\d+\.\d+) netmask 255\.255\.255\.0 gateway (\S+)", host.command("net"))
    return match and match.group(1)


def iperf_result(text):
    try:
        result = json.loads(text)
        assert "error" not in result, result["error"]
        return result["end"]["sum_sent"]["bytes"], result["end"]["sum_received"]["bits_per_second"] / 8 / MB
    except (ValueError, KeyError):
        raise bed.Trouble(f"iperf3: {text[-300:]}") from None


def serve_iperf(ip):
    bed.ssh(ip, "pidof iperf3 || iperf3 -s -D >/dev/null 2>&1 </dev/null; sleep 1")


def iperf(ip, megabytes, *options, client=None):
    """TCP from this machine (or from the guest `client`) to the guest ip; options: -R for the other way. MB/s."""
    words = ["iperf3", "-c", ip, "-J", "-n", str(megabytes * MB), *options]
    if client:
        words = bed.ssh_command(client, " ".join(words))
    for _ in range(20):
        said = bed.run(*words, timeout=200, check=False).stdout
        # After a test iperf3's server needs a moment until it listens again.
        if not re.search(r'"connected":\s*\[\]', said) or not re.search("refused|busy|control message", said):
            break
        time.sleep(0.3)
    # What is under way when the sender is done does not count as received: the contents are test_guest.py's business.
    sent_bytes, speed = iperf_result(said)
    assert sent_bytes >= megabytes * MB
    return round(speed, 1)


def snmp_errors(text):
    """Of /proc/net/snmp: what a receiver found wrong with what came in."""
    tables = {}
    for line in text.splitlines():
        name, _, values = line.partition(": ")
        tables.setdefault(name, []).append(values.split())
    wanted = {"Ip": ["InHdrErrors"], "Tcp": ["InErrs", "InCsumErrors"], "Udp": ["InCsumErrors"], "Icmp": ["InCsumErrors"]}
    return {f"{name}.{key}": int(tables[name][1][tables[name][0].index(key)]) for name, keys in wanted.items() for key in keys}


@contextlib.contextmanager
def nobody_complains(*guests):
    """Neither this machine's stack nor the guests' sees a wrong checksum or header meanwhile."""
    def errors():
        return [snmp_errors(open("/proc/net/snmp").read()), *(snmp_errors(bed.ssh(ip, "cat /proc/net/snmp")) for ip in guests)]
    before = errors()
    yield
    assert errors() == before


def settled(host, pages, timeout=60):
    wait_for(f"{pages} free pages at {host.name}", lambda: host.free_pages() == pages, timeout)


def test_the_checks_find_wrong_frames():
    """The checks below are worth something: a flipped bit in any right frame is found."""
    for frame in frames.Hostile("52:54:00:77:00:01", ALPHA_IP).valid():
        assert frames.fault_of(frame, 1500) is None
        if frame[12:14] != b"\x08\x00" or frame[23] == frames.UDP:
            continue     # ARP has no checksum, and this UDP has left it out
        for at in range(24, 50):
            wrong = bytearray(frame)
            wrong[at] ^= 1 << at % 8
            assert frames.fault_of(bytes(wrong), 1500)
    assert frames.fault_of(bytes(12) + b"\x88\xb5" + bytes(1501), 1500)


# --- one host behind each NIC -----------------------------------------------------------------------------------------

@pytest.mark.parametrize("vendor, kind", [*(("amd", kind) for kind in NICS), ("intel", "e1000")], indirect=["vendor"])
def test_nic(new_host, dhcp, segment, kind):
    """Host and guest get addresses by DHCP and answer pings, TCP goes both ways, the link goes down and comes back."""
    config = "name = 'solo'\naddress = 'dhcp'\nguests = ['web.cfg']\n"
    host = new_host(nic=NICS[kind], config=config, files={"web.cfg": bed.guest_config("web", 128, 7, dhcp=True)}, memory=512).boot()
    ip = wait_for("address of the host", lambda: address_of(host))
    wait_for("answer of the host", lambda: ping(ip, "-w", "2", count=1))
    assert ip.startswith("10.77.0.6") or ip.startswith("10.77.0.7")
    assert ping(ip) == 5 and ping(ip, "-s", 1472, "-M", "do") == 5
    host.line.send("console web\r")
    guest = host.expect(r"godwit-guest: ready ([\d.]+)\n", 120).group(1)
    host.line.send("\x1d")
    host.wait_prompt()
    bed.wait_guest(guest)
    assert ping(guest) == 5 and ping(guest, "-s", 8000) == 5
    serve_iperf(guest)
    # Offloads are what a virtio NIC may leave to who gets the frame; any other sends what is right as it is.
    with nobody_complains(guest), frames.Sniffer(host.tap) as sniffer:
        iperf(guest, 10 if host.VENDOR == "amd" else 4)
        iperf(guest, 15 if host.VENDOR == "amd" else 4, "-R")
    assert sniffer.faults == [] and sniffer.seen > 300    # of up to 64 KiB
    assert bool(sniffer.large) == bool(sniffer.partial) == (kind == "virtio")
    before = host.free_pages()
    if host.VENDOR == "amd":    # Bochs' NIC does not see its link
        host.qmp("set_link", name="net0", up=False)
        wait_for("link down", lambda: "link down" in host.command("net"), 5)
        assert ping(ip, "-w", "2", count=2) == 0
        host.qmp("set_link", name="net0", up=True)
        wait_for("link up", lambda: "link up" in host.command("net"), 5)
    wait_for("answer of the host", lambda: ping(ip, "-w", "2", count=1), 20)
    wait_for("answer of the guest", lambda: ping(guest, "-w", "2", count=1), 20)
    wait_for("renewal of the host's lease", lambda: dhcp.grants(ip) >= 2, 30)
    assert address_of(host) == ip
    host.wait_pages(before)


@amd_only("Bochs' e1000 takes no frame longer than 2 KiB")
@pytest.mark.parametrize("nic", ["virtio-net-pci", "e1000", "e1000e"])
def test_jumbo(new_host, segment, nic):
    """9,000 bytes a frame from end to end: to the host, to the guest, and TCP."""
    config = f"name = 'solo'\naddress = '10.77.0.9/{bed.PREFIX}'\nmtu = 9000\n"
    web = bed.guest_config("web", 128, 8).replace(":08'", ":08, mtu=9000'")
    host = new_host(nic=nic, config=config, files={"web.cfg": web}, memory=512)
    bed.run("ip", "link", "set", segment.name, "mtu", 9000)
    try:
        host.start()
        bed.run("ip", "link", "set", host.tap, "mtu", 9000)
        host.wait_prompt()
        assert "MTU 9000" in host.command("net")
        host.command("create web")
        bed.wait_guest(JUMBO_IP)
        wait_for("answer of the host: its link comes up after its prompt", lambda: ping(host.ip, "-w", "2", count=1))
        for ip in (host.ip, JUMBO_IP):
            assert ping(ip) == 5 and ping(ip, "-M", "do", "-s", 8900) == 5
        serve_iperf(JUMBO_IP)
        with nobody_complains(JUMBO_IP), frames.Sniffer(host.tap, mtu=9000) as sniffer:
            iperf(JUMBO_IP, 10)
            iperf(JUMBO_IP, 10, "-R")
        assert sniffer.faults == [] and sniffer.longest > 8900
    finally:
        bed.run("ip", "link", "set", segment.name, "mtu", 1500)
        for tap in segment.taps:
            bed.run("ip", "link", "set", tap, "mtu", 1500)


# --- two hosts --------------------------------------------------------------------------------------------------------

@amd_only("100 MB take minutes through Bochs' NIC")
def test_ping_and_tcp(pair, segment):
    """100 MB each way between this machine and the guest, offloads and all."""
    assert ping(ALPHA_IP) == 5 and ping(GUEST_IP) == 5
    assert ping(GUEST_IP, "-s", 8000) == 5
    serve_iperf(GUEST_IP)
    with nobody_complains(GUEST_IP), frames.Sniffer(pair.alpha.tap) as sniffer:
        print("to the guest", iperf(GUEST_IP, 100), "MB/s")
        print("from the guest", iperf(GUEST_IP, 100, "-R"), "MB/s")
    assert sniffer.faults == [] and sniffer.seen > 300 and sniffer.large


@pytest.fixture
def two_guests(pair):
    """web and small, both on alpha."""
    pair.alpha.command("create small")
    bed.wait_guest(SMALL_IP)
    serve_iperf(SMALL_IP)
    yield pair
    for host in pair.hosts.values():
        if "small" in host.guests():
            host.command("destroy small")


@amd_only()
def test_guest_to_guest(two_guests):
    """Over the switch inside of one host, then between two hosts."""
    pair = two_guests
    with nobody_complains(GUEST_IP, SMALL_IP):
        print("inside", iperf(SMALL_IP, 10, client=GUEST_IP), iperf(SMALL_IP, 10, "-R", client=GUEST_IP), "MB/s")
        pair.alpha.migrate("small", "beta", "--live")
        with frames.Sniffer(pair.alpha.tap) as of_alpha, frames.Sniffer(pair.beta.tap) as of_beta:
            print("between", iperf(SMALL_IP, 10, client=GUEST_IP), iperf(SMALL_IP, 10, "-R", client=GUEST_IP), "MB/s")
    assert of_alpha.faults == [] and of_beta.faults == []


# --- the switch -------------------------------------------------------------------------------------------------------

def port_of(segment, mac):
    """Where the bridge believes an address to be."""
    for entry in json.loads(bed.run("bridge", "-j", "fdb", "show", "br", segment.name).stdout):
        if entry["mac"] == mac and "permanent" not in entry.get("state", ""):
            return entry["ifname"]
    return None


@amd_only("a Bochs' seconds are not ours")
def test_announcement(pair, segment):
    """After a move the segment learns at once where the guest is: some RARP requests, no storm, nothing twice."""
    mac = frames.mac_bytes(WEB_MAC)

    def about_web(frame):
        return frame[6:12] == mac

    pinger = bed.Pinger(GUEST_IP)
    try:
        for source, target in ((pair.alpha, pair.beta), (pair.beta, pair.alpha)):
            with frames.Sniffer(target.tap, wanted=about_web) as seen:
                move(pair, source.name, target.name, "--live")
                assert port_of(segment, WEB_MAC) == target.tap
                time.sleep(4)
            kinds = [frame[12:14] for _, frame in seen.frames]
            assert kinds[0] == b"\x80\x35"
            times = [at for at, frame in seen.frames if frame[12:14] == b"\x80\x35"]
            assert 3 <= len(times) <= 8 and 0.5 < times[-1] - times[0] < 4
            requests = [frame for _, frame in seen.frames if frame[12:14] == b"\x80\x35"]
            assert all(frame[:6] == b"\xff" * 6 and frame[22:28] == frame[32:38] == mac for frame in requests)
            broadcasts = [frame for _, frame in seen.frames if frame[0] & 1]
            assert len(broadcasts) < 40
        with frames.Sniffer(pair.alpha.tap, wanted=lambda frame: frame[12:14] == b"\x80\x35") as seen:
            time.sleep(3)
        assert seen.frames == []
    finally:
        pinger.close()
    answers = [number for _, number, _ in pinger.answers]
    assert len(answers) == len(set(answers))


@amd_only()
def test_foreign_source_is_dropped(two_guests, segment):
    """A guest speaks with its own address only: it can neither change it nor claim another's."""
    pair = two_guests
    said = bed.run(*bed.ssh_command(SMALL_IP, f"ip link set eth0 address {WEB_MAC} 2>&1 || echo refused"), timeout=30).stdout
    assert "refused" in said
    for claimed in (WEB_MAC, frames.NODE_MAC, pair.alpha.mac, pair.beta.mac, "02:00:00:00:00:99", "00:00:00:00:00:00"):
        stolen = frames.ethernet(frames.BROADCAST, claimed, frames.ARP,
                                 frames.arp(1, claimed, GUEST_IP, "00:00:00:00:00:00", bed.NODE_IP))
        with frames.Sniffer(pair.alpha.tap, wanted=lambda frame, stolen=stolen: frame == stolen) as seen:
            bed.ssh(SMALL_IP, f"frame send {stolen.hex()} 20")
            time.sleep(0.3)
        assert seen.frames == []
    own = frames.ethernet(frames.BROADCAST, SMALL_MAC, 0x88b5, b"\0" * 46)
    with frames.Sniffer(pair.alpha.tap, wanted=lambda frame: frame == own) as seen:
        bed.ssh(SMALL_IP, f"frame send {own.hex()} 20")
        time.sleep(0.3)
    assert len(seen.frames) == 20
    assert port_of(segment, frames.NODE_MAC) is None and ping(GUEST_IP) == 5
    assert "not its own are dropped" in pair.alpha.command("dmesg")


def watch(ip, seconds, meanwhile):
    """What reaches a guest that listens to everything: {kind: frames}."""
    session = bed.SshSession(ip, f"frame watch {seconds}")
    try:
        session.wait_lines(1, 20)
        meanwhile()
        session.wait_lines(1, seconds + 20)
        return {kind: int(count) for kind, count in re.findall(r"(\w+) (\d+)", session.lines[-1][1])}
    finally:
        session.close()


@amd_only()
def test_who_gets_what(two_guests):
    """Broadcasts and multicasts reach every guest; what is for another guest or host does not."""
    pair = two_guests
    sender = frames.Sender(pair.alpha.tap)

    def test_frames():
        # The switch learns that a stranger is out there, so that nothing to it comes in again.
        stranger = "02:00:00:00:00:77"
        sender.send([frames.ethernet(frames.BROADCAST, stranger, 0x88b5, bytes(46))])
        for _ in range(300):
            sender.send([frames.ethernet(to, frames.NODE_MAC, 0x88b5, bytes(46))
                         for to in (WEB_MAC, pair.alpha.mac, stranger)])
        for _ in range(50):
            sender.send([frames.ethernet(to, frames.NODE_MAC, 0x88b5, bytes(46))
                         for to in (frames.BROADCAST, "01:00:5e:00:00:fb", "33:33:00:00:00:01")])
        iperf(GUEST_IP, 5)

    serve_iperf(GUEST_IP)
    try:
        got = watch(SMALL_IP, 6, test_frames)
    finally:
        sender.close()
    assert got["broadcast"] >= 51 and got["multicast"] >= 100
    # Linux' bridge may flood one frame to an address that it has just forgotten.
    assert got["others"] <= 2, got


# --- hostile frames ---------------------------------------------------------------------------------------------------

HOSTILE = ["truncated", "wrong_lengths", "fragments", "land", "noise", "syn_flood"]


@amd_only()
@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_frames(pair, kind):
    """The host stays up, its console answers, nothing is lost, and guests still move."""
    host = pair.alpha
    free = host.free_pages()
    received = host_frames(host)
    sender = frames.Sender(host.tap)
    try:
        sender.send(getattr(frames.Hostile(host.mac, host.ip, seed=7), kind)())
    finally:
        sender.close()
    assert host.free_pages() == free
    assert host_frames(host) - received >= sender.sent * 0.9
    bed.until(lambda: ping(host.ip) == 5, "the host to answer")     # it may have frames to look at still
    assert "ok" in bed.ssh(GUEST_IP, "echo ok")
    move(pair, "alpha", "beta", "--live")
    # A new connection to the flooded port may wait until the flood's are given up.
    move_back(pair)
    settled(host, free)


def host_frames(host):
    return int(re.search(r"^nic\s+(\d+)", host.command("net"), re.M).group(1))


def move_back(pair, patience_s=60):
    end = time.monotonic() + patience_s
    while True:
        try:
            return move(pair, "beta", "alpha", "--live")
        except bed.Trouble:
            if time.monotonic() > end:
                raise
            time.sleep(1)


# --- links ------------------------------------------------------------------------------------------------------------

@amd_only("a Bochs' NIC does not see that its link is down")
def test_half_open_connection(pair, segment):
    """The wire breaks in the middle of a move: both sides notice within ten seconds or so, and say so."""
    pair.alpha.command("fault send.rounds")
    pair.alpha.line.skip()
    pair.alpha.line.send("migrate --live web beta\r")
    pair.alpha.expect("web -> beta", 30)
    time.sleep(2)
    pair.beta.qmp("set_link", name="net0", up=False)
    begin = time.monotonic()
    try:
        pair.alpha.expect(r"web was not moved to beta: \S.*", 20)
        assert time.monotonic() - begin < 12
        wait_for("end of beta's side", lambda: "web" not in pair.beta.guests(), 12)
    finally:
        pair.beta.qmp("set_link", name="net0", up=True)
        pair.alpha.line.send("\r")
        pair.alpha.wait_prompt()
        pair.alpha.clear_faults()
    assert pair.alpha.guests()["web"] == "running"
    wait_for("answer of beta", lambda: ping(pair.beta.ip, count=1), 20)
    move(pair, "alpha", "beta", "--live")
    move(pair, "beta", "alpha", "--live")
