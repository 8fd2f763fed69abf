# SPDX-License-Identifier: GPL-2.0-only
r"""What a guest's console says of its tests: KUnit's KTAP among the kernel's
messages, kselftest's KTAP after them, and splats anywhere.

Only leaves are counted: a result with results of its own beneath it says
nothing new, unless it failed and none of them did.  A plan ("1..N") that is
not kept is a failure, so that a result that got lost is not a test passed.

>>> report = read('''
... [    1.0] KTAP version 1
... [    1.0] 1..1
... [    1.0]     KTAP version 1
... [    1.0]     # Subtest: asi
... [    1.0]     1..3
... [    1.0]     ok 1 one
... [    1.0]     ok 2 two # SKIP no such CPU
... [    1.0]     not ok 3 three
... [    1.0] # asi: pass:1 fail:1 skip:1 total:3
... [    1.0] not ok 1 asi
... TAP version 13
... 1..3
... # TAP version 13
... # 1..2
... # ok 1 global.a
... ok 1 selftests: asi: cut
... # TAP version 13
... # 1..1
... # ok 1 global.b # SKIP no such file
... ok 2 selftests: asi: whole # SKIP
... not ok 3 selftests: asi: crash # exit=139
... ''')
>>> report.passed, report.skipped, report.groups
(2, 2, ['asi', 'cut', 'whole', 'crash'])
>>> report.failed
['asi: three', 'cut: 1 of 2 results', 'crash (exit=139)']
>>> sorted(report.ran), sorted(report.left)
(['asi: one', 'asi: three', 'crash', 'cut: global.a'], ['asi: two', 'whole: global.b'])

What was said before a result that failed is kept:

>>> read('''
... # 1..2
... # # said of one
... # ok 1 one
... # # 17 of 16 pages
... # not ok 2 two
... not ok 1 selftests: asi: odd # exit=1
... ''').remarks
['# # 17 of 16 pages', '# not ok 2 two']

>>> read('''
... [    2.5] WARNING: mm/asi_block.c:12 at flip+0x1/0x2, CPU#0: cat/7
... [    2.5] RIP: 0010:flip+0x1/0x2
... ''').failed
['splat: WARNING: mm/asi_block.c:12 at flip+0x1/0x2, CPU#0: cat/7']
>>> read("[    0.5] Spectre V2 : WARNING: Unprivileged eBPF is enabled").failed
[]

A line of a test may be cut by messages of the kernel, and goes on after them:

>>> def mend(text):
...     print(*whole(line + "\n" for line in text.split("|")), sep="", end="")
>>> mend("# ok 1 po[    3.1] kvm: no|[    3.2] kvm: yes|rt|[    3.3] kvm: no")
[    3.1] kvm: no
[    3.2] kvm: yes
# ok 1 port
[    3.3] kvm: no
>>> mend("ok 1 port[    3.1] kvm: no||asi-gu[    3.3] kvm: no")
[    3.1] kvm: no
ok 1 port
[    3.3] kvm: no
asi-gu
>>> mend("# # [    3.1] asi: on|# ok 1 port")
# # [    3.1] asi: on
# ok 1 port

What was not shown, as the console was switched off meanwhile, has tainted the kernel:

>>> read("asi-guest: tainted 262656").failed
['the kernel is tainted (262656): a splat that was not shown']
>>> read("asi-guest: tainted 262144").failed
[]

A machine check is one too, unless it is what nmi.py injects.

>>> read('''
... [    9.1] mce: [Hardware Error]: Machine check events logged
... [    9.1] mce: [Hardware Error]: CPU 1: Machine Check: 0 Bank 9: f000100000000000
... [    9.1] mce: [Hardware Error]: TSC 0
... [    9.1] mce: [Hardware Error]: PROCESSOR 2:f61 TIME 1 SOCKET 0 APIC 1 microcode 0
... [    9.2] mce: [Hardware Error]: CPU 1: Machine Check Exception: 4 Bank 4: f600000000000000
... ''').failed
['splat: mce: [Hardware Error]: CPU 1: Machine Check Exception: 4 Bank 4: f600000000000000']
"""

import re
from dataclasses import dataclass, field

