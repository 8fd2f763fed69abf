# SPDX-License-Identifier: GPL-2.0-only
"""The patch series as data: patches/series, and what each patch header says.

A patch is a commit message, then "---", then a diff that may be empty.  Three
kinds of line in the message are for the rig and are not posted:

    New-file: PATH                  a whole file of this repository, added by
                                    this patch at the same path in the kernel
    New-file: PATH < REPOPATH       the same, kept here under another name
    Maintainers-entry: REPOPATH     an entry, added at its place in MAINTAINERS
"""

import os
import re
import subprocess
from dataclasses import dataclass, field

from rig import ROOT, Failure, run

PATCHES = ROOT / "patches"

# Where whole kernel files live in this repository; the mutants are none.
WHOLE = ["arch", "block", "crypto", "Documentation", "drivers", "fs", "include",
         "init", "io_uring", "ipc", "kernel", "lib", "mm", "net", "security",
         "tools", "virt", "Kconfig", "MAINTAINERS",
         ":!tools/testing/selftests/asi/mutants"]

TAG = re.compile(r"(New-file|Maintainers-entry):\s*(\S+)(?:\s*<\s*(\S+))?\s*$")
START_OF_DIFF = re.compile(r"(---$|diff |Index: |--- \S)")


@dataclass
class Patch:
    name: str
    message: str = ""                              # as committed
    new: dict = field(default_factory=dict)        # kernel path: repository path
    entry: str = None                              # repository path
    diff: str = ""
    touched: list = field(default_factory=list)    # kernel paths in the diff

    @property
    def subject(self):
        return self.message.splitlines()[0]

    def new_content(self, path):
        """A new file's bytes and mode."""
        source = ROOT / self.new[path]
        return source.read_bytes(), 0o755 if os.access(source, os.X_OK) else 0o644


def load():
    """The patches, in order."""
    listing = PATCHES / "series"
    if not listing.is_file():
        raise Failure("there is no patches/series")
    names = [line.split("#")[0].strip() for line in listing.read_text().splitlines()]
    return [read(name) for name in names if name]


def read(name):
    path = PATCHES / name
    if not path.is_file():
        raise Failure(f"patches/series names {name}, which is not there")
    patch, lines = Patch(name), path.read_text().splitlines(keepends=True)
    start = next((i for i, line in enumerate(lines) if START_OF_DIFF.match(line)),
                 len(lines))
    header = []
    for line in lines[:start]:
        tag = TAG.match(line)
        if not tag:
            header.append(line)
        elif tag[1] == "New-file":
            patch.new[tag[2]] = tag[3] or tag[2]
        else:
            patch.entry = tag[2]
    for wanted in [*patch.new.values()] + ([patch.entry] if patch.entry else []):
        if not (ROOT / wanted).is_file():
            raise Failure(f"patches/{name} names {wanted}, which is not there")

    message = re.sub(r"\n{3,}", "\n\n", "".join(header)).strip() + "\n"
    if not message.startswith("Subject: "):
        raise Failure(f"patches/{name} does not begin with a Subject: line")
    patch.message = message[len("Subject: "):]
    patch.diff = "".join(lines[start:])
    for line in lines[start:]:
        target = re.match(r"\+\+\+ (?:[^/\s]+/)?(\S+)", line)
        if target:
            patch.touched.append(target[1])
    return patch


def touched(patches):
    """Every path of the kernel's own that the series changes, once each."""
    paths = [path for patch in patches for path in patch.touched]
    if any(patch.entry for patch in patches):
        paths.append("MAINTAINERS")
    return sorted(set(paths))


# Sources that are but included by another one.
INCLUDED = {"kernel/sched/idle.c": "kernel/sched/build_policy.c"}


def objects(paths):
    """What sources among the paths are compiled to."""
    return [re.sub(r"\.[cS]$", ".o", INCLUDED.get(path, path)) for path in paths
            if re.search(r"\.[cS]$", path) and not path.startswith("tools/")]


def config(leave_out=None):
    """A configuration that compiles all that is touched, as the text of a fragment."""
    more = (ROOT / "configs/touched.config").read_text()
    base = (ROOT / "configs/base.config").read_text().splitlines(keepends=True)
    return "".join(line for line in base if line.split("=")[0] + "=" not in more and
                   not (leave_out and re.search(leave_out, line))) + more


def apply(patch, tree):
    """Apply a patch's diff in a directory, without fuzz."""
    if not patch.touched:
        return ""
    done = subprocess.run(
        ["patch", "-p1", "-F0", "-f", "--no-backup-if-mismatch", "-r", "-"],
        cwd=tree, input=patch.diff, text=True, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode:
        current = "the tree"
        for line in done.stdout.splitlines():
            file = re.match(r"(?:checking|patching) file '?([^']+)", line)
            current = file[1] if file else current
            if "FAILED" in line or "can't find file" in line:
                break
        raise Failure(f"patches/{patch.name} does not apply to {current}")
    return done.stdout


def add_entry(maintainers, entry):
    """The text of MAINTAINERS with an entry at its alphabetical place."""
    entry = "".join(line for line in entry.splitlines(keepends=True)
                    if not line.startswith("#")).strip() + "\n"
    title = entry.splitlines()[0]
    lines = maintainers.splitlines(keepends=True)
    start = next((i for i, line in enumerate(lines) if line.startswith("3C5")), len(lines))
    for i in range(start, len(lines)):
        first = lines[i - 1] == "\n" and not re.match(r"[A-Z]:\t|\s", lines[i])
        if first and lines[i].strip() > title:
            return "".join([*lines[:i], entry, "\n", *lines[i:]])
    raise Failure("no place for the entry in MAINTAINERS")


def misnamed(patches):
    """One line for each whole file not named by exactly one patch, and the like."""
    named = {}
    for patch in patches:
        for source in [*patch.new.values()] + ([patch.entry] if patch.entry else []):
            named.setdefault(source, []).append(patch.name)
    files = run("git", "ls-files", "--cached", "--others", "--exclude-standard",
                "--", *WHOLE, cwd=ROOT).splitlines()
    ours = {path for patch in patches for path in patch.new}
    problems = [f"{file} is named by no patch" for file in files if file not in named]
    problems += [f"{file} is named by {' and '.join(names)}"
                 for file, names in named.items() if len(names) > 1]
    problems += [f"patches/{patch.name} changes {path}, a whole file of ours"
                 for patch in patches for path in patch.touched if path in ours]
    return problems
