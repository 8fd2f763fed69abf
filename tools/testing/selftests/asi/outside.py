#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""
Checks from outside a guest what untrusted code inside it could reach.

In the guest, which runs outside-guest.sh, plant has left secrets in memory of
every kind and sleeps, and spin keeps every CPU in user mode, or in system calls
that need no sensitive memory. This program, on the host, stops the guest at
random instants through the QEMU monitor, takes CR3 of every CPU, walks the page
tables in the guest's RAM, and looks for frames that hold a secret. It asks
nothing of the guest's kernel.

The guest's RAM must be a file, shared with QEMU, and below 2 GiB so that an
offset in it is a physical address:

  -object memory-backend-file,id=ram,size=1G,mem-path=FILE,share=on
  -machine memory-backend=ram -qmp unix:SOCKET,server=on,wait=off

With KPTI the tables of user mode are nearly empty, and the check would pass
for the wrong reason: what is walked is the tables that the kernel is entered
in. With ASI these are the restricted ones, whose root follows from that of
user mode: the roots of a process are in one block of 16 KiB, chosen by bits
13:12 of CR3 (00 unrestricted, 10 restricted, 11 user mode under KPTI).

Of a CPU that is in the kernel the tables are walked that are loaded, unless they
are unrestricted, as they may be there. It does not matter whose they are: those
of a process, those that an idle CPU has kept, or those that kernel text is
patched through. Only those of plant may map its secrets, and these no CPU has
loaded any more once spin is ready. User mode and kernel are judged separately. What was
freed may be mapped in the kernel for the moment in which it is cleared for its next owner.

spin runs KVM guests as well, if it can. The tables that the kernel has loaded when it
handles an exit of one (01) may not even map what spin itself has in memory ("vmm").
While code of such a guest runs, CR3 is its own; what the CPU goes back to is what it
had loaded before. That has to be seen often enough by itself.

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
from collections import Counter, defaultdict

# Of plant.c. Spelled in pieces, so that no page cache of this file holds it
# should it ever be copied into a guest.
MAGIC = bytes.fromhex("538dc17e2af4960b") + bytes.fromhex("e9355ca817d260bf")
CIGAM = bytes(0xff - byte for byte in MAGIC)
TAG_SIZE = 64

KINDS = ("anon huge shanon tmpfs ext4 disk rawdisk ramdisk memfd sysvshm posixshm hugetlb "
         "secret guest gmem ksm moved uffd pipe unix unixbig dgram netlink tcp collapse "
         "zerocopy udp fragment xdp raw ping pktqueue tun vsock tty zswap msgq mqueue key "
         "uring packet perf fpu regs freed vmm").split()

# What ASI does not keep secret yet: kernel stacks, and the registers of user
# mode that are saved on them.
KNOWN_GAPS = ["regs"]

# With ASI on and marks ignored (asi_break=nomark), these may still come from
# slabs, be in buffers, or have been moved to blocks, that were sensitive before.
OBJECTS = {"msgq", "mqueue", "key", "tty", "moved", "collapse", "fragment"}

# What the kernel may map for a moment, to clear it, and how often to look whether it was
# for a moment.
CLEARED = {"freed"}
LOOKS_AGAIN = 50

# What needs a search of all RAM is done every so often.
SEARCHES = 20

# Not in the direct map of the kernel's own address space either, with ASI or
# without. What was a part of the kernel image and is free has a second mapping,
# and is ordinary memory without marks.
NEVER_MAPPED = {"secret"}
IMAGE = 0xffffffff80000000

# What a CPU is doing when it is looked at, and how to say so.
MODES = {"user": "in user mode", "kernel": "in the kernel", "guest": "at a guest"}

# What a CPU goes back to that runs a guest
HOST = "host of a guest"

# What the processes that spin have, which may be mapped where they run themselves.
OWN = {"vmm"}

PAGE = 4096
LARGE = 2 << 20
ADDRESS = 0x000ffffffffff000
PRESENT = 1
LEAF = 1 << 7
OTHER_ROOTS = 0x4000
CR4_LA57 = 1 << 12

