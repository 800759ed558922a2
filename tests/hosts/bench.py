#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""make bench: the figures that the project is held to, into build/bench.json and as a table next to their targets.

Instructions come from the deterministic lane (QEMU's icount, and Bochs for what begins with vmx_: the TSC counts them
exactly); the rest are times of an emulator on a shared machine, so compare ratios of one run, not seconds of two.
"""
import json
import re
import statistics
import sys
import time

import bed
import forecast

OUT = bed.BUILD / "bench"
GUEST_IP = bed.guest_ip(1)
GUEST_MIB = 256
PEERS = {"alpha": "10.77.0.1", "beta": "10.77.0.2"}
SHIFT = 3           # icount: 2^3 TSC ticks (ns) an instruction
TURNS = 50          # tests/guests/tiny/exits.asm
WRITTEN_PAGES = 4096    # tests/guests/tiny/writer.asm
IPI_TURNS = 256         # tests/guests/tiny/ipi.asm
LIVE_MOVES = 20
SMP_MOVES = 10
IDLE_GUESTS = 10
FORECASTS = 10
TARGETS = {
    "exit_cpuid_instructions": "<= 250", "exit_npf_mmio_instructions": "", "exit_port_instructions": "<= 300",
    "prompt_instructions": "", "downtime_ms_median": "<= 40", "downtime_ms_max": "", "total_s_median": "<= 1.0",
    "wire_bytes_per_used_byte": "<= 1.02", "throughput_mb_s": "", "link_tcp_mb_s": "", "throughput_ratio": ">= 0.50",
    "dirty_guest_slowdown_ratio": "", "host_bytes": "<= 8388608", "guest_overhead_bytes": "<= 1048576", "image_bytes": "",
    "own_code_lines": "about 15000", "dirty_round_instructions_idle_4gib": "<= 100000",
    "vmx_dirty_round_instructions_idle_4gib": "<= 100000", "vmx_exit_cpuid_instructions": "<= 300",
    "vmx_pml_full_exits_per_1000_dirty_pages": "about 2", "tls_throughput_ratio": ">= 0.55",
    "forecast_ratio_p90": "<= 2", "forecast_downtime_ratio_p90": "",
    "ipi_instructions": "", "vmx_ipi_instructions": "", "wakeup_us_p99": "<= 1000", "fairness_error": "",
    "downtime_ms_median_4vcpu": "", "idle_host_instructions_per_s": "",
}


class IcountHost(bed.QemuHost):
    """A machine that repeats itself instruction by instruction, and whose TSC counts them."""

    def command_line(self):
        words = super().command_line()
        words[words.index("tcg,thread=multi")] = "tcg"      # icount needs one thread
        return words + ["-icount", f"shift={SHIFT},sleep=off", "-rtc", "base=2024-01-01T00:00:00,clock=vm"]


def counting_host(segment, vendor, name, files, memory=512):
    """A machine with one CPU, and by which power of two its TSC is faster than its instructions."""
    options = {"number": 40, "smp": 1, "memory": memory, "nic": None, "files": files, "whole_firmware": True}
    place = (segment, name, "10.77.0.40", OUT / f"{name}-{vendor}")
    if vendor == "intel":
        return bed.BochsHost(*place, **options), 0
    # Without x2APIC: QEMU's TCG reads the virtual clock in WRMSR to the APIC timer, which icount forbids ("Bad icount read").
    return IcountHost(*place, cpu="max,x2apic=off", **options), SHIFT


def instructions(segment, vendor):
    """CPUID, MMIO and port exits in and out, and from the UEFI entry to the prompt."""
    files = {"exits.bin": (bed.GUEST / "exits.bin").read_bytes(),
             "exits.cfg": "name = 'exits'\nmemory = 16\nkernel = 'exits.bin'\n"}
    host, shift = counting_host(segment, vendor, "exits", files)
    try:
        host.start().wait_prompt(300)
        ready = int(re.search(r"ready (\d+) TSC ticks", host.command("dmesg")).group(1))
        host.line.send("create -c exits\r")
        host.expect("exits: done", 300)
        ticks = {name: int(value, 16) for name, value in re.findall(r"ticks (\w+) ([0-9a-f]{16})", host.line.text)}
    finally:
        host.kill()

    def per_exit(name):
        return round((ticks[name] - ticks["nothing"]) / TURNS / 2 ** shift, 1)

    return {"exit_cpuid_instructions": per_exit("cpuid"), "exit_npf_mmio_instructions": per_exit("mmio"),
            "exit_port_instructions": per_exit("port"), "prompt_instructions": ready >> shift}


def tiny_config(program, name, more="", extra=""):
    return f"name = '{name}'\nmemory = 16\nkernel = '{program}.bin'\nextra = '{extra}'\n{more}"


def ipi(segment, vendor):
    """From one vCPU to another one and back, each woken from HLT; both on the one CPU, which the service loop has too."""
    files = {"ipi.bin": (bed.GUEST / "ipi.bin").read_bytes(), "ipi.cfg": tiny_config("ipi", "ipi", "vcpus = 2\n", "x2apic")}
    host, shift = counting_host(segment, vendor, "ipi", files)
    try:
        host.start().wait_prompt(300)
        host.line.send("create -c ipi\r")
        ticks = int(host.expect(r"ipi: ticks ([0-9a-f]{16})", 300).group(1), 16)
    finally:
        host.kill()
    return {"ipi_instructions": round(ticks / IPI_TURNS / 2 ** shift)}


def wakeup(segment):
    """How late a guest is woken by its timer while another one on its CPU never stops. (A TSC tick is a nanosecond there.)"""
    files = {name: (bed.GUEST / name).read_bytes() for name in ("wake.bin", "faults.bin")}
    files |= {"wake.cfg": tiny_config("wake", "wake"), "spin.cfg": tiny_config("faults", "spin", extra="spin")}
    host, _ = counting_host(segment, "amd", "wake", files)
    try:
        host.start().wait_prompt(300)
        host.command("create spin", 300)
        host.line.send("create -c wake\r")
        host.expect("wake: done", 300)
        late = sorted(int(value, 16) for value in re.findall(r"^([0-9a-f]{16})\r?$", host.line.text, re.M))
    finally:
        host.kill()
    return {"wakeup_us_p99": round(late[len(late) * 99 // 100] / 1000, 1)}


def idle_host(segment):
    """What a host does in a second of its time for ten guests with a stock kernel that do nothing. In Bochs: under icount QEMU delivers
    an interrupt twice now and then, and a guest spins for ever (docs/status.md)."""
    if bed.why_no_bochs():
        return {}
    files = {f"idle{n}.cfg": bed.guest_config(f"idle{n}", 112, 80 + n, extra="ip=none") for n in range(IDLE_GUESTS)}
    host = bed.BochsHost(segment, "idle", "10.77.0.40", OUT / "idle", number=40, smp=1, memory=1536, nic=None, files=files)

    def busy_ns():
        return map(int, re.search(r"^0: busy (\d+) ns at (\d+) ns", host.command("cpus", 600), re.M).groups())

    try:
        host.start().wait_prompt(300)
        for n in range(IDLE_GUESTS):
            host.line.send(f"create -c idle{n}\r")
            host.expect("godwit-guest: ready", 600)
            host.line.send("\x1d")
            host.wait_prompt(600)
        time.sleep(5)
        busy, at = busy_ns()
        time.sleep(10)
        busy_then, at_then = busy_ns()
    finally:
        host.kill()
    return {"idle_host_instructions_per_s": round((busy_then - busy) / (at_then - at) * host.ips)}


def fairness(segment):
    """Two guests that never stop, weights 1:2, on one CPU: by how much the ratio of their times is off, in per cent."""
    files = {"faults.bin": (bed.GUEST / "faults.bin").read_bytes(), "light.cfg": tiny_config("faults", "light", "weight = 128\n", "spin"),
             "heavy.cfg": tiny_config("faults", "heavy", "weight = 256\n", "spin")}
    host = bed.host(segment, "fair", "10.77.0.43", OUT / "fair", number=43, smp=2, memory=512, files=files)

    def times():
        return {name: float(seconds) for name, seconds in re.findall(r"^(\w+)\s+\d+\s+\d+\s+\d+\s+([\d.]+)\s+running", host.command("list"), re.M)}

    try:
        host.start().wait_prompt()
        for name in ("light", "heavy"):
            host.command(f"create {name}")
        begin = bed.until(lambda: len(now := times()) == 2 and now, "both guests to start")
        bed.until(lambda: times()["light"] - begin["light"] >= 10, "ten seconds of the lighter guest", 300)
        end = times()
    finally:
        host.kill()
    return {"fairness_error": round(abs((end["heavy"] - begin["heavy"]) / (end["light"] - begin["light"]) / 2 - 1) * 100, 2)}


def smp_moves(segment):
    """An idle guest with four vCPUs on two CPUs, to and fro."""
    hosts = {}
    try:
        for number, (name, ip) in enumerate(PEERS.items(), 1):
            hosts[name] = bed.host(segment, name, ip, OUT / f"{name}-smp", number=number, peers=PEERS, smp=3,
                                   files={"web.cfg": bed.guest_config(vcpus=4, plain=True)}).start()
        for host in hosts.values():
            host.wait_prompt()
        hosts["alpha"].command("create web")
        bed.wait_guest(GUEST_IP)
        return {"downtime_ms_median_4vcpu": moves(hosts, SMP_MOVES)["downtime_ms_median"]}
    finally:
        for host in hosts.values():
            host.kill()


def dirty_rounds(segment, vendor):
    """What collecting the dirty log costs: of a 4 GiB guest that writes nothing, and for each page that it wrote."""
    files = {"writer.bin": (bed.GUEST / "writer.bin").read_bytes(),
             "writer.cfg": "name = 'writer'\nmemory = 4096\nkernel = 'writer.bin'\n"}
    host, shift = counting_host(segment, vendor, "writer", files, memory=5120)

    def dirty_round():
        said = host.command("dirty round writer", 300)
        pages, ticks, full = map(int, re.search(r"(\d+) pages, (\d+) TSC ticks, (\d+) exits", said).groups())
        return pages, ticks >> shift, full

    try:
        host.start().wait_prompt(300)
        host.command("create writer", 300)
        host.command("dirty start writer", 300)
        for _ in range(3):      # what was written before, and what its skipping needs to be sure
            dirty_round()
        _, idle, full_before = dirty_round()
        host.line.send("console writer\r")
        host.expect("console of")
        host.line.send("x")
        host.expect("writer: written", 300)
        host.line.send("\x1d")
        host.wait_prompt()
        pages, cost, full = dirty_round()
        host.command("dirty stop writer", 300)
    finally:
        host.kill()
    if pages < WRITTEN_PAGES:
        raise bed.Trouble(f"the guest wrote {WRITTEN_PAGES} pages, and {pages} were found")
    return {"dirty_round_instructions_per_written_page": round((cost - idle) / pages, 1),
            "dirty_round_instructions_idle_4gib": idle,
            "pml_full_exits_per_1000_dirty_pages": round((full - full_before) * 1000 / pages, 2)}


def vmx_figures(segment):
    """The same in Bochs, whose TSC counts instructions."""
    if why := bed.why_no_bochs():
        print(f"bench: {why}", flush=True)
        return {}
    print("bench: instructions of VT-x, in Bochs (some minutes)", flush=True)
    found = {**instructions(segment, "intel"), **dirty_rounds(segment, "intel"), **ipi(segment, "intel")}
    return {**{f"vmx_{name}": value for name, value in found.items()}, **handshake(segment)}


def handshake(segment):
    """What a TLS handshake computes, both ends together. In Bochs, as QEMU's machines that count have no network."""
    files = {"race.cfg": "name = 'race'\nmemory = 16\nkernel = 'race.bin'\n", "race.bin": (bed.GUEST / "race.bin").read_bytes()}
    peers = {"client": "10.77.0.41", "server": "10.77.0.42"}
    hosts = {name: bed.BochsHost(segment, name, ip, OUT / name, number=41 + n, memory=512, peers=peers, files=files)
             for n, (name, ip) in enumerate(peers.items())}
    try:
        for host in hosts.values():
            host.start()
        for host in hosts.values():
            host.wait_prompt()
        hosts["client"].command("create --paused race")
        hosts["client"].migrate("race", "server", verify=False)
        ticks = [int(re.search(r"last handshake: (\d+) TSC", host.command("tls")).group(1)) for host in hosts.values()]
    finally:
        for host in hosts.values():
            host.kill()
    return {"handshake_instructions": sum(ticks)}


