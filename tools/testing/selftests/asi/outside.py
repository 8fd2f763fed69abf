#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""
Checks from outside a guest what untrusted code inside it could reach.

In the guest, which runs outside-guest.sh, plant has left secrets in memory of
every kind and sleeps, and spin keeps every CPU in user mode. This program, on
the host, stops the guest at random instants through the QEMU monitor, takes CR3
of every CPU that is in user mode, walks the page tables in the guest's RAM, and
looks for frames that hold a secret. It asks nothing of the guest's kernel.

The guest's RAM must be a file, shared with QEMU, and below 2 GiB so that an
offset in it is a physical address:

  -object memory-backend-file,id=ram,size=1G,mem-path=FILE,share=on
  -machine memory-backend=ram -qmp unix:SOCKET,server=on,wait=off

With KPTI the tables of user mode are nearly empty, and the check would pass
for the wrong reason: what is walked is the tables that the kernel is entered
in. With ASI these are the restricted ones, whose root follows from that of
user mode: the roots of a process are in one block of 16 KiB, chosen by bits
13:12 of CR3 (00 unrestricted, 10 restricted, 11 user mode under KPTI).

Exit status: 0 as expected, 1 not, 2 could not be checked.
"""

import argparse
import array
import json
import mmap
import os
import random
import re
import socket
import sys
import time

# Of plant.c. Spelled in pieces, so that no page cache of this file holds it
# should it ever be copied into a guest.
MAGIC = bytes.fromhex("538dc17e2af4960b") + bytes.fromhex("e9355ca817d260bf")
TAG_SIZE = 32

KINDS = ("anon huge shanon tmpfs ext4 disk memfd sysvshm posixshm hugetlb secret "
         "pipe unix unixbig dgram netlink tcp udp tty zswap msgq key "
         "uring packet perf fpu regs freed").split()

# What ASI does not keep secret yet: kernel stacks, and the registers of user
# mode that are saved on them.
KNOWN_GAPS = ["regs"]

# With ASI on and marks ignored (asi_break=nomark), these may still come from
# slabs, or be in buffers, that were sensitive before.
OBJECTS = {"msgq", "key", "tty"}

# Not in the direct map of the kernel's own address space either, with ASI or
# without. What was a part of the kernel image and is free has a second mapping,
# and is ordinary memory without marks.
NEVER_MAPPED = {"secret"}
IMAGE = 0xffffffff80000000

PAGE = 4096
LARGE = 2 << 20
ADDRESS = 0x000ffffffffff000
PRESENT = 1
LEAF = 1 << 7
PCID = 0xfff
CR4_LA57 = 1 << 12


class CheckError(Exception):
    """The check cannot be made; says nothing about the guest."""


class Monitor:
    """The QEMU monitor, as far as it is needed."""

    def __init__(self, path, patience=10):
        deadline = time.monotonic() + patience
        while True:
            self.socket = socket.socket(socket.AF_UNIX)
            try:
                self.socket.connect(path)
                break
            except OSError as error:
                self.socket.close()
                if time.monotonic() > deadline:
                    raise CheckError(f"{path}: {error.strerror}") from error
                time.sleep(0.1)
        self.file = self.socket.makefile("rw")
        self.receive()
        self.execute("qmp_capabilities")

    def receive(self):
        line = self.file.readline()
        if not line:
            raise CheckError("the guest has gone")
        return json.loads(line)

    def execute(self, command, **arguments):
        message = {"execute": command}
        if arguments:
            message["arguments"] = arguments
        self.file.write(json.dumps(message) + "\n")
        self.file.flush()
        while True:
            answer = self.receive()
            if "error" in answer:
                raise CheckError(f"{command}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]

    def registers(self):
        """Yields (cpu, CPL, CR3, CR4) of every CPU."""
        text = self.execute("human-monitor-command",
                            **{"command-line": "info registers -a"})
        for part in re.split(r"^CPU#", text, flags=re.M)[1:]:
            yield (int(re.match(r"\d+", part).group()),
                   int(re.search(r"\bCPL=(\d)", part).group(1)),
                   int(re.search(r"\bCR3=([0-9a-f]+)", part).group(1), 16),
                   int(re.search(r"\bCR4=([0-9a-f]+)", part).group(1), 16))


class Ram:
    """The guest's physical memory, and where in it there are secrets."""

    def __init__(self, path):
        try:
            self.fd = os.open(path, os.O_RDONLY)
            self.size = os.fstat(self.fd).st_size
            self.bytes = mmap.mmap(self.fd, self.size, prot=mmap.PROT_READ)
        except (OSError, ValueError) as error:
            raise CheckError(f"{path}: {error}") from error
        self.secrets = {}       # frame number: set of kinds

    def populated(self):
        """Yields the parts of the file that are not holes."""
        end = 0
        while end < self.size:
            try:
                start = os.lseek(self.fd, end, os.SEEK_DATA)
            except OSError:
                return
            end = os.lseek(self.fd, start, os.SEEK_HOLE)
            yield start, end

    def tags(self, start, end):
        """Yields (offset, kind) of the tags in a part of RAM."""
        at = self.bytes.find(MAGIC, start, end)
        while at >= 0:
            name = self.bytes[at + 16:at + 24].rstrip(b"\0")
            yield at, name.decode("ascii", "replace")
            at = self.bytes.find(MAGIC, at + TAG_SIZE, end)

    def scan(self):
        """Looks for secrets everywhere."""
        self.secrets = {}
        for start, end in self.populated():
            at = start
            while at < end:
                # One tag for each kind in a page is enough to know.
                found = next(self.tags(at, end), None)
                if not found:
                    break
                page = found[0] & -PAGE
                kinds = {kind for _, kind in self.tags(found[0], page + PAGE)
                         if kind in KINDS}
                if kinds:
                    self.secrets[page // PAGE] = kinds
                at = page + PAGE

    def still_holds(self, frame):
        start = frame * PAGE
        return self.bytes.find(MAGIC, start, start + PAGE) >= 0


class Tables:
    """Walks page tables; remembers those that have not changed."""

    def __init__(self, ram):
        self.ram = ram
        self.known = {}         # (address, level): (content, leaves, tables)

    def parse(self, address, level):
        """
        Returns the entries of one table, as ({frame: index}, [(index, table)]).

        What is remembered is compared with what is there now, so it is never
        out of date. It holds only what the 4 KiB themselves say.
        """
        if address + PAGE > self.ram.size:
            raise CheckError(f"page table at {address:#x}, beyond RAM")
        content = self.ram.bytes[address:address + PAGE]
        known = self.known.get((address, level))
        if known and known[0] == content:
            return known[1], known[2]
        leaves, tables = {}, []
        for index, entry in enumerate(array.array("Q", content)):
            if not entry & PRESENT:
                continue
            if level == 1:
                leaves.setdefault((entry & ADDRESS) // PAGE, index)
            elif level <= 3 and entry & LEAF:
                size = 1 << (9 * (level - 1))
                frame = (entry & ADDRESS) // PAGE // size
                leaves.setdefault(frame, index)
            else:
                tables.append((index, entry & ADDRESS))
        self.known[(address, level)] = content, leaves, tables
        return leaves, tables

    def find(self, root, levels, secrets):
        """
        Returns {frame: virtual address} of the secret frames that the tables
        map, and how many tables there were.
        """
        by_size = {1: {frame: [frame] for frame in secrets}, 2: {}, 3: {}}
        for frame in secrets:
            by_size[2].setdefault(frame >> 9, []).append(frame)
            by_size[3].setdefault(frame >> 18, []).append(frame)
        found, seen = {}, set()
        todo = [(root, levels, 0)]
        while todo:
            address, level, base = todo.pop()
            # A table may be used many times over, as that of KASAN's zeroes.
            if (address, level) in seen:
                continue
            seen.add((address, level))
            leaves, tables = self.parse(address, level)
            shift = 12 + 9 * (level - 1)
            if level <= 3:
                for leaf in leaves.keys() & by_size[level].keys():
                    start = base + (leaves[leaf] << shift)
                    for frame in by_size[level][leaf]:
                        inside = frame % (1 << (9 * (level - 1))) * PAGE
                        found.setdefault(frame, start + inside)
            for index, table in tables:
                todo.append((table, level - 1, base + (index << shift)))
        return {frame: canonical(at, levels) for frame, at in found.items()}, \
            len(seen)


def canonical(address, levels):
    bits = 12 + 9 * levels
    if address >> (bits - 1) & 1:
        address |= -1 << bits & (1 << 64) - 1
    return address


def roots(cr3, asi, pti):
    """Which tables to walk for a CPU that is in user mode with this CR3."""
    base = cr3 & ADDRESS
    if asi:
        choice = base >> 12 & 3
        block = base & ~0x3fff
        if choice == 0:
            return [("unrestricted", base)]
        if choice == 2:
            return [("restricted", base)]
        if choice == 3:
            return [("user", base), ("restricted", block | 0x2000)]
        raise CheckError(f"CR3 is {cr3:#x}, which no process should have")
    if pti:
        return [("user", base), ("kernel", base & ~0x1000)]
    return [("kernel", base)]


class Tally:
    """What has been seen of one kind of memory."""

    def __init__(self):
        self.frames = 0         # the most that were ever planted at a time
        self.samples = 0        # in which it was planted
        self.mapped = 0         # samples in which some of it was mapped
        self.alias = None       # where it was mapped first


class Check:
    """Takes samples and keeps count."""

    def __init__(self, options):
        self.options = options
        self.monitor = Monitor(options.qmp)
        self.ram = Ram(options.ram)
        self.tables = Tables(self.ram)
        self.tally = {kind: Tally() for kind in options.kinds}
        self.roots = {}
        self.samples = 0
        self.views = 0
        self.most_tables = 0

    def sample(self):
        """One look at the stopped guest. Returns whether any CPU was in user mode."""
        views = {}
        for cpu, cpl, cr3, cr4 in self.monitor.registers():
            if cpl != 3:
                continue
            levels = 5 if cr4 & CR4_LA57 else 4
            for name, root in roots(cr3, self.options.asi, self.options.pti):
                views.setdefault((root, levels), (name, cpu))
                self.roots[name] = self.roots.get(name, 0) + 1
            self.views += 1
        if not views:
            return False
        if self.samples % self.options.scan_every == 0:
            self.ram.scan()
        secrets = {frame: kinds for frame, kinds in self.ram.secrets.items()
                   if self.ram.still_holds(frame)}
        planted = {}
        for kinds in secrets.values():
            for kind in kinds:
                planted[kind] = planted.get(kind, 0) + 1
        mapped = {}
        for (root, levels), (name, cpu) in views.items():
            found, tables = self.tables.find(root, levels, secrets)
            self.most_tables = max(self.most_tables, tables)
            for frame, address in found.items():
                for kind in secrets[frame]:
                    mapped.setdefault(kind, (address, frame, name, cpu))
        for kind, tally in self.tally.items():
            tally.frames = max(tally.frames, planted.get(kind, 0))
            tally.samples += kind in planted
            tally.mapped += kind in mapped
            if not tally.alias and kind in mapped:
                tally.alias = mapped[kind]
        self.samples += 1
        return True

    def run(self):
        deadline = time.monotonic() + self.options.timeout
        shown = time.monotonic()
        while self.samples < self.options.samples:
            if time.monotonic() > deadline:
                raise CheckError(f"only {self.samples} samples in "
                                 f"{self.options.timeout} seconds")
            time.sleep(random.uniform(0, self.options.pause))
            self.monitor.execute("stop")
            try:
                self.sample()
            finally:
                self.monitor.execute("cont")
            if time.monotonic() - shown > 30:
                shown = time.monotonic()
                print(f"# {self.samples} of {self.options.samples} samples",
                      flush=True)

    def report(self):
        """Prints the results; returns how many are not as expected."""
        failed = 0
        print(f"1..{len(self.tally)}")
        print(f"# {self.samples} samples, {self.views} CPUs in user mode, "
              f"at most {self.most_tables} page tables walked")
        for name, count in sorted(self.roots.items()):
            print(f"# root {name}: {count} times")
        for number, (kind, tally) in enumerate(self.tally.items(), 1):
            line = f"{number} {kind}: {tally.frames} frames planted, "
            if tally.alias:
                address, frame, name, cpu = tally.alias
                seen = (f"mapped in {tally.mapped} of {tally.samples} samples, "
                        f"first at {address:#x} (frame {frame:#x}, CPU {cpu}, "
                        f"{name} tables)")
            else:
                seen = f"mapped in none of {tally.samples} samples"
            if not tally.samples:
                good, seen = False, "so nothing was checked"
            elif self.options.expect == "clean":
                good = not tally.mapped
                if not good and kind in self.options.allow:
                    good, seen = True, seen + " # XFAIL known gap"
            else:
                good = bool(tally.mapped) == (kind not in NEVER_MAPPED)
                if not good and tally.alias and tally.alias[0] >= IMAGE:
                    good, seen = True, seen + " # SKIP is memory of the image"
                if not good and self.options.asi and kind in OBJECTS:
                    good, seen = True, seen + " # SKIP may be older than the break"
            failed += not good
            print(("ok " if good else "not ok ") + line + seen)
        return failed


def words(text):
    return [word for word in re.split(r"[,\s]+", text) if word]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--qmp", required=True, metavar="SOCKET",
                        help="the QEMU monitor")
    parser.add_argument("--ram", required=True, metavar="FILE",
                        help="the guest's RAM")
    parser.add_argument("--samples", type=int, default=1000,
                        help="how often to stop the guest (%(default)s)")
    parser.add_argument("--expect", choices=("clean", "leak"), default="clean",
                        help="leak is for the negative control")
    parser.add_argument("--asi", choices=("on", "off"), default="on")
    parser.add_argument("--pti", choices=("on", "off"), default="off",
                        help="matters with --asi off only")
    parser.add_argument("--kinds", type=words, default=KINDS,
                        help="what plant said that it planted")
    parser.add_argument("--allow", type=words, default=KNOWN_GAPS,
                        help="kinds not kept secret yet (%(default)s)")
    parser.add_argument("--pause", type=float, default=0.02, metavar="SECONDS",
                        help="longest time between samples (%(default)s)")
    parser.add_argument("--scan-every", type=int, default=25, metavar="SAMPLES",
                        help="how often to scan all of RAM (%(default)s)")
    parser.add_argument("--timeout", type=float, default=3600, metavar="SECONDS")
    options = parser.parse_args()
    options.asi = options.asi == "on"
    options.pti = options.pti == "on"
    unknown = set(options.kinds + options.allow) - set(KINDS)
    if unknown:
        parser.error("unknown kind " + ", ".join(sorted(unknown)))
    return options


def main():
    options = arguments()
    print("TAP version 13", flush=True)
    try:
        check = Check(options)
        check.run()
    except CheckError as error:
        print(f"Bail out! {error}")
        return 2
    return 1 if check.report() else 0


if __name__ == "__main__":
    sys.exit(main())
