#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""
Checks from outside a guest that SMT siblings are stunned.

In the guest, which runs "siblings", all CPUs make transitions and are in user mode
in between, or run a guest of their own, and go and come back, for as long as this takes,
and send each other non-maskable interrupts. This program stops it at random instants through
the QEMU monitor, and sends the first CPU some more of these. A CPU must never be seen in
user mode, or running a guest, while a sibling is in the kernel with the unrestricted root
loaded, unless an interrupt is pending that it has to take before its next instruction, or
the sibling is on its way down or up. And all of the guest has to go on.

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
PE = 1 << 0                 # of CR0: clear in real mode, in which are guests of the guest
NMIS = 0.2                  # of samples, how many come with one
STANDS_STILL = 120          # seconds, in which the guest's clock has to advance


def pending(monitor, cpu):
    """Is a CPU about to take the interrupt?"""
    text = monitor.execute("human-monitor-command", **{"command-line": f"info lapic {cpu}"})
    requested = re.search(r"^IRR\s+(.*)$", text, flags=re.M)
    if not requested:
        raise CheckError("info lapic has no IRR")
    return str(RESCHEDULE) in requested.group(1).split()


def tell(monitor):
    """Say where all CPUs are, three times."""
    for _ in range(3):
        for command in ("info registers -a", *(f"info lapic {cpu}" for cpu, *_ in
                                               monitor.registers())):
            text = monitor.execute("human-monitor-command", **{"command-line": command})
            for line in re.findall(r"^CPU#.*|^RIP.*|^CR0.*|^GS .*|^I[RS]R.*|^.*ICR.*", text,
                                   flags=re.M):
                print(f"# {line.strip()}")
        monitor.execute("cont")
        time.sleep(1)
        monitor.execute("stop")


class Page:
    """What the guest says of itself."""

    WORDS = ("magic", "seconds", "gone", "cycles", "stops", "shootdowns", "stuns", "ns",
             "longest", "nmis", "asked", "probed", "tainted")
    MAGIC = int.from_bytes(b"siblings", "little")

    def __init__(self, monitor, address):
        self.monitor = monitor
        self.address = address
        self.advanced = time.monotonic()
        self.seconds = 0

    def read(self):
        """Takes all its words; the guest may be stopped."""
        before = self.seconds
        text = self.monitor.execute("human-monitor-command", **{
            "command-line": f"xp /{len(self.WORDS)}gx {self.address:#x}"})
        for word, value in zip(self.WORDS, re.findall(r"0x([0-9a-f]{16})\b", text)):
            setattr(self, word, int(value, 16))
        if self.magic != self.MAGIC:
            raise CheckError("the guest's page is not there")
        if self.seconds != before:
            self.advanced = time.monotonic()
        elif time.monotonic() - self.advanced > STANDS_STILL:
            tell(self.monitor)
            raise CheckError(f"the guest stands still after {self.seconds} s")


def what_runs(cpl, cr0, cr3, gone):
    """What a CPU runs. It comes up in real mode, too."""
    if not cr0 & PE:
        return "firmware" if gone else "a guest"
    if cpl == 3:
        return "user mode"
    return "the kernel" if cr3 & ROOT else "unrestricted"


def beside(cores, page):
    """Yields each CPU with an unrestricted sibling, that, and what the first runs."""
    for threads in cores:
        for cpu, what in threads:
            for other, other_what in threads:
                if (what in ("user mode", "a guest") and other_what == "unrestricted"
                        and not page.gone >> other & 1):
                    yield cpu, other, what


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    add = parser.add_argument
    add("--qmp", required=True, metavar="SOCKET", help="the QEMU monitor")
    add("--page", required=True, metavar="ADDRESS", type=lambda text: int(text, 16),
        help="the physical one that the guest has said")
    add("--threads", type=int, required=True, help="of a core")
    add("--samples", type=int, default=3000, help="how often to stop the guest (%(default)s)")
    add("--seconds", type=int, default=0, help="of guest time, if that takes longer")
    add("--pause", type=float, default=0.005, help="longest between samples (%(default)s)")
    add("--expect", choices=("clean", "leak"), default="clean",
        help="leak is for the negative control")
    options = parser.parse_args()

    print("TAP version 13", flush=True)
    samples = unrestricted = called = nmis = 0
    seen = {"user mode": 0, "a guest": 0}
    together = {"user mode": [], "a guest": []}
    try:
        monitor = Monitor(options.qmp)
        page = Page(monitor, options.page)
        page.read()
        while samples < options.samples or page.seconds < options.seconds:
            time.sleep(random.uniform(0, options.pause))
            if random.random() < NMIS:
                monitor.execute("inject-nmi")
                nmis += 1
            monitor.execute("stop")
            samples += 1
            page.read()
            cpus = [(cpu, what_runs(cpl, cr0, cr3, page.gone >> cpu & 1))
                    for cpu, cpl, cr0, cr3, _ in monitor.registers()]
            cores = [cpus[i:i + options.threads] for i in range(0, len(cpus), options.threads)]
            for what in seen:
                seen[what] += what in dict(cpus).values()
            unrestricted += any(what == "unrestricted" and not page.gone >> cpu & 1
                                for cpu, what in cpus)
            for cpu, other, what in beside(cores, page):
                if pending(monitor, cpu):
                    called += 1
                else:
                    together[what].append((cpu, other))
            monitor.execute("cont")
    except CheckError as error:
        print(f"Bail out! {error}")
        return 2

    print(f"# {samples} samples of {len(cores)} cores: {seen['user mode']} with user mode, "
          f"{seen['a guest']} with guests, {unrestricted} with unrestricted CPUs, "
          f"{called} about to be called in")
    print(f"# {page.seconds} s of guest time, {page.cycles} times a CPU went and came back, "
          f"{page.stops} times all were stopped, {page.shootdowns} shootdowns, {nmis} NMIs, "
          f"{page.nmis} or more to each CPU, {page.probed - page.asked} of which have read")
    if page.stuns:
        print(f"# {page.stuns} times a CPU had to wait, for "
              f"{page.ns / page.stuns / 1000:.0f} us on average, "
              f"{page.longest / 1000:.0f} us at most")
    leak = options.expect == "leak"
    tests = [(unrestricted > 0, "there were unrestricted CPUs")]
    for what, found in together.items():
        first = f", first CPU {found[0][0]} beside {found[0][1]}" if found else ""
        tests += [(seen[what] > 0, f"there was {what}"),
                  (bool(found) == leak, f"{what} was seen beside one {len(found)} times{first}")]
    tests.append((all((page.cycles, page.stops, page.shootdowns, nmis)) and
                  page.nmis > 2 and page.probed > page.asked,
                  "CPUs came and went, were stopped, and got shootdowns and NMIs"))
    tests.append((bool(page.tainted) == leak, "the kernel has warned of something" if leak else
                  "the kernel has not warned of anything"))
    if not leak:
        tests.append((page.stuns > 0, "CPUs waited for siblings"))
        # Who is unrestricted has waited until they came, but for one that is on its way out.
        tests.append((called <= 3 + unrestricted // 100,
                      f"{called} of them were about to be called in, with {unrestricted} looks "
                      "at unrestricted CPUs"))
    print(f"1..{len(tests)}")
    for number, (well, name) in enumerate(tests, 1):
        print(("ok" if well else "not ok") + f" {number} siblings: {name}")
    return 0 if all(well for well, _ in tests) else 1


if __name__ == "__main__":
    sys.exit(main())
