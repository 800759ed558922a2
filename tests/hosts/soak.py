#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""make soak [VENDOR=intel]: hundreds of moves under load (SOAK_MOVES, 300), live and offline, with a memory checker and an open session."""
import os
import sys
import time

import bed

OUT = bed.BUILD / "soak"
GUEST_IP = bed.guest_ip(1)
PEERS = {"alpha": "10.77.0.1", "beta": "10.77.0.2"}


def main(vendor):
    bed.enter_namespace()
    segment = bed.Segment()
    hosts = {name: bed.host(segment, name, ip, OUT / name, vendor, number=number, peers=PEERS,
                            files={"web.cfg": bed.guest_config(plain=True)}).start()
             for number, (name, ip) in enumerate(PEERS.items(), 1)}
    sessions = []
    try:
        for host in hosts.values():
            host.wait_prompt()
        hosts["alpha"].command("create web")
        bed.wait_guest(GUEST_IP)
        free = None
        sessions = [bed.SshSession(GUEST_IP, command) for command in ("count", "memcheck 48", "dirty 1000")]
        begin = time.monotonic()
        moves = int(os.environ.get("SOAK_MOVES", "300"))
        for turn in range(moves):
            source, target = (("alpha", "beta"), ("beta", "alpha"))[turn % 2]
            figures = hosts[source].migrate("web", target, *(["--live"] if turn % 5 else []), timeout=300)
            for session in sessions:
                session.wait_lines(1)
            now = hosts[source].free_pages()
            if turn == 1:
                free = now
            if turn > 1 and turn % 2 == 1 and now != free:
                raise bed.Trouble(f"after {turn + 1} moves {source} has {now} free pages, it had {free}")
            print(f"move {turn + 1}/{moves}: {figures['total_s']} s, {figures['downtime_ms']} ms down, {figures['rounds']} rounds, "
                  f"{figures['verified_pages']} pages verified in {figures['verify_ms']} ms",
                  flush=True)
        wrong = [text for _, text in sessions[1].lines if "BAD" in text]
        if wrong or not sessions[0].unbroken():
            raise bed.Trouble(f"memory or session broke: {wrong[:3]} {sessions[0].lines[-3:]}")
        print(f"soak: PASS, {moves} moves in {time.monotonic() - begin:.0f} s")
        return 0
    except bed.Trouble as why:
        for host in hosts.values():
            print(host.logs())
        print(f"soak: FAIL {why}")
        return 1
    finally:
        for session in sessions:
            session.close()
        for host in hosts.values():
            host.kill()


if __name__ == "__main__":
    sys.exit(main(bed.vendor_argument()))