# In a VMCB, see the AMD64 Architecture Programmer's Manual, volume 2, appendix B.
SAVED_EFER = 0x4d0
SAVED_CR3 = 0x550
EFER_SVME = 1 << 12


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
        """Yields (cpu, CPL, CR0, CR3, CR4) of every CPU."""
        text = self.execute("human-monitor-command",
                            **{"command-line": "info registers -a"})
        for part in re.split(r"^CPU#", text, flags=re.M)[1:]:
            yield (int(re.match(r"\d+", part).group()),
                   int(re.search(r"\bCPL=(\d)", part).group(1)),
                   int(re.search(r"\bCR0=([0-9a-f]+)", part).group(1), 16),
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
            # The magic alone may be what registers held that were saved.
            if self.bytes[at + 32:at + 48] == CIGAM:
                name = self.bytes[at + 16:at + 24].rstrip(b"\0")
                yield at, name.decode("ascii", "replace")
            at = self.bytes.find(MAGIC, at + TAG_SIZE // 2, end)

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

    def word(self, at):
        return int.from_bytes(self.bytes[at:at + 8], "little")

    def find(self, what):
        """Yields where in RAM that is."""
        for start, end in self.populated():
            at = start - 1
            while (at := self.bytes.find(what, at + 1, end)) >= 0:
                yield at

    def still_holds(self, frame):
        start = frame * PAGE
        return next(self.tags(start, start + PAGE), None) is not None


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


def roots(cpl, cr3, asi, pti):
    """
    What a CPU is doing, and which tables to walk for it: none if it is in the
    kernel and unrestricted. Entry code that is still on the tables of user mode,
    or is there again, counts as that.
    """
    base = cr3 & ADDRESS
    mode = "user" if cpl == 3 else "kernel"
    if asi:
        choice = base >> 12 & 3
        block = base & ~0x3fff
        if choice == 0:
            return mode, [("unrestricted", base)] if mode == "user" else []
        if choice == 1:
            return "guest" if mode == "kernel" else mode, [("guest", base)]
        if choice == 2:
            return mode, [("restricted", base)]
        return "user", [("user", base), ("restricted", block | 0x2000)]
    if pti and base & 0x1000:
        return "user", [("user", base), ("kernel", base & ~0x1000)]
    return mode, [("kernel", base)]


class Tally:
    """What has been seen of one kind of memory."""

    def __init__(self):
        self.frames = 0         # the most that were ever planted at a time
        self.samples = Counter()    # of each mode, in which it was planted
        self.mapped = Counter()     # samples in which some of it was mapped
        self.alias = None       # where it was mapped first


class Check:
    """Takes samples and keeps count."""

    def __init__(self, options):
        self.options = options
        self.monitor = Monitor(options.qmp)
        self.ram = Ram(options.ram)
        self.tables = Tables(self.ram)
        self.tally = {kind: Tally() for kind in options.kinds}
        self.guests = bool(OWN & set(options.kinds))
        self.modes = [mode for mode in MODES if mode != "guest" or self.guests]
        self.roots = Counter()
        self.loaded = defaultdict(set)  # CPU: each CR3 with which it may enter a guest
        self.searched = Counter()   # CPU: how often that has been looked for
        self.levels = 4         # of the guest's kernel
        self.saved = {}         # CPU: where CR3 of the host is while spin's guest runs
        self.looks = 0          # at a guest of which some tables were walked
        self.samples = Counter()    # of each mode: looks at a CPU in it
        self.cpus = Counter()       # the same, but CPUs
        self.unrestricted = 0   # CPUs in the kernel whose tables were not walked
        self.cleared = 0        # frames that the kernel was seen to clear
        self.most_tables = 0

    def views(self):
        """The tables to walk now: {(mode, root, levels): (name, CPU)}."""
        views = {}
        for cpu, cpl, _cr0, cr3, cr4 in self.monitor.registers():
            mode, walk = roots(cpl, cr3, self.options.asi, self.options.pti)
            levels = 5 if cr4 & CR4_LA57 else 4
            # It is spin's guest, which has no tables.
            if not cr3 & ADDRESS:
                mode, walk = "guest", []
                root = self.host_root(cpu)
                if root:
                    levels, walk = self.levels, [(HOST, root)]
            else:
                self.levels = levels
            # To walk them takes much longer than to look where a CPU is.
            if walk and self.has_enough(mode):
                continue
            for name, root in walk:
                if name == ("guest" if self.options.asi else "kernel"):
                    self.loaded[cpu].add(cr3)
                views.setdefault((mode, root, levels), (name, cpu))
                self.roots[name] += 1
            if walk:
                self.cpus[mode] += 1
            else:
                self.unrestricted += 1
        return views

    def fewest(self):
        """How often what is seen least has been seen: tables of CPUs in the kernel, of
        such on the guest root, and of CPUs that run a guest."""
        seen = [self.samples["kernel"]]
        if self.guests:
            seen.append(self.roots[HOST])
        if self.guests and self.options.asi:
            seen.append(self.roots["guest"])
        return min(seen)

    def has_enough(self, mode):
        return self.samples[mode] >= self.options.samples and \
            (mode != "guest" or self.fewest() >= self.options.kernel_samples)

    def host_root(self, cpu):
        """
        What a CPU that runs spin's guest will be on after its exit, or None if that cannot
        be told. QEMU has SVM save the host as it is laid out in a VMCB, in a page of the
        CPU that is not known, but for what CR3 can be there: with ASI, each CPU has two sets
        of roots, side by side.
        """
        self.searched[cpu] += cpu not in self.saved
        if cpu not in self.saved and self.searched[cpu] % SEARCHES == 1:
            seen = self.loaded[cpu]
            if self.options.asi:
                seen = seen | {cr3 ^ OTHER_ROOTS for cr3 in seen}
            found = [at for cr3 in seen for at in self.ram.find(cr3.to_bytes(8, "little"))
                     if at % PAGE == SAVED_CR3 and
                     self.ram.word(at - SAVED_CR3 + SAVED_EFER) & EFER_SVME]
            if len(found) == 1:
                self.saved[cpu] = found[0]
        if cpu not in self.saved:
            return None
        return self.ram.word(self.saved[cpu]) & ADDRESS

    def sample(self):
        """One look at the stopped guest."""
        views = self.views()
        if not views:
            return
        if self.looks % self.options.scan_every == 0:
            self.ram.scan()
        self.looks += 1
        secrets = {frame: kinds for frame, kinds in self.ram.secrets.items()
                   if self.ram.still_holds(frame)}
        planted = Counter(kind for kinds in secrets.values() for kind in kinds)
        mapped, seen = {}, {}
        for view in views:
            seen[view], tables = self.tables.find(*view[1:], secrets)
            self.most_tables = max(self.most_tables, tables)
        for (mode, root, levels), (name, cpu) in views.items():
            found = seen[mode, root, levels]
            if mode == "kernel" and self.options.expect == "clean":
                found = self.stay(found, root, levels, secrets)
            for frame, address in found.items():
                for kind in secrets[frame]:
                    mapped.setdefault((mode, kind), (address, frame, name, cpu))
        for mode in {mode for mode, _, _ in views}:
            self.samples[mode] += 1
            for kind, tally in self.tally.items():
                tally.frames = max(tally.frames, planted[kind])
                tally.samples[mode] += kind in planted
                tally.mapped[mode] += (mode, kind) in mapped
                if mode in self.judged(kind):
                    tally.alias = tally.alias or mapped.get((mode, kind))

    def stay(self, found, root, levels, secrets):
        """Without the frames that these tables map to clear them only."""
        passing = {frame for frame in found if secrets[frame] <= CLEARED}
        for _ in range(LOOKS_AGAIN):
            if not passing:
                break
            self.monitor.execute("cont")
            time.sleep(0.1)
            self.monitor.execute("stop")
            passing = self.tables.find(root, levels, passing)[0].keys()
        stays = {frame: address for frame, address in found.items()
                 if frame in passing or not secrets[frame] <= CLEARED}
        self.cleared += len(found) - len(stays)
        return stays

    def judged(self, kind):
        """The modes in which no tables may map it."""
        if kind not in OWN:
            return self.modes
        return ["guest"] if self.options.asi else ["kernel", "guest"]

    def run(self):
        deadline = time.monotonic() + self.options.timeout
        shown = time.monotonic()
        while not self.has_enough("user") or self.fewest() < self.options.kernel_samples:
            if time.monotonic() > deadline:
                raise CheckError(f"only {dict(self.samples)} samples, {dict(self.roots)} in "
                                 f"{self.options.timeout} seconds")
            time.sleep(random.uniform(0, self.options.pause))
            self.monitor.execute("stop")
            try:
                self.sample()
            finally:
                self.monitor.execute("cont")
            if time.monotonic() - shown > 30:
                shown = time.monotonic()
                print(f"# {self.samples['user']} of {self.options.samples} samples",
                      flush=True)

    def report(self):
        """Prints the results; returns how many are not as expected."""
        print(f"1..{len(self.tally) + 1}")
        print(f"# {self.looks} looks, at most {self.most_tables} page tables walked")
        for mode in self.modes:
            print(f"# {self.cpus[mode]} CPUs {MODES[mode]}")
        print(f"# {self.unrestricted} CPUs in the kernel, unrestricted")
        print(f"# {self.cleared} frames seen while they were cleared")
        for name, count in sorted(self.roots.items()):
            print(f"# root {name}: {count} times")
        enough = self.fewest() >= self.options.kernel_samples
        print(f"{'' if enough else 'not '}ok 1 samples: "
              + ", ".join(f"{self.samples[mode]} {MODES[mode]}" for mode in self.modes)
              + f" ({self.roots[HOST]} while it runs)" * self.guests
              + f", of at least {self.options.kernel_samples}")
        failed = not enough
        for number, (kind, tally) in enumerate(self.tally.items(), 2):
            good, seen = self.judge(kind, tally)
            failed += not good
            print(("ok " if good else "not ok ")
                  + f"{number} {kind}: {tally.frames} frames planted, {seen}")
        return failed

    def judge(self, kind, tally):
        """Whether what has been seen of a kind is as expected, and what that is."""
        modes = self.judged(kind)
        if not all(tally.samples[mode] for mode in modes):
            return False, "so nothing was checked"
        seen = "mapped in " + " and ".join(
            f"{tally.mapped[mode]} of {tally.samples[mode]} samples {MODES[mode]}"
            for mode in modes)
        if tally.alias:
            address, frame, name, cpu = tally.alias
            seen += (f", first at {address:#x} (frame {frame:#x}, CPU {cpu}, "
                     f"{name} tables)")
        if self.options.expect == "clean":
            if tally.alias and kind in self.options.allow:
                return True, seen + " # XFAIL known gap"
            return not tally.alias, seen
        if all(bool(tally.mapped[mode]) == (kind not in NEVER_MAPPED) for mode in modes):
            return True, seen
        if tally.alias and tally.alias[0] >= IMAGE:
            return True, seen + " # SKIP is memory of the image"
        if self.options.asi and kind in OBJECTS:
            return True, seen + " # SKIP may be older than the break"
        return False, seen


def words(text):
    return [word for word in re.split(r"[,\s]+", text) if word]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--qmp", required=True, metavar="SOCKET",
                        help="the QEMU monitor")
    parser.add_argument("--ram", required=True, metavar="FILE",
                        help="the guest's RAM")
    parser.add_argument("--samples", type=int, default=1000,
                        help="how often to see a CPU in user mode (%(default)s)")
    parser.add_argument("--kernel-samples", type=int, default=100, metavar="SAMPLES",
                        help="at how many samples at least one CPU has to be in the "
                        "kernel, restricted if there is ASI, on the guest root, "
                        "and in a guest (%(default)s)")
    parser.add_argument("--expect", choices=("clean", "leak"), default="clean",
                        help="leak is for the negative control")
    parser.add_argument("--asi", choices=("on", "off"), default="on")
    parser.add_argument("--pti", choices=("on", "off"), default="off",
                        help="matters with --asi off only")
    parser.add_argument("--kinds", type=words, default=KINDS,
                        help="what plant and spin said that they planted")
    parser.add_argument("--allow", type=words, default=KNOWN_GAPS,
                        help="kinds not kept secret yet (%(default)s)")
    parser.add_argument("--pause", type=float, default=0.02, metavar="SECONDS",
                        help="longest time between samples (%(default)s)")
    parser.add_argument("--scan-every", type=int, default=25, metavar="SAMPLES",
                        help="how often to scan all of RAM (%(default)s)")
    parser.add_argument("--timeout", type=float, default=1800, metavar="SECONDS")
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
