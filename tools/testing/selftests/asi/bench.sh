#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# Usage: bench.sh [DIRECTORY]
#
# Measure each operation with the kernel that runs, and show the table, beside what
# the same script has left in the directory (asi-bench) after boots with another
# asi=: boot with asi=off, run it, boot with asi=on, run it again. Nanoseconds are
# those of the machine: have it idle, and at one frequency.

here=$(cd "${0%/*}" && pwd)
results=${1-asi-bench}

die() { printf 'error: %s\n' "$*" >&2; exit 1; }

[ $# -lt 2 ] || die "bench.sh: one argument at most"
[ -x "$here/bench" ] || make -C "$here" >&2 || die "bench cannot be built"
mkdir -p "$results" || exit

# What was asked for, and what is in force.
mode=$(grep -o '\<asi=[^ ]*' /proc/cmdline | tail -n 1)
if grep -qw asi /proc/cpuinfo; then
	mode=${mode:-asi=on}
else
	mode=asi=off
fi
mode=$(uname -r),$mode
echo "measuring with $mode" >&2
"$here/bench" >"$results/$mode.tmp" || die "bench failed: see $results/$mode.tmp"
mv "$results/$mode.tmp" "$results/$mode.txt" || exit

exec awk '
FNR == 1 {
	mode = FILENAME
	sub(/.*\//, "", mode)
	sub(/\.txt$/, "", mode)
	modes[++nr] = mode
	off = mode ~ /asi=off$/ && !off ? nr : off
}
$1 == "bench" {
	if (!($2 in seen)) {
		seen[$2] = 1
		order[++operations] = $2
	}
	cost[$2, nr] = sprintf("%11s %9s %10s", $3, $4, $5)
	ns[$2, nr] = $5
}
END {
	for (m = 1; m <= nr; m++)
		printf "(%d) %s%s\n", m, modes[m], m == off ? ", which the ratios are to" : ""
	printf "%-24s", "operation"
	for (m = 1; m <= nr; m++)
		printf " | %11s %9s %10s %6s", "transitions", "flushes", "ns (" m ")", "ratio"
	print ""
	for (o = 1; o <= operations; o++) {
		name = order[o]
		printf "%-24s", name
		for (m = 1; m <= nr; m++) {
			ratio = off && ns[name, off] > 0 && (name, m) in ns ? \
				sprintf("%.3f", ns[name, m] / ns[name, off]) : "-"
			printf " | %32s %6s", (name, m) in cost ? cost[name, m] : "-", ratio
		}
		print ""
	}
}' "$results"/*.txt
