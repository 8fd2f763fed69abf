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

# must COMMAND...: what it complains of is our one line.
must()
{
	complaint=$("$@" 2>&1 >/dev/null) ||
		die "$(printf '%s\n' "${complaint:-failed: $*}" | tail -n 1)"
}

# For scripts that take none: no_arguments "$@"
no_arguments() { [ $# = 0 ] || die "${0##*/}: unknown argument $1"; }

# The build directory's lock: held until the script ends, so that two runs in
# one clone take turns. A script that another one runs under the lock inherits.
lock()
{
	[ -z "${ASI_LOCKED-}" ] || return 0
	must mkdir -p "$BUILD"
	must touch "$BUILD/lock"
	exec 9>"$BUILD/lock"
	flock -n 9 || { say "waiting for another run in $BUILD"; flock 9; }
	export ASI_LOCKED=1
}

# need_space MIB WHAT: there must be that much room below build/.
need_space()
{
	must mkdir -p "$BUILD"
	room=$(df -Pm "$BUILD" | awk 'NR == 2 { print $4 }')
	[ "$room" -ge "$1" ] ||
		die "no space for $2: needs $1 MiB below $BUILD, has $room"
}

DEB_KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg

# Debian's mirror that apt-get uses here, or nothing. Not from the lists, which a
# container may have thrown away.
debian_mirror()
{
	apt-get update --print-uris 2>/dev/null | grep -v security |
		sed -n "s,^'\(.*\)/dists/[^/]*/InRelease'.*,\1,p" | head -n 1
}

# quietly LOG COMMAND...: the command's output goes to build/log/LOG.log; when
# it fails, its last lines and the log's path are shown. V=1 shows everything.
quietly()
{
	log=$BUILD/log/$1.log
	shift
	must mkdir -p "$BUILD/log"
	must touch "$log"
	if [ "$V" != 0 ]; then
		printf '+ %s\n' "$*"
		rm -f "$log.ok"
		{ "$@" 2>&1 && : >"$log.ok"; } | tee "$log"
		rm "$log.ok" 2>/dev/null && return
		die "failed: $*"
	fi
	"$@" >"$log" 2>&1 && return
	tail -n 12 "$log" >&2
	die "failed: $* (the whole log: $log)"
}

# making DIR; make; made DIR: a make that was killed may leave files there that are
# half written, and yet newer than what they are made of. The next one goes without.
making()
{
	must mkdir -p "$1"
	[ ! -f "$1/.making" ] ||
		find "$1" -type f -cnewer "$1/.making" ! -name .making -delete
	must touch "$1/.making"
}

made() { rm -f "$1/.making"; }
