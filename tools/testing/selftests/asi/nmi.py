#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""
Injects non-maskable interrupts into a guest at random instants, for storm.

Exit status: 0 if the guest was there all the time, 2 otherwise.
"""

import argparse
import random
import sys
import time

from outside import CheckError, Monitor


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0].strip())
    parser.add_argument("--qmp", required=True, metavar="SOCKET",
                        help="the QEMU monitor")
    parser.add_argument("--seconds", type=float, default=5,
                        help="how long (%(default)s)")
    parser.add_argument("--pause", type=float, default=0.01,
                        help="longest time between two (%(default)s)")
    options = parser.parse_args()
    count = 0
    try:
        monitor = Monitor(options.qmp)
        deadline = time.monotonic() + options.seconds
        while time.monotonic() < deadline:
            monitor.execute("inject-nmi")
            count += 1
            time.sleep(random.uniform(0, options.pause))
    except (CheckError, OSError) as error:
        print(f"{error}", file=sys.stderr)
        return 2
    finally:
        print(f"# {count} NMIs injected")
    return 0


if __name__ == "__main__":
    sys.exit(main())
