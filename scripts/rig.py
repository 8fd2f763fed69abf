# SPDX-License-Identifier: GPL-2.0-only
"""What every Python script of the rig shares: places, messages, the lock."""

import argparse
import errno
import fcntl
import os
import re
import shlex
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"
LOG = BUILD / "log"
VERBOSE = os.environ.get("V", "0") not in ("", "0")
HELD = []                           # the lock, which what we start holds as well
LAST_WORDS = r"Exiting with failure status|Error is not recoverable|^rsync error: "
FULL = os.strerror(errno.ENOSPC)


class Failure(Exception):
    """Ends a script with one clear line and a non-zero status."""


def say(text):
    print(f"{text}\n", end="", flush=True)      # in one piece, from any thread


def pin(name):
    """A value from scripts/source.pin."""
    for line in (ROOT / "scripts/source.pin").read_text().splitlines():
        key, _, value = line.partition("=")
        if key == name:
            return value
    raise Failure(f"scripts/source.pin has no {name}")


def kernel_name():
    """The kernel tree in use: "" is the pinned one, else it stands for KERNEL=."""
    user = os.environ.get("KERNEL")
    if not user:
        return ""
    path = Path(user).resolve()
    name = re.sub(r"[^\w.+-]", "_", path.name)     # the kernel's make takes no spaces
    return f"-{name}-{abs_hash(path)}"


def abs_hash(path):
    import hashlib
    return hashlib.sha256(str(path).encode()).hexdigest()[:8]


def lock():
    """Hold the build directory's lock until the process ends (see lib.sh)."""
    if os.environ.get("ASI_LOCKED"):
        return
    BUILD.mkdir(exist_ok=True)
    handle = os.open(BUILD / "lock", os.O_CREAT | os.O_WRONLY, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say(f"waiting for another run in {BUILD}")
        fcntl.flock(handle, fcntl.LOCK_EX)
    HELD.append(handle)
    os.environ["ASI_LOCKED"] = "1"


def need_space(mib, what):
    BUILD.mkdir(exist_ok=True)
    stat = os.statvfs(BUILD)
    room = stat.f_bavail * stat.f_frsize >> 20
    if room < mib:
        raise Failure(f"no space for {what}: needs {mib} MiB below {BUILD}, has {room}")


def run(*command, **options):
    """Run a command that must succeed; its standard output, as text."""
    command = [str(word) for word in command]
    if VERBOSE:
        print("+", " ".join(command), file=sys.stderr, flush=True)
    options = {"stderr": subprocess.PIPE, "pass_fds": HELD, **options}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True,
                          check=False, **options)
    if done.returncode:
        lines = [line for line in (done.stderr or done.stdout or "").splitlines()
                 if line.strip() and not re.search(LAST_WORDS, line)]
        last = ([line for line in lines if FULL in line] or lines or
                [f"status {done.returncode}"])[-1]
        said = last.removeprefix("error: ")             # as scripts of ours do
        raise Failure(said if said != last else f"{' '.join(command[:3])}: {last}")
    return done.stdout


def script(name, *arguments):
    """Run another script of the rig; it has said why if it fails."""
    if subprocess.run([ROOT / "scripts" / name, *arguments], check=False,
                      pass_fds=HELD).returncode:
        sys.exit(1)


def side_by_side(function, guests, mib):
    """Call a function, which runs a guest that needs so much memory, for each of the
    guests; yields them with its results as they end.  A guest keeps little more than
    one CPU busy, so as many run at once as there are CPUs, and memory for."""
    meminfo = Path("/proc/meminfo").read_text()
    room = int(re.search(r"^MemAvailable: *(\d+)", meminfo, re.MULTILINE)[1]) >> 10
    at_once = max(1, min(len(os.sched_getaffinity(0)), room // mib))
    with ThreadPoolExecutor(at_once) as pool:
        running = {pool.submit(function, guest): guest for guest in guests}
        try:
            for future in as_completed(running):
                yield running[future], future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def libraries(program):
    """The shared libraries that a program wants, and the loader."""
    return re.findall(r"(/\S+) \(", run("ldd", program))


def add_initramfs(target, stage):
    """The rig's own initramfs, and a second archive behind it, made of a directory,
    which goes: the kernel unpacks both."""
    new = Path(f"{target}.tmp")
    shutil.copy(BUILD / "initramfs.cpio.gz", new)
    run("bash", "-o", "pipefail", "-c", "find . | LC_ALL=C sort | "
        f"cpio -o -H newc -R 0:0 --quiet | gzip -n1 >>{shlex.quote(str(new))}", cwd=stage)
    new.rename(target)
    shutil.rmtree(stage)


def write_atomically(path, data, mode=0o644):
    """Replace a file at once; leave it alone, with its time, if it is the same."""
    path = Path(path)
    if isinstance(data, str):
        data = data.encode()
    if path.is_file() and path.read_bytes() == data and \
            path.stat().st_mode & 0o777 == mode:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_bytes(data)
    temporary.chmod(mode)
    temporary.rename(path)
    return True


def argument_parser(description):
    """A parser of arguments, whose complaint is a Failure."""
    made = argparse.ArgumentParser(description=description,
                                   formatter_class=argparse.RawDescriptionHelpFormatter)

    def error(message):
        raise Failure(f"{made.prog}: {message}")
    made.error = error
    return made


def main(*functions, words=()):
    """Run a script's functions; a Failure, or what the system refuses, is one line
    and status 1.  Arguments other than words are refused, if these are not None."""
    try:
        unknown = [] if words is None else sorted(set(sys.argv[1:]) - set(words))
        if unknown:
            raise Failure(f"{Path(sys.argv[0]).name}: unknown argument {unknown[0]}")
        for function in functions:
            status = function()
        sys.exit(status)
    except Failure as failure:
        print(f"error: {failure}", file=sys.stderr)
        sys.exit(1)
    except OSError as error:
        what = f"{error.filename}: " if error.filename else ""
        print(f"error: {what}{error.strerror or error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
