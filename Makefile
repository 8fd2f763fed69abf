# SPDX-License-Identifier: GPL-2.0-only
# Address space isolation: the one entry point. `make help` lists the targets;
# each is a script of scripts/, which says at its top what it does.

export KERNEL APPEND ACCEL TARBALL BISECT V
unexport CDPATH

.PHONY: help run test kernel shell series check-series check-off check-rig mitigations kernel-selftests stress soak bench mutants model docs clean

help:
	@sed -n 's/^#: //p' Makefile

#: Targets:
#:   run           boot a guest with ASI off and on, and show the difference
run:
	@scripts/demo

#:   test          KUnit and kselftests in guests, over the configurations
test:
	@scripts/test

#:   kernel        the patched kernel: build/bzImage, build/vmlinux, build/.config
kernel:
	@scripts/build base

#:   shell         an interactive shell in a guest (poweroff -f leaves it)
shell:
	@scripts/shell

#:   series        the patches to post: build/series/ and build/asi.mbox
series:
	@scripts/series

#:   check-series  every patch applies, builds, and is clean (BISECT=1: boots)
check-series:
	@scripts/check-series

#:   check-off     the machine code with the option off is that without the series
check-off:
	@scripts/check-off

#:   check-rig     what the rig does when something goes wrong, or is interrupted
check-rig:
	@scripts/check-rig

#:   mitigations   what stands down, on which CPU, with which options, against a table
mitigations:
	@scripts/mitigations

#:   kernel-selftests   the kernel's own, with ASI on and off, compared
kernel-selftests:
	@scripts/kernel-selftests

#:   stress        stress-ng with little memory, with ASI on and off, compared
stress:
	@scripts/stress

#:   soak          SMT siblings, CPU hotplug and NMIs, for an hour (or SOAK=SECONDS)
soak:
	@SOAK=$${SOAK:-3600} scripts/test stun stun-pair

#:   bench         transitions, flushes and instructions, beside ASI off and the blanket
bench:
	@scripts/bench

#:   mutants       kernels with one thing broken each, which the tests must notice
mutants:
	@scripts/mutants

#:   model         every interleaving of transitions and TLB flushes, in a model
model:
	@scripts/deps model
	@tools/testing/selftests/asi/model/check.sh

#:   docs          the documentation as HTML, without a warning
docs:
	@scripts/docs

#:   clean         remove all products but the downloads
clean:
	@[ ! -d ./build ] || flock -n ./build/lock find ./build -mindepth 1 -maxdepth 1 \
		! -name cache ! -name lock -exec rm -rf {} + || \
		{ echo "error: build/ is in use by another run, or not yours to remove" >&2; exit 1; }

#: Variables:
#:   KERNEL=PATH   build with your own kernel tree; it is copied, not changed
#:   TARBALL=PATH  take the kernel source from this linux-7.3.4.tar.xz
#:   APPEND=WORDS  add to the guest's kernel command line
#:   SMP=CPUS      of the guest of make shell, as QEMU's -smp (2)
#:   QUICK=1       make bench: a few workloads, in 3 minutes
#:   SOAK=SECONDS  make soak: for how long
#:   BUDGET=SECONDS  make test: skip guests that have not begun by then
#:   BISECT=1      make check-series: boot each commit
#:   ACCEL=MODE    how QEMU runs a guest: kvm, tcg or auto (the default)
#:   V=1           show the commands and all that they print
