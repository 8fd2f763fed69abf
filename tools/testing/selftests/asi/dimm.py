#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""
Adds a module of memory to a guest, or takes it away, for hotadd.

The guest needs slots for modules (QEMU's -m slots=). It is told of the removal,
and decides for itself when it lets go of the memory.
"""

import argparse
import sys

from outside import CheckError, Monitor


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0].strip())
    parser.add_argument("--qmp", required=True, metavar="SOCKET",
                        help="the QEMU monitor")
    parser.add_argument("--mib", type=int, default=128, help="its size (%(default)s)")
    parser.add_argument("action", choices=["add", "remove"])
    parser.add_argument("name")
    options = parser.parse_args()
    try:
        monitor = Monitor(options.qmp)
        if options.action == "add":
            monitor.execute("object-add", **{"qom-type": "memory-backend-ram",
                                             "id": f"ram-{options.name}",
                                             "size": options.mib << 20})
            monitor.execute("device_add", driver="pc-dimm", id=options.name,
                            memdev=f"ram-{options.name}")
        else:
            monitor.execute("device_del", id=options.name)
    except (CheckError, OSError) as error:
        print(f"{error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
