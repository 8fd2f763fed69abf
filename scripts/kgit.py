# SPDX-License-Identifier: GPL-2.0-only
"""The kernel as a git repository without a work tree, build/linux.git: the
pinned source as the first commit ("base"), the series on top ("asi").

The base is read from the tarball straight into git: a work tree and `git add`
would leave out what the tree's own .gitignore names (all of it, in Debian's).
"""

import os
import re
import subprocess
import tarfile
import time

import kseries
from rig import BUILD, ROOT, Failure, need_space, pin, run, say

GIT = BUILD / "linux.git"
TARBALL = BUILD / f"cache/linux-{pin('VERSION')}.tar.xz"
EPOCH = 1767225600                      # when the base is said to be from


def git(*arguments, **options):
    """Run git in the repository; its output."""
    return run("git", f"--git-dir={GIT}", *arguments, **options).rstrip("\n")


def identity(patch=None):
    """Who a patch, and the series, is from: whoever has signed it off first."""
    patch = patch or kseries.load()[0]
    signed = re.search(r"^Signed-off-by: (.+) <(.+)>$", patch.message, re.MULTILINE)
    if not signed:
        raise Failure(f"patches/{patch.name} has no Signed-off-by: line")
    return signed.groups()


def date():
    """When the patches are from: the last commit here, for stable hashes."""
    try:
        return int(run("git", "log", "-1", "--format=%ct", cwd=ROOT))
    except Failure:
        return int(time.time())


def base():
    """Make the first commit, unless it comes from that tarball already."""
    source = TARBALL.with_name(TARBALL.name + ".sha256").read_text().strip()
    mark = GIT / "source"
    if mark.is_file() and mark.read_text() == source:
        return
    need_space(1000, "the kernel as a git repository")
    say("reading the kernel source into git (a minute, once)")
    if run("sha256sum", TARBALL).split()[0] != source:
        raise Failure(f"wrong checksum: {TARBALL} has changed; remove it")
    # With the work trees that check-off and check-series have made of it.
    run("rm", "-rf", GIT, BUILD / "off", BUILD / "step")
    run("git", "init", "-q", "--bare", GIT)
    name, email = identity()
    with subprocess.Popen(["git", f"--git-dir={GIT}", "-c", "core.compression=1",
                           "-c", "pack.depth=1", "fast-import", "--quiet", "--depth=0"],
                          stdin=subprocess.PIPE) as importer:
        write = importer.stdin.write
        write(f"commit refs/heads/base\ncommitter {name} <{email}> {EPOCH} +0000\n"
              f"data <<.\nLinux {pin('VERSION')}\n.\n".encode())
        with tarfile.open(TARBALL, "r|xz") as archive:
            for member in archive:
                path = member.name.removeprefix("./").partition("/")[2]
                if member.issym():
                    mode, data = "120000", member.linkname.encode()
                elif member.isfile():
                    mode = "100755" if member.mode & 0o100 else "100644"
                    data = archive.extractfile(member).read()
                elif member.isdir() or member.type == tarfile.XGLTYPE:
                    continue
                else:
                    raise Failure(f"a strange member of the tarball: {path}")
                write(f"M {mode} inline {path}\ndata {len(data)}\n".encode() + data + b"\n")
        importer.stdin.close()
        if importer.wait():
            raise Failure("git fast-import failed")
    mark.write_text(source)


def commit_series(patches):
    """One commit for each patch on top of the base; the commits, in order."""
    base()
    start = date()
    commits, parent = [], git("rev-parse", "base")
    index = {**os.environ, "GIT_INDEX_FILE": str(GIT / "index.series")}
    (GIT / "index.series.lock").unlink(missing_ok=True)      # of a run that was killed
    git("read-tree", "base", env=index)
    for number, patch in enumerate(patches, 1):
        if patch.touched:
            try:
                git("apply", "--cached", "--whitespace=nowarn", env=index,
                    input=patch.diff)
            except Failure as failure:
                raise Failure(f"patches/{patch.name}: {failure}") from None
        for path in patch.new:
            content, mode = patch.new_content(path)
            add(index, path, content, f"100{mode:o}")
        if patch.entry:
            content = kseries.add_entry(git("show", ":MAINTAINERS", env=index) + "\n",
                                        (ROOT / patch.entry).read_text())
            add(index, "MAINTAINERS", content.encode(), "100644")
        when = f"{start + number} +0000"
        name, email = identity(patch)
        parent = git("commit-tree", git("write-tree", env=index), "-p", parent,
                     input=patch.message,
                     env={**os.environ, "GIT_AUTHOR_DATE": when, "GIT_COMMITTER_DATE": when,
                          "GIT_AUTHOR_NAME": name, "GIT_AUTHOR_EMAIL": email,
                          "GIT_COMMITTER_NAME": name, "GIT_COMMITTER_EMAIL": email})
        commits.append(parent)
    git("update-ref", "refs/heads/asi", parent)
    return commits


def add(index, path, content, mode):
    blob = subprocess.run(["git", f"--git-dir={GIT}", "hash-object", "-w", "--stdin"],
                          input=content, stdout=subprocess.PIPE, check=True).stdout
    git("update-index", "--add", "--cacheinfo", f"{mode},{blob.decode().strip()},{path}",
        env=index)
