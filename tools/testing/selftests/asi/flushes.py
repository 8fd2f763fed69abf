#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""
Checks of what a guest executed that transitions flush, and in what order:
instructions, as watch.c has written them down, not what counters say.

Each visit of a CPU to the kernel, from one instruction of user mode to the next,
becomes a word of these letters:

    T       SMT siblings are stunned: before the control flush, or they train again
    Z       they are released: after the data flush
    I R B   IBPB, the return buffer, branch history: a control flush in this order
    X       the unrestricted root is loaded
    N       the restricted root is loaded
    E       the guest root is loaded
    P       the restricted root instead of the guest root
    S       the root of another mm is loaded
    L V     L1D, VERW: a data flush in this order
    W       a window is closed onto what may be others'
    G H     a guest of KVM runs, and has run
    ( )     what an NMI does, or another exception that is handled like one
    M       the root that it has found, by the end of such a one
    ?       a flush that belongs to none of these

What KVM flushes for itself is left out.

Exit status: 0 as expected, 1 not, 2 could not be checked.
"""

import argparse
import bisect
import re
import subprocess
import sys
from collections import Counter

CONTROL, DATA = "IRB", "LV"
FUNCTIONS = {"asi_fill_return_buffer": "R", "clear_bhb_loop": "B", "asi_fill_l1d": "L",
             "__asi_nmi_enter": "(", "__asi_nmi_exit": ")", "asi_taint_window": "W",
             "__asi_stun": "T", "__asi_release": "Z"}
ROOTS = {"__asi_fault": "X", "asi_exit": "X", "__asi_exit": "X", "asi_load_mm": "S",
         "__asi_enter": "N", "__asi_relax": "N", "__asi_nmi_exit": "M",
         "__asi_enter_guest": "E", "asi_leave_guest_root": "P"}
BARRIER = "write_ibpb"
KVM = {"kvm_arch_vcpu_load": "I", "__svm_vcpu_run": "V"}
PRED_CMD, FLUSH_CMD = 0x49, 0x10b       # the MSRs of IBPB and L1D


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
        self.vmlinux = vmlinux
        self.msrs = {}

    def function(self, address):
        name = self.table[bisect.bisect_right(self.addresses, address) - 1][1]
        return name.partition(".")[0]           # a part is called name.cold, for instance

    def address(self, name):
        for address, found in self.table:
            if found == name:
                return address
        raise CheckError(f"the kernel has no {name}()")

    def msr(self, address):
        """Which one a WRMSR writes to; None if the function does not say."""
        start = bisect.bisect_right(self.addresses, address) - 1
        if start not in self.msrs:
            text = subprocess.run(
                ["objdump", "-d", "--no-show-raw-insn",
                 f"--start-address={self.addresses[start]:#x}",
                 f"--stop-address={(self.addresses + [1 << 64])[start + 1]:#x}", self.vmlinux],
                check=True, capture_output=True, text=True).stdout
            self.msrs[start] = dict(written_msrs(text))
        return self.msrs[start].get(address)


def written_msrs(text):
    """The address of each WRMSR of a disassembly, and what ECX was loaded with."""
    number = None
    for line in re.findall(r"^ *([0-9a-f]+):\t(.*)$", text, re.MULTILINE):
        address, instruction = line[0], line[1].split("#")[0].strip()
        if constant := re.fullmatch(r"mov +\$(0x[0-9a-f]+),%ecx", instruction):
            number = int(constant[1], 16)
        elif re.search(r"\bwrmsr$", instruction):
            yield int(address, 16), number
        elif re.search(r"%([er]?cx|c[lh])$|^(call|jmp|ret|cpuid|loop|rep|pop)", instruction):
            number = None


def msr_letter(function, msr, caller):
    """Of a WRMSR in a function.  caller is who has called that of IBPB."""
    if function == BARRIER and msr == PRED_CMD and caller:
        if KVM.get(caller) == "I":
            return ""
        return "I" if re.match("(__)?asi_", caller) else "?"
    if msr in (PRED_CMD, FLUSH_CMD):
        return "L" if msr == FLUSH_CMD and function.startswith("__asi_") else "?"
    if msr is None and re.match(f"(__)?asi_|{BARRIER}$", function):
        raise CheckError(f"a WRMSR of {function}() is to an unknown MSR")
    return ""


def letter(what, function):
    """Of something else in a function; nothing if it is not about ASI."""
    if what == "a":
        return FUNCTIONS.get(function, "?")
    if what == "c":
        return ROOTS.get(function, "")
    if what == "v":
        if KVM.get(function) == "V":
            return ""
        return "V" if function.startswith("__asi_") else "?"
    if what in "gh":
        return what.upper()
    raise CheckError(f"unknown event {what}")


def visits(lines, symbols):
    """The words of all visits that load a root or flush, as each does with KPTI, from the
    first mark to the second, and where else there was a flush.  What other CPUs were in
    the midst of at the first is left out."""
    words, word, marks, strange, caller = [], {}, 0, set(), {}
    for line in lines:
        cpu, what, address = line.split()
        if what in "um":
            if what == "u" and marks == 1 and cpu in word:
                words.append(word[cpu])
            word[cpu] = ""
            marks += what == "m"
        else:
            function = symbols.function(int(address, 16))
            if what == "b":
                caller[cpu] = function
                continue
            if what == "w":
                found = msr_letter(function, symbols.msr(int(address, 16)),
                                   caller.get(cpu))
                if found == "?" and function == BARRIER:
                    function = caller.get(cpu, "")
                caller[cpu] = ""
            else:
                found = letter(what, function)
            if cpu in word:
                word[cpu] += found
            if found == "?":
                strange.add(function)
    if marks != 2:
        raise CheckError(f"{marks} marks")
    return words, sorted(strange)


def without_nmis(word, found, siblings):
    """The rest of a visit.  An NMI puts back the root that it has found, and flushes what
    it has left then, at whichever instruction it came.  What was flushed before it is
    trained again by guests, and by siblings that have been let go, or were not stunned."""
    while match := re.search(rf"\(([^()]*)\)(M{DATA}|M|)", word):
        before, end, after = word[:match.start()], match[2], word[match.end():]
        inside = re.sub(f"T?{CONTROL}(X)|{CONTROL}(P)",
                        lambda flushed: flushed[0][-1].lower(), match[1])
        since = re.split("[HZP]" if siblings else "H", before)[-1]
        if inside[:1] in tuple("XP") and CONTROL not in since:
            found.add("control")
        if re.search("[XxPp]", inside) and end != "M" + DATA:
            found.add("data" if end else "restricted")
        # Not if the siblings have been stunned before
        released = "x" in inside.lower() and after.startswith("Z") and \
            not re.search("[TX]", before.rpartition("Z")[2])
        if end and not inside or re.search("[^XxPp]", inside) or \
           "T" in match[1] and not released:
            found.add("order")
        word = before + after[released:]
    if re.search("[()M]", word):
        found.add("order")
    return re.sub("[()M]", "", word)


# What is done in one go: a flush that belongs to what comes after it, or before.
TOKEN = f"(T?{CONTROL})?X|({CONTROL})?P|({CONTROL})?S({DATA})?|[NEW]({DATA})?|GH|Z"


class State:
    """Of the CPU during a visit: the root, whose code has trained it since the last control
    flush, and whose data has been within reach since the last data flush.  Siblings do so
    whenever it is restricted."""

    def __init__(self, siblings, processes):
        self.root, self.trained, self.guest = "restricted", True, False
        self.siblings, self.processes = siblings, processes
        self.kernel, self.process, self.window = False, True, False
        self.stunned = self.owed = False

    def flushed(self, token):
        if token.startswith(CONTROL):
            self.trained = self.guest = False
        if token.startswith(CONTROL + "S"):
            self.owed = False
        if token.endswith(DATA):
            self.kernel = self.process = self.window = False

    def take(self, token, found):
        """Something that is done; nothing is left of it."""
        self.stunned |= token.startswith("T")
        token = token.removeprefix("T")
        what = token.replace(CONTROL, "").replace(DATA, "")
        self.window |= what == "W"
        self.flushed(token)
        if what == "X":
            if self.trained:
                found.add("control")
            self.root, self.kernel = "unrestricted", True
        elif what == "P":
            if self.guest:
                found.add("control")
            self.root, self.process = "restricted", True
        elif what == "N":
            self.root, self.process = "restricted", True
        elif what == "E":
            self.root = "guest"
        elif what == "S" and self.root != "unrestricted":
            if self.guest:
                found.add("control")
            # No process at all may be loaded, and a flush come before the next one.
            self.owed |= self.trained and self.processes
            if token.startswith(CONTROL) and self.root != "guest" and not self.processes:
                found.add("order")
            self.root, self.process = "restricted", True
        elif what == "S" and token.startswith(CONTROL):
            found.add("order")
        elif what == "Z":
            if self.root == "unrestricted":
                found.add("restricted")
            if self.kernel or self.window:
                found.add("data")
            self.stunned = False
        elif what == "GH":
            if self.root != "guest":
                found.add("restricted")
            if self.kernel or self.process or self.window:
                found.add("data")
            self.trained = self.guest = True
        self.trained |= self.siblings and self.root != "unrestricted"
        return ""

    def end(self, found):
        """User mode runs."""
        if self.stunned:
            found.add("order")
        if self.owed:
            found.add("process")
        if self.root != "restricted" or self.kernel:
            found.add("restricted")
        if self.guest:
            found.add("control")
        if self.kernel or self.window:
            found.add("data")


def wrong(word, always=False, siblings=False, processes=False):
    """What is wrong with a visit, in the words of the tests; a set."""
    found = set()
    whole, word = word, without_nmis(word, found, siblings)
    if always:
        # NMIs are excepted, and no guests run.
        if whole and not word:
            return found
        rest = word.replace("W", "").replace(CONTROL, "i").replace(DATA, "l")
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
    state = State(siblings, processes)
    rest = re.sub(TOKEN, lambda match: state.take(match[0], found), word)
    state.end(found)
    if rest:
        found.add("order")
    return found


def switches(word):
    """How often one root has been loaded after another in a visit, none of the two being
    the unrestricted one."""
    count = word.count("P")
    while match := re.search(r"\(([^()]*)\)(M?)", word):
        count += bool(match[2]) and "X" not in match[1]
        word = word[:match.start()] + word[match.end():]
    root = "N"
    for what in re.findall("[XNEPS]", word):
        count += what in "ES" and root != "X"
        if what != "S" or root == "E":
            root = what
    return count


def self_test():
    """Each mistake is noticed, and nothing else."""
    for word, expected in (
            ("IRBXNLV", ""), ("SLV", ""), ("S", ""), ("IRBXSNLV", ""), ("IRBXNLVXNLV", ""),
            ("XNLV", "control"), ("RIBXNLV", "control order"), ("XIRBNLV", "control order"),
            ("IRBXN", "data restricted"), ("IRBXLVN", "data order restricted"),
            ("IRBXNVL", "data order restricted"), ("IRBX", "data restricted"),
            ("IRBXNLVX", "data restricted"), ("IRBXNLVIRB", "order"), ("IRB", "order"),
            ("SLVLV", "order"), ("?", "order"), ("IRSBXNLV", "control order"),
            # Windows
            ("WLV", ""), ("WWLV", ""), ("WSLV", ""), ("WIRBXNLV", ""), ("WELVGHIRBP", ""),
            ("W", "data"), ("SLVW", "data"), ("WLVW", "data"), ("WVL", "data order"),
            ("WLVLV", "order"), ("LV", "order"),
            # Guests
            ("ELVGHIRBP", ""), ("ELVGHGHIRBP", ""), ("ELVGHIRBPELVGHIRBP", ""),
            ("IRBXELVGHIRBP", ""), ("ELVGHIRBXNLV", ""), ("ELVGHIRBXELVGHIRBP", ""),
            ("ELVGHIRBPSELVGHIRBP", ""), ("ELVP", ""), ("ELVIRBXNLV", ""),
            ("EGHIRBP", "data"), ("IRBXEGHIRBP", "data restricted"), ("ELVGHIRBPEGHIRBP", "data"),
            ("ELVGHP", "control"), ("ELVGHXNLV", "control"),
            ("ELVGHIRBXNLVGHIRBP", "data restricted"),
            ("ELVGH", "control restricted"), ("ELV", "restricted"), ("ELVGHS", "control"),
            ("ELVGHIRBSELVGHIRBP", ""), ("IRBSLV", "order"),
            ("GHIRBP", "data restricted"), ("ELVGHRIBP", "control order"), ("G", "order"),
            ("ELVGHIRBPIRB", "order"),
            # NMIs
            ("()", ""), ("(IRBX)MLV", ""), ("IRBXN()LV", ""), ("IRB(IRBX)MLVXNLV", ""),
            ("I(IRBX)MLVRBXNLV", ""), ("IRBXNL(X)MLVV", ""), ("IRBX()NLV", ""),
            ("IRBXN(X)MLVLV", ""), ("(IRBX(X)MLV)MLV", ""), ("ELVGHIRB(X)MLVP", ""),
            ("ELV(IRBP)MLVGHIRBP", ""), ("ELVGH(IRBP)MLVIRBP", ""),
            ("ELVGH(P)MLVIRBP", "control"), ("ELV(IRBP)GHIRBP", "restricted"),
            ("(X)MLV", "control"), ("ELVGH(X)MLVIRBP", "control"), ("(IRBX)M", "data"),
            ("(IRBX)MVL", "data order"), ("(IRBX)", "restricted"), ("(IRB)", "order"),
            ("(IRBX", "data order restricted"), ("()M", "order")):
        if wrong(word) != set(expected.split()):
            raise CheckError(f"{word} is taken to be {' '.join(sorted(wrong(word))) or 'right'}")
    for word, expected in (
            ("IRBLV", ""), ("IRBXNLV", ""), ("IRBSLVIRBLV", ""), ("LV", "control"),
            ("IRBWWLV", ""),
            ("", "control data"), ("IRB", "data"), ("IRBXN", "data"), ("IRBXLV", "restricted"),
            ("IRBXLVN", "data"), ("RIBLV", "control"), ("IRB?LV", "order"),
            ("IRB(X)MLVLV", ""), ("(IRBX)MLV", ""), ("(IRBX)M", "data")):
        if wrong(word, always=True) != set(expected.split()):
            raise CheckError(f"{word or 'nothing'} is misjudged with flush=always")
    for word, expected in (
            ("TIRBXNLVZ", ""), ("TIRBXNLVIRBXNLVZ", ""), ("TIRBXNLVZTIRBXNLVZ", ""),
            ("IRBXNLVZ", ""), ("SLVZ", ""), ("Z", ""), ("TIRBXNLVZSLVZ", ""),
            ("TIRBXELVZGHIRBP", ""), ("ELVGHIRBPTIRBXNLVZ", ""), ("TIRBXELVZLVGHIRBP", "order"),
            ("IRBXNLVZXNLVZ", "control"), ("IRBTXNLVZ", "control order"),
            ("TXNLVZ", "control order"), ("ITRBXNLVZ", "control order"), ("IRBXTNLVZ", "order"),
            ("TIRB", "order"), ("TSLVZ", "order"), ("ELVGHIRBPXNLVZ", "control"),
            ("ELVGHIRBSXNLVZ", "control"), ("ELVGHTIRBP", "order"),
            ("TIRBXNLV", "order"), ("TIRBXNZLV", "data order restricted"),
            ("TIRBXZNLV", "data restricted"),
            ("TIRBXEZLVGHIRBP", "data order restricted"), ("WZLV", "data order"), ("WLVZ", ""),
            # NMIs
            ("T(IRBX)MLVIRBXNLVZ", ""), ("(TIRBX)MLVZ", ""), ("(IRBX)MLVZ", ""),
            ("TIRB(X)MLVXNLVZ", ""), ("TIRBXNLVZ(TIRBX)MLVZ", ""), ("TIRBXNLV()Z", ""),
            ("TIRBXNLV(IRBX)MLVZ", ""), ("TIRBXNLVZ(X)MLVZ", "control"),
            ("TIRBXELVZ(X)MLVZGHIRBP", "control"), ("(IRBTX)MLVZ", "order"),
            ("((TIRBX)MLVZ)", ""), ("((IRBX)MLVZ)", ""), ("TIRBXN(X)MLVLVZ", ""),
            ("W(TIRBX)MLVZLVZ", ""), ("W(IRBX)MLVZLVZ", ""), ("WZ(IRBX)MLVLVZ", "data order"),
            ("ELVGHIRBP(X)MLV", "control"), ("ELVGHIRBP(IRBX)MLVZ", ""),
            ("(TIRBX)MLV", "order"), ("(TIRBX)MZLV", "data order"), ("()MLVZ", "order"),
            ("()Z", ""), ("(TIRBXZ)MLV", "order")):
        if wrong(word, siblings=True) != set(expected.split()):
            raise CheckError(f"{word} is misjudged with siblings: " +
                             " ".join(sorted(wrong(word, siblings=True))))
    for word, expected in (
            ("IRBS", ""), ("IRBSLV", ""), ("IRBSS", ""), ("IRBXSNLV", ""), ("IRBXNLVS", ""),
            ("ELVGHIRBS", ""), ("ELVGHIRBPS", ""), ("S", "process"), ("SIRBXNLV", "process"),
            ("SIRBS", ""), ("SIRBXSNLV", "process"), ("ELVGHS", "control process"),
            ("IRBXIRBSNLV", "order"),
            ("RIBS", "order process")):
        if wrong(word, processes=True) != set(expected.split()):
            raise CheckError(f"{word} is misjudged between processes: " +
                             " ".join(sorted(wrong(word, processes=True))))
    for word, expected in (
            ("SS", 2), ("IRBXSNLV", 0), ("IRBXNLVSLV", 1), ("ELVGHIRBP", 2), ("IRBXELVGHIRBP", 1),
            ("ELVGHIRBSLV", 2), ("(IRBX)MLV", 0), ("ELV(IRBP)MLVGHIRBP", 4), ("(X(X)MLV)MLV", 0)):
        if switches(word) != expected:
            raise CheckError(f"{word} is taken to be {switches(word)} switches")
    code = [("mov $0x10b,%ecx", "mov $0x1,%eax", "wrmsr"), ("xor %edx,%edx", "wrmsr"),
            ("mov $0x49,%ecx", "mov %esi,%ecx", "ds wrmsr"), ("mov $0x49,%ecx", "ret", "wrmsr")]
    text = "".join(f"{number:4x}:\t{line}\n" for number, line in enumerate(sum(code, ())))
    if [msr for _, msr in written_msrs(text)] != [0x10b, 0x10b, None, None]:
        raise CheckError("MSRs are misread")
    for arguments, expected in (
            ((BARRIER, 0x49, "__asi_fault"), "I"), ((BARRIER, 0x49, "kvm_arch_vcpu_load"), ""),
            ((BARRIER, 0x49, "switch_mm_irqs_off"), "?"), (("__asi_enter", 0x10b, ""), "L"),
            (("__asi_enter", 0x49, ""), "?"), (("vmx_l1d_flush", 0x10b, ""), "?"),
            (("native_write_msr", None, ""), ""), (("__asi_enter", 0x48, ""), "")):
        if msr_letter(*arguments) != expected:
            raise CheckError(f"a WRMSR {arguments} is taken for another")


def verdict_test():
    """Nor is a guest judged right that is not."""
    right = {"GH?": 100}
    for count, exits, expected in (
            (right, 0, True), ({"GH": 100}, 0, False), ({"GH??": 100}, 0, False),
            ({"?GH": 100}, 0, False), ({"GH?": 99}, 0, False), ({"GH?": 100, "?": 1}, 0, False),
            (right, 1, False)):
        if all(ok for ok, _ in stock(Counter(count), {"asi_exit": exits})[0]) != expected:
            raise CheckError(f"{count} is misjudged without ASI")
    options = argparse.Namespace(expect="flushed", siblings=False, processes=False)
    count = Counter({"IRBXNLV": 2000, "(IRBX)MLV": 10, "SLV": 100})
    right = {"asi_exit": 2010, "asi_enter": 2010, "asi_flush_control": 2010,
             "asi_flush_data": 2110, "asi_flush_cache": 2110, "asi_stun": 0, "asi_switch": 100}
    for wrong_one in [None, *right]:
        grown = {name: times + 11 * (name == wrong_one) for name, times in right.items()}
        failed = [name for ok, name in transitions(count, grown, "", options)[0] if not ok]
        if failed != (["counters agree with it"] if wrong_one else []):
            raise CheckError(f"with another {wrong_one}, {' and '.join(failed) or 'nothing'} fails")
    options.processes = True
    for late, expected in ((2, True), (3, False), (100, False)):
        count = Counter({"IRBS": 101 - late, "S": late, "SIRBS": 99})
        if transitions(count, right, "", options)[0][-1][0] != expected:
            raise CheckError(f"{late} switches without a flush are misjudged")


def counters(console):
    """How much each has grown from the first mark to the second."""
    marks = [dict(re.findall(r"(\w+)=(\d+)", line)) for line in
             re.findall(r"^mark: \w+ (.*)$", console, flags=re.M)]
    if len(marks) != 2:
        raise CheckError("the console has not what the counters were")
    return {name: int(marks[1][name]) - int(value) for name, value in marks[0].items()}


def barriers(word):
    """How many IBPBs there were in a visit, ASI's or others."""
    return word.count("I") + word.count("?")


