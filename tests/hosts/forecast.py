# SPDX-License-Identifier: Apache-2.0
"""What migrate --check says, as figures."""
import re

from basics import Trouble

CHECK = re.compile(r"(\S+) fits on (\S+)\n\s+measured: (\d+) of (\d+) MiB to send, (\d+) MB/s, (\d+) pages written in ([\d.]+ m?s)\n"
                   r"\s+live:\s+about ([\d.]+ m?s) in all, ([\d.]+ m?s) down, (\d+) rounds, (\d+) MB sent(.*)\n"
                   r"\s+offline:\s+about ([\d.]+ m?s) in all, ([\d.]+ m?s) down, (\d+) MB sent")


def seconds(text):
    number, unit = text.split()
    return float(number) / (1000 if unit == "ms" else 1)


def check(host, guest, peer, timeout=120):
    """Asks; raises Trouble with what the console said if it does not fit."""
    said = host.command(f"migrate --check {guest} {peer}", timeout)
    match = CHECK.search(said)
    if not match:
        raise Trouble(f"no forecast: {said}")
    return {"link_mb_s": int(match.group(5)), "written": int(match.group(6)),
            "live": {"total_s": seconds(match.group(8)), "downtime_ms": 1000 * seconds(match.group(9)), "rounds": int(match.group(10)),
                     "note": match.group(12)},
            "offline": {"total_s": seconds(match.group(13)), "downtime_ms": 1000 * seconds(match.group(14))}}


def ratio(a, b):
    """How many times too high or too low, whichever it is."""
    return max(a / b, b / a)
