#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""
Checks of what a guest with one CPU executed that transitions flush, and in what
order: instructions, as watch.c has written them down, not what counters say.

Each visit to the kernel, from one instruction of user mode to the next, becomes a
word of these letters:

    I R B   IBPB, the return buffer, branch history: a control flush in this order
    X       the unrestricted root is loaded
    N       the restricted root is loaded
    S       the root of another mm is loaded
    L V     L1D, VERW: a data flush in this order
    ?       a flush that belongs to none of these

Exit status: 0 as expected, 1 not, 2 could not be checked.
"""

import argparse
import bisect
import re
import subprocess
import sys

CONTROL, DATA = "IRB", "LV"
FUNCTIONS = {"asi_fill_return_buffer": "R", "clear_bhb_loop": "B", "asi_fill_l1d": "L"}
ROOTS = {"__asi_fault": "X", "asi_exit": "X", "__asi_exit": "X", "asi_load_mm": "S",
         "__asi_enter": "N", "__asi_relax": "N", "__asi_nmi_exit": "N", "__asi_enter_guest": "N"}


class CheckError(Exception):
    """Nothing is known of the guest."""


class Symbols:
    """The functions of a kernel that does not move."""

    def __init__(self, vmlinux):
        text = subprocess.run(["nm", "-n", vmlinux], check=True, capture_output=True,
                              text=True).stdout
        found = [line.split() for line in text.splitlines()]
        self.table = [(int(address, 16), name) for address, kind, name in
                      (line for line in found if len(line) == 3) if kind in "tTwW"]
        self.addresses = [address for address, _ in self.table]

    def function(self, address):
        return self.table[bisect.bisect_right(self.addresses, address) - 1][1]

    def address(self, name):
        for address, found in self.table:
            if found == name:
                return address
        raise CheckError(f"the kernel has no {name}()")


def letter(what, function):
    """Of something that was executed in a function; nothing if it is not about ASI."""
    if what == "a":
        return FUNCTIONS.get(function, "?")
    if what == "c":
        return ROOTS.get(function, "")
    if what == "w":
        if function == "write_ibpb":
            return "I"
        return "L" if function.startswith("__asi_") else ""
    if what == "v":
        return "V" if function.startswith("__asi_") else "?"
    raise CheckError(f"unknown event {what}")


def visits(lines, symbols):
    """The words of all visits that load a root or flush, as each does with KPTI, from the
    first mark to the second, and where else there was a flush."""
    words, word, marks, strange = [], "", 0, set()
    for line in lines:
        cpu, what, address = line.split()
        if cpu != "0":
            raise CheckError("more than one CPU")
        if what in "um":
            if what == "u" and marks == 1:
                words.append(word)
            word = ""
            marks += what == "m"
        else:
            function = symbols.function(int(address, 16))
            word += letter(what, function)
            if word.endswith("?"):
                strange.add(function)
    if marks != 2:
        raise CheckError(f"{marks} marks")
    return words, sorted(strange)


def wrong(word, always=False):
    """What is wrong with a visit, in the words of the tests; a set."""
    found = set()
    if always:
        rest = word.replace(CONTROL, "i").replace(DATA, "l")
        if not rest.startswith("i"):
            found.add("control")
        if not rest.endswith("l"):
            found.add("data")
        if re.search("X[^N]*$", rest):
            found.add("restricted")
        # A page fault on the first instruction of user mode is not told apart.
        if not found and not re.fullmatch("(i[XNSl]*l)+", rest):
            found.add("order")
        return found
    rest = word
    # Flushes that are whole and in their place
    rest = rest.replace(CONTROL + "X", "x")
    rest = re.sub(f"([NS]){DATA}", lambda match: match[1].lower(), rest)
    first = re.search("[Xx]", rest)
    if first and first[0] == "X":
        found.add("control")
    # NMI-like entries flush whenever they go back, __asi_enter() on the kernel's taint.
    if "N" in rest and first:
        found.add("data")
    if first and not re.search("n[^XxNL?]*$", rest):
        found.add("restricted")
    if re.search("[IRBLV?]", rest):
        found.add("order")
    return found


def self_test():
    """Each mistake is noticed, and nothing else."""
    for word, expected in (
            ("IRBXNLV", ""), ("SLV", ""), ("S", ""), ("IRBXSNLV", ""), ("IRBXNLVXNLV", ""),
            ("XNLV", "control"), ("RIBXNLV", "control order"), ("XIRBNLV", "control order"),
            ("IRBXN", "data restricted"), ("IRBXLVN", "data order restricted"),
            ("IRBXNVL", "data order restricted"), ("IRBX", "restricted"),
            ("IRBXNLVX", "restricted"), ("IRBXNLVIRB", "order"), ("IRB", "order"),
            ("SLVLV", "order"), ("?", "order"), ("IRSBXNLV", "control order")):
        if wrong(word) != set(expected.split()):
            raise CheckError(f"{word} is taken to be {' '.join(sorted(wrong(word))) or 'right'}")
    for word, expected in (
            ("IRBLV", ""), ("IRBXNLV", ""), ("IRBSLVIRBLV", ""), ("LV", "control"),
            ("", "control data"), ("IRB", "data"), ("IRBXN", "data"), ("IRBXLV", "restricted"),
            ("IRBXLVN", "data"), ("RIBLV", "control"), ("IRB?LV", "order")):
        if wrong(word, always=True) != set(expected.split()):
            raise CheckError(f"{word or 'nothing'} is misjudged with flush=always")


def counters(console):
    """How much each has grown from the first mark to the second."""
    marks = [dict(re.findall(r"(\w+)=(\d+)", line)) for line in
             re.findall(r"^mark: \w+ (.*)$", console, flags=re.M)]
    if len(marks) != 2:
        raise CheckError("the console has not what the counters were")
    return {name: int(marks[1][name]) - int(value) for name, value in marks[0].items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    add = parser.add_argument
    add("--vmlinux", required=True, help="the kernel, with symbols, booted with nokaslr")
    add("--addresses", action="store_true", help="print what watch.c is to be told, and end")
    add("--trace", help="what watch.c has written")
    add("--console", help="what the guest has said")
    add("--expect", choices=("flushed", "always", "none"), default="flushed",
        help="always is with flush=always, none for the negative control")
    options = parser.parse_args()

    try:
        symbols = Symbols(options.vmlinux)
        if options.addresses:
            print(",".join(f"at={symbols.address(name):x}" for name in FUNCTIONS))
            return 0
        self_test()
        with open(options.trace, encoding="ascii") as file:
            words, strange = visits(file, symbols)
        with open(options.console, encoding="utf-8", errors="replace") as file:
            grown = counters(file.read().replace("\r", ""))
    except (CheckError, OSError, subprocess.CalledProcessError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2

    count = {}
    for word in words:
        count[word] = count.get(word, 0) + 1
    always = options.expect == "always"
    mistakes = {what: [word for word in count if what in wrong(word, always)]
                for what in ("control", "data", "restricted", "order")}
    text = "".join(words)
    seen = {"asi_exit": text.count("X"), "asi_enter": text.count("N"),
            "asi_flush_control": text.count(CONTROL), "asi_flush_data": text.count(DATA)}
    print("TAP version 13\n1..6")
    for word, times in sorted(count.items(), key=lambda item: -item[1])[:20]:
        print(f"# {times} times {word[:200] or 'nothing'}")
    expected = options.expect != "none"
    enough = seen["asi_exit"] > 1000
    results = (
        (enough and expected != bool(mistakes["control"]),
         "predictors are flushed before the kernel is unrestricted"),
        (enough and expected != bool(mistakes["data"]),
         "buffers are flushed after it is restricted again"),
        (enough and expected != bool(mistakes["restricted"]),
         "user mode runs after that"),
        (not mistakes["order"], "no flush is somewhere else"),
        (expected == (CONTROL in text and DATA in text), "flushes were executed"),
        (all(abs(grown[name] - times) <= 2 for name, times in seen.items()),
         "counters agree with it"),
    )
    for number, (ok, name) in enumerate(results, 1):
        print(f"{'ok' if ok else 'not ok'} {number} {name}"
              + ("" if expected or number > 3 else ": noticed that it is not so"))
    for what, found in mistakes.items():
        for word in found[:5]:
            print(f"# {what}: {count[word]} times {word[:200] or 'nothing'}")
    if strange:
        print(f"# flushes in {' '.join(strange)}")
    for name, times in seen.items():
        print(f"# {name}: {times} executed, {grown[name]} counted")
    return 0 if all(ok for ok, _ in results) else 1


sys.exit(main())
