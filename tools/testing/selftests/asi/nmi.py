#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""
Injects non-maskable interrupts or machine checks into a guest at random
instants, for storm.

A machine check that finds the last one of its CPU not yet handled resets the
guest. Whether it has been handled is seen by what that CPU does: storm counts
its rounds in memory, 32 bytes a CPU, and says at which physical address.

Exit status: 0 if the guest was there all the time, 2 otherwise.
"""

import argparse
import random
import sys
import time

from outside import CheckError, Monitor

# Valid, uncorrected, enabled; and deferred, so that AMD's rules see nothing to
# do. Nor do Intel's: it is not said to have been signalled, and is "uncorrected
# no action required". There is no address, so no memory is given up.
BANK = 9
STATUS = 1 << 63 | 1 << 61 | 1 << 60 | 1 << 44

# In progress, on this CPU alone, with an instruction pointer to go on at.
MCG_STATUS = 0xf


class Interrupts:
    """Non-maskable ones, to all CPUs."""

    def __init__(self, monitor):
        self.monitor = monitor

    def inject(self):
        self.monitor.execute("inject-nmi")
        return 1


class MachineChecks:
    """To one CPU at a time, chosen at random."""

    def __init__(self, monitor, counters):
        self.monitor = monitor
        self.counters = counters
        self.cpus = len(monitor.execute("query-cpus-fast"))
        self.last = {}              # cpu: its rounds right after the last one

    def ask(self, line):
        return self.monitor.execute("human-monitor-command",
                                    **{"command-line": line}).strip()

    def rounds(self, cpu):
        answer = self.ask(f"xp /1gx {self.counters + 32 * cpu:#x}")
        return int(answer.split()[-1], 16)

    def inject(self):
        cpu = random.randrange(self.cpus)
        if self.last.get(cpu) == self.rounds(cpu):
            return 0
        answer = self.ask(f"mce {cpu} {BANK} {STATUS:#x} {MCG_STATUS:#x} 0 0")
        if answer:
            raise CheckError(answer)
        self.last[cpu] = self.rounds(cpu)
        return 1


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0].strip())
    parser.add_argument("--qmp", required=True, metavar="SOCKET",
                        help="the QEMU monitor")
    parser.add_argument("--machine-checks", metavar="ADDRESS",
                        type=lambda text: int(text, 16),
                        help="inject these; where storm counts")
    parser.add_argument("--count", type=int, help="how many at most")
    parser.add_argument("--seconds", type=float, default=5,
                        help="how long at most (%(default)s)")
    parser.add_argument("--pause", type=float, default=0.01,
                        help="longest time between two (%(default)s)")
    options = parser.parse_args()
    count = 0
    try:
        monitor = Monitor(options.qmp)
        if options.machine_checks is None:
            source = Interrupts(monitor)
        else:
            source = MachineChecks(monitor, options.machine_checks)
        deadline = time.monotonic() + options.seconds
        while time.monotonic() < deadline and count != options.count:
            count += source.inject()
            time.sleep(random.uniform(0, options.pause))
    except (CheckError, OSError) as error:
        print(f"{error}", file=sys.stderr)
        return 2
    finally:
        print(f"# {count} injected")
    return 0


if __name__ == "__main__":
    sys.exit(main())