TIME = re.compile(r"\[ *\d+\.\d+\](?:\[ *[TC]\d+\])? ?")
CUT = re.compile(rf"((?:# )*)([^\x1b]*?)({TIME.pattern}.*)", re.DOTALL)
TAINTS = 1 << 5 | 1 << 7 | 1 << 9 | 1 << 14     # bad page, Oops, WARNING, soft lockup
REMARKS = 20                        # lines that are kept of what was said of a failure
PLAN = re.compile(r"1\.\.(\d+)$")
RESULT = re.compile(r"(not )?ok (\d+)(?: -)? ?([^#]*?)\s*(?:# *(.*))?$")
SPLAT = re.compile(
    r"WARNING: |BUG: |kernel BUG at |INFO: .*(lock|rcu|hung|stall)|INFO: task |"
    r"rcu: INFO: |watchdog: |NMI watchdog: .*LOCKUP|Oops|Kernel panic|Call Trace:|"
    r"general protection fault|double fault|stack segment|invalid opcode|PANIC: |"
    r"unchecked MSR|UBSAN: |Bad page |\?\?\? |"
    r"(mce: )?\[Hardware Error\]: (?!Machine check events logged|TSC |PROCESSOR |"
    r"CPU \d+: Machine Check: 0 Bank 9: [bf]000100000000000$)", re.IGNORECASE)


@dataclass
class Level:
    """The results at one depth, beneath one result of the depth above."""
    plan: int = None
    results: int = 0
    failed: list = field(default_factory=list)
    ran: set = field(default_factory=set)
    left: set = field(default_factory=set)


@dataclass
class Report:
    passed: int = 0
    skipped: int = 0
    failed: list = field(default_factory=list)     # one line each
    groups: list = field(default_factory=list)     # suites and programs that ended
    ran: set = field(default_factory=set)          # results of them that were not skipped
    left: set = field(default_factory=set)         # those that were
    splat: list = field(default_factory=list)      # the first lines of the first
    remarks: list = field(default_factory=list)    # on what failed: lines of the log


def whole(lines):
    """Lines of a console as they were written, those of the kernel as soon as they came."""
    begun = ""
    for line in lines:
        match = CUT.fullmatch(line)
        if not match:
            yield begun + line
            begun = ""
        elif match[2]:
            begun += match[1] + match[2]
            yield match[3]
        else:
            yield line
    if begun:
        yield begun + "\n"


def read(text):
    """The report of a console log."""
    report, levels, said = Report(), {}, []
    lines = [TIME.sub("", line, count=1).rstrip()
             for line in text.replace("\r", "").splitlines()]
    for number, line in enumerate(lines):
        said = said[-REMARKS:] + [line]
        if not report.splat and SPLAT.match(line.lstrip()):
            report.splat = lines[number:number + 8]
            report.failed.append(f"splat: {line.strip()}")
        tainted = re.match(r"asi-guest: tainted (\d+)$", line)
        if tainted and int(tainted[1]) & TAINTS and not report.splat:
            report.failed.append(f"the kernel is tainted ({tainted[1]}): "
                                 "a splat that was not shown")
        depth, line = unindent(line)
        if PLAN.match(line):
            if levels.get(depth, Level(0)).plan is not None:
                report.failed += end(levels, depth, "")
                levels[depth] = Level()
            levels[depth].plan = int(PLAN.match(line)[1])
        elif match := RESULT.match(line):
            if match[1] and len(said) > 1:
                report.remarks += said
            said = []
            result(levels, depth, match, report)
    report.failed += end(levels, 0, "")
    return report


def unindent(line):
    """Depth and rest: four spaces a level for KUnit, "# " for kselftest."""
    depth = 0
    while line.startswith(("    ", "# ")):
        line = line[4:] if line.startswith("    ") else line[2:]
        depth += 1
    return depth, line


def result(levels, depth, match, report):
    bad, name, remark = bool(match[1]), match[3] or match[2], match[4] or ""
    name = name.replace("selftests: asi: ", "")
    inner = levels.get(depth + 1, Level())
    skipped = bool(re.match("SKIP|XFAIL|TODO", remark, re.IGNORECASE))
    failed = end(levels, depth + 1, f"{name}: ")
    here = levels.setdefault(depth, Level())
    if inner.results:
        here.ran |= {f"{name}: {leaf}" for leaf in inner.ran}
        here.left |= {f"{name}: {leaf}" for leaf in inner.left}
    elif skipped:
        if match[3]:                    # or nobody knows what it would have been
            here.left.add(name)
    else:
        here.ran.add(name)
    if depth == 0:
        report.groups.append(name)
        report.ran |= here.ran
        report.left |= here.left
    if bad and not failed:
        failed = [f"{name} ({remark})" if remark else name]
    elif not inner.results and not bad:
        report.skipped += skipped
        report.passed += not skipped
    here.results += 1
    here.failed += failed


def end(levels, depth, prefix):
    """End a level and those beneath it: what failed there, a broken plan too."""
    if depth not in levels:
        return []
    beneath = end(levels, depth + 1, "")
    level = levels.pop(depth)
    failed = [prefix + line for line in level.failed + beneath]
    if level.plan not in (None, level.results):
        failed.append(f"{prefix}{level.results} of {level.plan} results")
    return failed
