#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# What runs in the guest that outside.py looks at: the victim, and once it has
# planted its secrets and sleeps, the attackers. Never ends.
#
# With asi_break=nomark in the environment (a word on the kernel's command line
# will do) user memory is not sensitive: the negative control.

cd "$(dirname "$0")" || exit 1

if [ -n "$asi_break" ]; then
	echo "$asi_break" > /sys/kernel/debug/asi/break || exit 1
fi

./plant > /tmp/planted &
until grep -q "^plant: ready" /tmp/planted; do
	kill -0 $! || exit 1
	sleep 1
done
cat /tmp/planted
exec ./spin