def used_bytes(ip):
    """
    What the guest itself says it uses: all of its memory, its kernel's too (which MemTotal leaves out), but what is free.
    What it has freed and not wiped still has to be sent: that is what the ratio is above 1.
    """
    info = dict(re.findall(r"(\w+):\s+(\d+) kB", bed.ssh(ip, "cat /proc/meminfo")))
    return GUEST_MIB * 2 ** 20 - int(info["MemFree"]) * 1024


def moves(hosts, count):
    """The idle guest to and fro; every move's downtime is the longest gap that a ping each millisecond sees."""
    downtimes, totals, rates, wires = [], [], [], []
    pinger = bed.Pinger(GUEST_IP, 0.001)
    try:
        for turn in range(count):
            source, target = (("alpha", "beta"), ("beta", "alpha"))[turn % 2]
            used = used_bytes(GUEST_IP) if turn < 2 else None
            time.sleep(0.5)
            begin = time.time()
            figures = hosts[source].migrate("web", target, "--live", verify=False)
            time.sleep(0.5)
            downtimes.append(pinger.gap_ms(begin))
            totals.append(figures["total_s"])
            rates.append(figures["sent_mb"] / figures["total_s"])
            if used:
                wires.append(figures["sent_mb"] * 1e6 / used)
            print(f"  move {turn + 1}: ping saw {downtimes[-1]:.1f} ms, Godwit says {figures['downtime_ms']} ms, "
                  f"{figures['total_s']} s, {figures['sent_mb']} MB", flush=True)
    finally:
        pinger.close()
    return {"downtime_ms_median": round(statistics.median(downtimes), 1), "downtime_ms_max": round(max(downtimes), 1),
            "total_s_median": statistics.median(totals), "wire_bytes_per_used_byte": round(statistics.median(wires), 3),
            "idle_move_mb_s": round(statistics.median(rates), 1)}


