#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""make run [VENDOR=intel]: the demo's two hosts with their consoles in tmux, for playing. Ctrl-b d leaves; both machines then end."""
import shutil
import subprocess
import sys

import bed

OUT = bed.BUILD / "run"
PEERS = {"alpha": "10.77.0.1", "beta": "10.77.0.2"}


def main(vendor):
    if not shutil.which("tmux"):
        sys.exit("make run needs tmux: tools/setup installs it (as root), or: apt install tmux")
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        sys.exit("make run wants a terminal")
    if vendor == "intel" and (why := bed.why_no_bochs()):
        sys.exit(f"make run: {why}")
    bed.enter_namespace()
    segment = bed.Segment()
    shutil.rmtree(OUT, ignore_errors=True)
    commands = []
    for number, (name, ip) in enumerate(PEERS.items(), 1):
        files = {"web.cfg": bed.guest_config(plain=True), "db.cfg": bed.guest_config("db", 128, 2, plain=True)}
        host = bed.host(segment, name, ip, OUT / name, vendor, number=number, peers=PEERS, files=files, whole_firmware=True)
        commands.append(host.terminal_command())
    tmux = ["tmux", "-L", "godwit", "-f", "/dev/null"]
    hint = ("create web; console web (Ctrl-] leaves); migrate --live web beta | "
            f"here: ssh -i {bed.GUEST.relative_to(bed.TOP)}/id_ed25519 root@{bed.guest_ip(1)} | Ctrl-b d ends all")
    subprocess.run([*tmux, "new-session", "-d", "-s", "godwit", commands[0], ";", "set", "-g", "status-left-length", "200", ";",
                    "set", "-g", "status-left", hint, ";", "split-window", "-h", commands[1], ";", "split-window", "-v",
                    "-l", "8", ";", "select-pane", "-t", "0"], check=True)
    subprocess.run([*tmux, "attach"])
    subprocess.run([*tmux, "kill-server"])
    return 0


if __name__ == "__main__":
    sys.exit(main(bed.vendor_argument()))
