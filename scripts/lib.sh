# SPDX-License-Identifier: GPL-2.0-only
# What every shell script of the rig shares. Source it from the scripts/
# directory's parent: . "${0%/*}/lib.sh"

set -eu

unset CDPATH
ROOT=$(cd "${0%/*}/.." && pwd)
BUILD=$ROOT/build
V=${V:-0}
export ROOT V

. "$ROOT/scripts/source.pin"

say() { printf '%s\n' "$*"; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# What the kernel's make and QEMU cannot take.
case $ROOT in
*[[:space:]:,]*) die "no spaces, colons or commas may be in the path of $ROOT" ;;
esac

case ${ACCEL:-auto} in
kvm|tcg|auto) ;;
*) die "ACCEL=$ACCEL: say kvm, tcg or auto" ;;
esac

# For scripts that take none: no_arguments "$@"
no_arguments() { [ $# = 0 ] || die "${0##*/}: unknown argument $1"; }

# The build directory's lock: held until the script ends, so that two runs in
# one clone take turns. A script that another one runs under the lock inherits.
lock()
{
	[ -z "${ASI_LOCKED-}" ] || return 0
	mkdir -p "$BUILD"
	exec 9>"$BUILD/lock"
	flock -n 9 || { say "waiting for another run in $BUILD"; flock 9; }
	export ASI_LOCKED=1
}

# need_space MIB WHAT: there must be that much room below build/.
need_space()
{
	mkdir -p "$BUILD"
	room=$(df -Pm "$BUILD" | awk 'NR == 2 { print $4 }')
	[ "$room" -ge "$1" ] ||
		die "no space for $2: needs $1 MiB below $BUILD, has $room"
}

# quietly LOG COMMAND...: the command's output goes to build/log/LOG.log; when
# it fails, its last lines and the log's path are shown. V=1 shows everything.
quietly()
{
	log=$BUILD/log/$1.log
	shift
	mkdir -p "$BUILD/log"
	if [ "$V" != 0 ]; then
		printf '+ %s\n' "$*"
		{ "$@" 2>&1 && : >"$log.ok"; } | tee "$log"
		rm "$log.ok" 2>/dev/null && return
		die "failed: $*"
	fi
	"$@" >"$log" 2>&1 && return
	tail -n 12 "$log" >&2
	die "failed: $1 (the whole log: $log)"
}