def forecasts(hosts):
    """
    A check, and then the move: by how much the forecast total was too high or too low, in nine of ten cases; likewise the
    pause. Of the guest when it is idle, and while it writes 2,000 pages a second.
    """
    totals, downtimes = [], []
    writer = None
    try:
        for turn in range(FORECASTS):
            if turn == FORECASTS // 2:
                writer = bed.SshSession(GUEST_IP, "dirty 2000 64")
                writer.wait_lines(2)
            source, target = (("alpha", "beta"), ("beta", "alpha"))[turn % 2]
            said = forecast.check(hosts[source], "web", target)["live"]
            was = hosts[source].migrate("web", target, "--live", verify=False)
            totals.append(forecast.ratio(said["total_s"], was["total_s"]))
            downtimes.append(forecast.ratio(said["downtime_ms"], was["downtime_ms"]))
            print(f"  forecast {turn + 1}: {said['total_s']} s in all, {said['downtime_ms']:.0f} ms down, {said['rounds']} rounds; "
                  f"was: {was['total_s']} s, {was['downtime_ms']} ms, {was['rounds']}", flush=True)
    finally:
        if writer:
            writer.close()
    return {"forecast_ratio_p90": round(sorted(totals)[int(0.9 * FORECASTS) - 1], 2),
            "forecast_downtime_ratio_p90": round(sorted(downtimes)[int(0.9 * FORECASTS) - 1], 2)}


