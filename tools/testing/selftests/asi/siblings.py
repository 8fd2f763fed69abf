#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""
Checks from outside a guest that SMT siblings are stunned.

In the guest, which runs "stun load" with KPTI off, all CPUs make transitions and
are in user mode in between. This program stops it at random instants through the
QEMU monitor. A CPU must never be seen in user mode while a sibling is in the kernel
with the unrestricted root loaded, unless an interrupt is pending that it has to take
before its next instruction.

Exit status: 0 as expected, 1 not, 2 could not be checked.
"""

import argparse
import random
import re
import sys
import time

from outside import CheckError, Monitor

RESCHEDULE = 0xfd           # the vector
ROOT = 3 << 12              # of CR3: 0 is unrestricted


def pending(monitor, cpu):
    """Is a CPU about to take the interrupt?"""
    text = monitor.execute("human-monitor-command", **{"command-line": f"info lapic {cpu}"})
    requested = re.search(r"^IRR\s+(.*)$", text, flags=re.M)
    if not requested:
        raise CheckError("info lapic has no IRR")
    return str(RESCHEDULE) in requested.group(1).split()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    add = parser.add_argument
    add("--qmp", required=True, metavar="SOCKET", help="the QEMU monitor")
    add("--threads", type=int, required=True, help="of a core")
    add("--samples", type=int, default=3000, help="how often to stop the guest (%(default)s)")
    add("--expect", choices=("clean", "leak"), default="clean",
        help="leak is for the negative control")
    options = parser.parse_args()

    print("TAP version 13\n1..3", flush=True)
    user = unrestricted = called = 0
    together = []
    try:
        monitor = Monitor(options.qmp)
        for _ in range(options.samples):
            time.sleep(random.uniform(0, 0.005))
            monitor.execute("stop")
            cores = {}
            for cpu, cpl, cr3, _ in monitor.registers():
                cores.setdefault(cpu // options.threads, []).append((cpu, cpl, cr3))
            for threads in cores.values():
                out = [cpu for cpu, cpl, _ in threads if cpl == 3]
                inside = [cpu for cpu, cpl, cr3 in threads if cpl == 0 and not cr3 & ROOT]
                user += bool(out)
                unrestricted += bool(inside)
                for cpu in out if inside else []:
                    if pending(monitor, cpu):
                        called += 1
                    else:
                        together.append((cpu, inside))
            monitor.execute("cont")
    except CheckError as error:
        print(f"Bail out! {error}")
        return 2

    print(f"# {options.samples} samples of {len(cores)} cores: {user} in user mode, "
          f"{unrestricted} unrestricted, {called} about to be called in")
    good = [user > 0, unrestricted > 0,
            bool(together) == (options.expect == "leak")]
    first = f", first CPU {together[0][0]} beside {together[0][1]}" if together else ""
    for number, (well, name) in enumerate(zip(good, (
            "there was user mode", "there were unrestricted CPUs",
            f"user mode was seen beside one {len(together)} times{first}")), 1):
        print(("ok" if well else "not ok") + f" {number} siblings: {name}")
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