def stock(count, grown):
    """What is to be said of a kernel without ASI that does an IBPB for VMSCAPE: whenever it
    goes back to user mode after a guest has run."""
    others = [word for word in count if "H" not in word]
    return [
        (sum(times for word, times in count.items() if "H" in word) >= 100,
         "guests that have run were seen"),
        (all(word.rpartition("H")[2] == "?" and barriers(word) == 1
             for word in count if "H" in word), "an IBPB is the last of each such visit"),
        (not any(others), "there is nothing in others"),
        (not any(grown.values()), "counters agree with it")], []


def transitions(count, grown, console, options):
    """What is to be said of transitions."""
    always, expected = options.expect == "always", options.expect != "none"
    mistakes = {what: [word for word in count
                       if what in wrong(word, always, options.siblings, options.processes)]
                for what in ("control", "data", "restricted", "order", "process")}
    text = "".join(count.elements())
    # The guest root after the unrestricted one; an NMI that has exited.
    enters = len(re.findall("N|X[^NEM]*E", re.sub(r"\([^()]*\)(M|)", "", text))) + \
        len(re.findall(r"X[^()]*\)M", text))
    seen = {"asi_exit": text.count("X"), "asi_enter": enters,
            "asi_flush_control": text.count(CONTROL), "asi_flush_data": text.count(DATA),
            "asi_flush_cache": text.count("L"), "asi_stun": text.count("T"),
            "asi_switch": sum(switches(word) * times for word, times in count.items())}
    enough = seen["asi_exit"] > 1000
    # Without "# SKIP"; the kernel may have said something before the end of the line.
    guests = re.search(r"\bok \d+ guest\.taints_its_cpu(?! #)", console)
    no = "" if expected else ": noticed that it is not so"
    nmis = len(re.findall(r"\([^()]*[XP]", text))
    loaded = sum(times for word, times in count.items() if re.search("^[^X]*S", word))
    results = [
        (enough and expected != bool(mistakes["control"]),
         "predictors are flushed before the kernel is unrestricted" + no),
        (enough and expected != bool(mistakes["data"]),
         "buffers are flushed after it is restricted again" + no),
        (enough and expected != bool(mistakes["restricted"]),
         "user mode and guests run after that" + no),
        (not mistakes["order"], "no flush is somewhere else"),
        (expected == (CONTROL in text and DATA in text), "flushes were executed"),
        # Siblings go on while they are read.
        (all(abs(grown[name] - times) <= (100 if options.siblings else 10)
             for name, times in seen.items()), "counters agree with it"),
        # As often as the test runs one
        ((text.count("GH") >= 10) == bool(guests), "guests that have run were seen"),
        # The probe of selftest exception
        (nmis >= 10, "NMI-like entries have exited"),
        # In which order is looked at as that of all others.
        ((text.count("T") >= 100) == options.siblings, "siblings were stunned"),
    ]
    if options.processes:
        # A flush for an exit may have been the one for the next process.
        late = sum(count[word] for word in mistakes["process"])
        results.append((loaded >= 100 and late <= loaded / 100,
                        "predictors are flushed before another process is loaded"))
    remarks = [f"{what}: {count[word]} times {word[:200] or 'nothing'}"
               for what, found in mistakes.items() for word in found[:5]]
    remarks += [f"{name}: {times} executed, {grown[name]} counted"
                for name, times in seen.items()]
    return results, remarks + [
        f"{text.count('(')} like NMIs, {nmis} of which exit",
        f"{loaded} visits load another process, restricted"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    add = parser.add_argument
    add("--vmlinux", required=True, help="the kernel, with symbols, booted with nokaslr")
    add("--addresses", action="store_true", help="print what watch.c is to be told, and end")
    add("--trace", help="what watch.c has written")
    add("--console", help="what the guest has said")
    add("--expect", choices=("flushed", "always", "none", "stock"), default="flushed",
        help="always is with flush=always, none for the negative control, stock without "
             "ASI but with an IBPB for VMSCAPE")
    add("--siblings", action="store_true", help="there are, and they are stunned")
    add("--processes", action="store_true", help="control is flushed between them")
    options = parser.parse_args()

    try:
        symbols = Symbols(options.vmlinux)
        if options.addresses:
            print(",".join([f"at={symbols.address(name):x}" for name in FUNCTIONS] +
                           [f"call={symbols.address(BARRIER):x}"]))
            return 0
        self_test()
        verdict_test()
        with open(options.trace, encoding="ascii") as file:
            words, strange = visits(file, symbols)
        with open(options.console, encoding="utf-8", errors="replace") as file:
            console = file.read().replace("\r", "")
        grown = counters(console)
    except (CheckError, OSError, subprocess.CalledProcessError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2

    count = Counter(words)
    if options.expect == "stock":
        results, remarks = stock(count, grown)
    else:
        results, remarks = transitions(count, grown, console, options)
    print(f"TAP version 13\n1..{len(results)}")
    for word, times in count.most_common(20):
        print(f"# {times} times {word[:200] or 'nothing'}")
    for number, (ok, name) in enumerate(results, 1):
        print(f"{'ok' if ok else 'not ok'} {number} {name}")
    guests = [word for word in count.elements() if "H" in word]
    remarks.append(f"{len(guests)} visits have run a guest, entered "
                   f"{sum(word.count('GH') for word in guests)} times, with "
                   f"{sum(map(barriers, guests))} IBPBs")
    if strange:
        remarks.append(f"flushes in {' '.join(strange)}")
    for remark in remarks:
        print(f"# {remark}")
    return 0 if all(ok for ok, _ in results) else 1


sys.exit(main())