def throughput(hosts):
    """Offline, a guest whose memory is full of random bytes: sent per second, encrypted and in the clear."""
    bed.ssh(GUEST_IP, "mount -t tmpfs -o size=140M t /tmp 2>/dev/null; head -c 130000000 /dev/urandom > /tmp/fill", timeout=200)
    rates = {True: [], False: []}
    for turn in range(8):
        encrypted = turn % 4 < 2
        for host in hosts.values():
            host.command("fault --clear" if encrypted else "fault peers.plain")
        source, target = (("alpha", "beta"), ("beta", "alpha"))[turn % 2]
        figures = hosts[source].migrate("web", target, verify=False)
        rates[encrypted].append(figures["sent_mb"] / figures["total_s"])
    for host in hosts.values():
        host.command("fault --clear")
    bed.ssh(GUEST_IP, "rm /tmp/fill")
    encrypted, plain = (round(statistics.median(rates[which]), 1) for which in (True, False))
    return {"throughput_mb_s": encrypted, "plain_throughput_mb_s": plain, "tls_throughput_ratio": round(encrypted / plain, 3)}


SLOWDOWN_TURNS = 4


def dirty_slowdown(hosts):
    """A guest that writes memory all the time: its work per second while its rounds are copied / while it is not moved.

    By turns, as the machine that all of this runs on is not equally fast all the time.
    """
    alpha = hosts["alpha"]
    session = bed.SshSession(GUEST_IP, "dirty 0")
    rates = {False: [], True: []}

    def measure(moving):
        session.wait_lines(1)       # its second began before
        seen = len(session.lines)
        session.wait_lines(3)
        for _, text in session.lines[seen:]:
            if match := re.search(r"(\d+) pages in (\d+) ms", text):
                rates[moving].append(int(match.group(1)) / int(match.group(2)))

    try:
        session.wait_lines(4)       # warm
        for _ in range(SLOWDOWN_TURNS):
            measure(False)
            alpha.command("fault send.final")      # stay in the rounds
            alpha.command("fault send.full-speed")
            alpha.line.send("migrate --live web beta\r")
            alpha.expect("round 1", 60)
            measure(True)
            alpha.line.send("\x03")
            alpha.expect("was not moved", 60)
            alpha.wait_prompt()
            alpha.command("fault --clear")
        return round(statistics.median(rates[True]) / statistics.median(rates[False]), 3)
    finally:
        session.close()


