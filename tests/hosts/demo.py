#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""make demo [VENDOR=intel]: two hosts, a Debian guest, an open ssh session, and four moves that the session does not notice.

Ends with "demo: PASS", or "demo: FAIL" and why (exit status to match). Logs: build/demo/.
"""
import sys
import threading
import time

import bed

OUT = bed.BUILD / "demo"
GUEST_IP = bed.guest_ip(1)
PEERS = {"alpha": "10.77.0.1", "beta": "10.77.0.2"}
MOVES = [("live", "alpha", "beta"), ("live", "beta", "alpha"), ("live", "alpha", "beta"), ("offline", "beta", "alpha")]
TAKES = {"amd": "about half a minute", "intel": "three minutes on an idle machine, eight on a busy one: Bochs interprets "
         "every instruction, and its seconds (total, down) are not ours (gap)"}
MEMORY_MIB = {"amd": 256, "intel": 128}
INK = sys.stdout.isatty()


def say(text):
    print(text, flush=True)


def bold(text):
    return f"\x1b[1m{text}\x1b[0m" if INK else text


class Narrator:
    """Shows a host's migration line while it goes."""

    def __init__(self, host):
        self.host = host
        self.start = len(host.line.text)
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._follow)
        self.thread.start()

    def _follow(self):
        shown = ""
        while not self.done.wait(0.1 if INK else 1):
            lines = self.host.line.text[self.start:].splitlines()
            lines = [line.strip() for line in lines if " -> " in line]
            if lines and lines[-1] != shown:
                shown = lines[-1]
                print(f"\r\x1b[K      {shown}" if INK else f"      {shown}", end="" if INK else "\n", flush=True)
        if INK and shown:
            print("\r\x1b[K", end="", flush=True)

    def stop(self):
        self.done.set()
        self.thread.join()


def move(kind, source, target, pinger):
    say(f"  {bold(source.prompt)}migrate {'--live ' if kind == 'live' else ''}web {target.name}")
    begin = time.time()
    narrator = Narrator(source)
    try:
        figures = source.migrate("web", target.name, *(["--live"] if kind == "live" else []), verify=False)
    finally:
        narrator.stop()
    say(f"      web runs on {target.name}: {figures['total_s']} s in all, {figures['downtime_ms']} ms down, "
        f"{figures['rounds']} round{'s' if figures['rounds'] > 1 else ''}, {figures['sent_mb']} MB sent for {figures['memory_mib']} MiB")
    return begin, figures


def table(rows):
    head = ["move", "kind", "total", "down (Godwit)", "gap (ping)", "rounds", "sent", "ssh session"]
    cells = [head] + rows
    widths = [max(len(str(row[i])) for row in cells) for i in range(len(head))]
    for number, row in enumerate(cells):
        text = "  ".join(str(cell).ljust(width) for cell, width in zip(row, widths))
        say("  " + (bold(text) if number == 0 else text))


def story(hosts, things):
    alpha, beta = hosts["alpha"], hosts["beta"]
    begin = time.monotonic()
    for host in hosts.values():
        host.start()
    for host in hosts.values():
        host.wait_prompt()
    say(f"  both hosts are at their prompts after {time.monotonic() - begin:.1f} s")
    say(f"  {bold(alpha.prompt)}create web")
    alpha.command("create web")
    alpha.line.send("console web\r")
    alpha.expect(r"godwit-guest: ready", 180)
    alpha.line.send("\x1d")
    alpha.wait_prompt()
    bed.wait_guest(GUEST_IP)
    kernel = bed.ssh(GUEST_IP, "cat /proc/version").split("(")[0].strip()
    say(f"  the guest is up: {kernel}, an unmodified Debian kernel, on {alpha.name}")
    session = bed.SshSession(GUEST_IP)
    pinger = bed.Pinger(GUEST_IP)
    things += [session, pinger]
    session.wait_lines(5)
    say(f"  an ssh session to {GUEST_IP} counts aloud, and ping asks every 10 ms\n")
    rows = []
    for number, (kind, source, target) in enumerate(MOVES, 1):
        at, figures = move(kind, hosts[source], hosts[target], pinger)
        session.wait_lines(10)
        alive = session.unbroken()
        say(f"      ssh: {session.lines[-1][1]}\n")
        rows.append([f"{number}. {source} -> {target}", kind, f"{figures['total_s']} s", f"{figures['downtime_ms']} ms",
                     f"{pinger.gap_ms(at):.0f} ms", figures["rounds"], f"{figures['sent_mb']} MB",
                     "survived" if alive else "BROKEN"])
        if not alive:
            raise bed.Trouble(f"the ssh session broke in move {number}: {[text for _, text in session.lines[-5:]]}")
        if "web" not in hosts[target].guests() or "web" in hosts[source].guests():
            raise bed.Trouble(f"after move {number} the guest is not where it should be")
    table(rows)
    say(f"\n  the session counted {len(session.numbers())} numbers, none lost or twice, and the clock never stepped back")


def main(vendor):
    if vendor == "intel" and (why := bed.why_no_bochs()):
        say(f"demo: FAIL {why}")
        return 1
    bed.enter_namespace()
    kind = bed.VENDORS[vendor]
    say(bold("Godwit demo") + f": two emulated machines (alpha, beta; {kind.EXTENSION} in {kind.EMULATOR}), each with "
        f"{kind.SMP} CPU{'s' if kind.SMP > 1 else ''} and 1 GiB, on one Ethernet segment; it takes {TAKES[vendor]}")
    things, hosts = [], {}
    started = time.monotonic()
    verdict = "PASS"
    try:
        segment = bed.Segment()
        for number, (name, ip) in enumerate(PEERS.items(), 1):
            hosts[name] = bed.host(segment, name, ip, OUT / name, vendor, number=number, peers=PEERS, whole_firmware=True,
                                   files={"web.cfg": bed.guest_config(memory=MEMORY_MIB[vendor], plain=True)})
        story(hosts, things)
    except KeyboardInterrupt:
        verdict = "FAIL interrupted"
    except Exception as why:  # whatever it is, the newcomer gets one verdict and the logs
        verdict = f"FAIL {type(why).__name__ if not isinstance(why, bed.Trouble) else ''} {why}"
        for host in hosts.values():
            say(host.logs())
    finally:
        for thing in things:
            thing.close()
        for host in hosts.values():
            host.kill()
    say(f"\n  logs: {OUT.relative_to(bed.TOP)}/*/serial.log ({time.monotonic() - started:.0f} s)")
    say(f"demo: {verdict}")
    return 0 if verdict == "PASS" else 1


if __name__ == "__main__":
    sys.exit(main(bed.vendor_argument()))
