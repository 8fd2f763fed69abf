#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# Let spin verify the models. Each holds with every combination of its options,
# and all of it is reached. It fails when one of the words BREAK_* breaks it.

models=$(cd "$(dirname "$0")" && pwd)
for tool in spin gcc; do
	command -v $tool >/dev/null || { echo "error: $tool is missing" >&2; exit 1; }
done
work=$(mktemp -d) && cd "$work" || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

# verify OPTIMIZATION MODEL OPTIONS...: leaves what the verifier says in log.
verify()
{
	optimization=$1 model=$models/$2.pml
	shift 2
	spin -a "$@" "$model" &&
		gcc "$optimization" -DSAFETY -DNOREDUCE -DMEMLIM=3000 pan.c -o pan &&
		./pan -m2500000
} >log 2>&1

# The search was complete. What the monitor would say is not to be reached.
holds()
{
	verify -O1 "$@"
	missed=$(sed '/proctype monitor/,/^[^\t]/d; /"-end-"/d' log | grep ', state [0-9]')
	grep -q 'errors: 0$' log && [ -z "$missed" ] &&
		! grep -q 'max search depth\|not completed' log
}

fails()
{
	verify -O0 "$@"
	grep -q '^pan:1: \(assertion violated\|invalid end state\)' log && grep -q 'errors: 1$' log
}

# One line of those below
if [ $# != 0 ]; then
	# shellcheck disable=SC2086
	set -- $1
	number=$1 what=$2
	shift 2
	if $what "$@"; then ok=ok; else ok="not ok"; fi
	echo "$ok $number $* $what:$(sed -n 's/^ *\(.* states\), stored.*/ \1/p' log)"
	[ "$ok" = ok ] || grep -v '^Depth=' log | sed 's/^/# /'
	exit
fi

runs=$(
	for options in "" -DL1D_GUEST -DRETBLEED; do echo "holds transition $options"; done
	for model in stun window root entry; do echo "holds $model"; done
	for options in "" -DINVPCID -DKPTI "-DKPTI -DINVPCID"; do echo "holds tlb $options"; done
	for name in transition tlb stun window root entry; do
		grep -o 'BREAK_[A-Z0-9_]*' "$models/$name.pml" | sort -u | sed "s/^/fails $name -D/"
	done
)
printf 'KTAP version 1\n1..%d\n' "$(echo "$runs" | wc -l)"
# A line for each, as they end; two at a time if there is memory, of which each may take 3 GB.
jobs=$(awk '/^MemAvailable:/ { print $2 > 8000000 ? 2 : 1 }' /proc/meminfo)
echo "$runs" | nl -ba | xargs -P "${jobs:-1}" -d '\n' -n 1 "$models/check.sh" | tee lines
passed=$(grep -c '^ok' lines) failed=$(grep -c '^not ok' lines)
[ $((passed + failed)) = "$(echo "$runs" | wc -l)" ] || failed=$((failed + 1))
echo "$passed passed, $failed failed, 0 skipped"
[ $failed = 0 ]