LINUX_EXTRA = "console=ttyS0 ip={ip}/24 hostname={name}"


def link_tcp(segment):
    """Plain TCP between two Linux machines on the same emulated NIC and bridge (one CPU: with two, TCG stalls Linux's RCU)."""
    machines = []
    try:
        for number, name in ((50, "linux1"), (51, "linux2")):
            tap = f"tap-{name}"
            segment.add_tap(tap)
            words = [bed.qemu_program(), "-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "1", "-m", "512",
                     "-nodefaults", "-display", "none", "-kernel", bed.GUEST / "vmlinuz", "-initrd", bed.GUEST / "initrd.img",
                     "-append", LINUX_EXTRA.format(ip=f"10.77.0.{number}", name=name), "-serial", f"file:{OUT}/{name}.log",
                     "-netdev", f"tap,id=n,ifname={tap},script=no,downscript=no",
                     "-device", f"virtio-net-pci,netdev=n,mac=52:54:00:77:05:{number:02x},romfile="]
            machines.append((tap, bed.spawn(words)))
        for number in (50, 51):
            bed.wait_guest(f"10.77.0.{number}")
        server = bed.SshSession("10.77.0.51", "iperf3 -s -1 --forceflush")
        server.wait_lines(1)
        text = bed.ssh("10.77.0.50", "iperf3 -c 10.77.0.51 -t 8 -J", timeout=90)
        server.close()
        return round(json.loads(text)["end"]["sum_received"]["bits_per_second"] / 8e6, 1)
    finally:
        for tap, process in machines:
            process.kill()
            process.wait()
            segment.remove_tap(tap)


def memory(host):
    """What the hypervisor takes of the machine with no guest, and what a guest takes beside its own memory."""
    log = host.command("dmesg")
    host_bytes = int(re.search(r"hypervisor holds (\d+) bytes", log).group(1))
    before = host.free_pages()
    host.command("create web")
    overhead = (before - host.free_pages()) * 4096 - GUEST_MIB * 2 ** 20
    return {"host_bytes": host_bytes, "guest_overhead_bytes": overhead}


def main():
    bed.enter_namespace()
    OUT.mkdir(parents=True, exist_ok=True)
    segment = bed.Segment()
    figures = {"image_bytes": bed.EFI.stat().st_size,
               "own_code_lines": int(bed.run(bed.TOP / "tools/code_lines").stdout.split()[-1])}
    hosts = {}
    try:
        print("bench: instructions, in the deterministic lane", flush=True)
        figures.update(instructions(segment, "amd"))
        figures.update(dirty_rounds(segment, "amd"))
        del figures["pml_full_exits_per_1000_dirty_pages"]      # SVM lists no pages
        figures.update(ipi(segment, "amd"))
        figures.update(wakeup(segment))
        figures.update(vmx_figures(segment))
        print("bench: plain TCP between two Linux machines", flush=True)
        figures["link_tcp_mb_s"] = link_tcp(segment)
        print("bench: memory, and moves of an idle Debian guest", flush=True)
        for number, (name, ip) in enumerate(PEERS.items(), 1):
            hosts[name] = bed.host(segment, name, ip, OUT / name, number=number, peers=PEERS, whole_firmware=True,
                                   files={"web.cfg": bed.guest_config(plain=True)}).start()
        for host in hosts.values():
            host.wait_prompt()
        figures.update(memory(hosts["alpha"]))
        bed.wait_guest(GUEST_IP)
        figures.update(moves(hosts, LIVE_MOVES))
        print("bench: forecasts, and the moves that followed", flush=True)
        figures.update(forecasts(hosts))
        print("bench: throughput and slowdown", flush=True)
        figures.update(throughput(hosts))
        figures["throughput_ratio"] = round(figures["throughput_mb_s"] / figures["link_tcp_mb_s"], 3)
        figures["dirty_guest_slowdown_ratio"] = dirty_slowdown(hosts)
        for host in hosts.values():
            host.kill()
        print("bench: shares, a guest with four vCPUs, ten idle guests (some minutes)", flush=True)
        figures.update(fairness(segment))
        figures.update(smp_moves(segment))
        figures.update(idle_host(segment))
    except Exception:
        for host in hosts.values():
            print(host.logs())
        raise
    finally:
        for host in hosts.values():
            host.kill()
        (bed.BUILD / "bench.json").write_text(json.dumps(figures, indent=2) + "\n")
    width = max(map(len, figures))
    print(f"\n  {'figure'.ljust(width)}  {'measured':>14}  target")
    for name, value in figures.items():
        print(f"  {name.ljust(width)}  {value!s:>14}  {TARGETS.get(name, '')}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
