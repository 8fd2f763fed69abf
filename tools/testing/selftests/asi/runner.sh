#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# Runs the ASI selftests in a guest that has nothing but a shell, and reports
# in the manner of the kselftest runner.
#
# Usage: runner.sh test...

cd "$(dirname "$0")" || exit 1

[ $# -gt 0 ] || { echo "usage: runner.sh test..." >&2; exit 2; }

timeout=45
while IFS='=' read -r key value; do
	[ "$key" = timeout ] && timeout=$value
done < settings

mounted()
{
	grep -q " $1 " /proc/mounts
}

mount_if_missing()
{
	mounted "$2" || { mkdir -p "$2" && mount -t "$1" none "$2"; } 2>/dev/null
}

mount_if_missing proc /proc
mount_if_missing sysfs /sys
mount_if_missing debugfs /sys/kernel/debug
mount_if_missing tracefs /sys/kernel/tracing
mount_if_missing tmpfs /tmp
mount_if_missing tmpfs /dev/shm

# A program all of whose tests were skipped has not passed.
all_skipped()
{
	grep -q '^# Totals: pass:0 fail:0 xfail:0 xpass:0 skip:[1-9]' "$1"
}

run_one()
{
	log=/tmp/asi-log.$$
	{
		timeout "$timeout" "./$1" 2>&1
		echo "exit=$?" >> "$log"
	} | while IFS= read -r line; do
		printf '# %s\n' "$line"
		printf '%s\n' "$line" >> "$log"
	done
	rc=$(sed -n 's/^exit=//p' "$log")
	[ "$rc" = 0 ] && all_skipped "$log" && rc=4
	rm -f "$log"
	name="$count selftests: asi: $1"
	case $rc in
	0) echo "ok $name" ;;
	4) echo "ok $name # SKIP" ;;
	124|143) echo "not ok $name # TIMEOUT $timeout seconds" ;;
	*) echo "not ok $name # exit=$rc" ;;
	esac
	[ "$rc" = 0 ] || [ "$rc" = 4 ]
}

echo "TAP version 13"
echo "1..$#"
count=0
failed=0
for name; do
	count=$((count + 1))
	echo "# timeout set to $timeout"
	echo "# selftests: asi: $name"
	run_one "$name" || failed=1
done
exit $failed
