// SPDX-License-Identifier: GPL-2.0-only
/*
 * KVM guests: that one has run on a CPU is known there until the next control flush,
 * which is that of the next exit, or, if guests must not steer user mode, comes
 * before user mode runs; see arch/x86/mm/asi_taint.h.
 */
#include <linux/kvm.h>
#include <sys/ioctl.h>

#include "asi.h"
#include "kselftest_harness.h"

#define CONTROL_GUEST	2
#define CODE		0x1000

/* The taints of a CPU, or -1. */
static int taints_of(int state, int cpu)
{
	char buf[16384], word[32], *found;
	ssize_t len;

	len = pread(state, buf, sizeof(buf) - 1, 0);
	if (len <= 0)
		return -1;
	buf[len] = 0;
	snprintf(word, sizeof(word), "cpu=%d taints=", cpu);
	found = strstr(buf, word);
	return found ? strtol(found + strlen(word), NULL, 0) : -1;
}

FIXTURE(guest) {
	int state, file, cpu;
	int kvm, vm, vcpu;
	struct kvm_run *run;
};

FIXTURE_SETUP(guest)
{
	/* out %al, $0x10; and again, without end */
	static const char code[] = { 0xe6, 0x10, 0xeb, 0xfc };
	struct kvm_userspace_memory_region region = {
		.guest_phys_addr = CODE,
		.memory_size = 4096,
	};
	struct kvm_regs regs = { .rip = CODE, .rflags = 2 };
	struct kvm_sregs sregs;
	char buf[4096] = { };
	char *mem;

	if (!asi_is_on())
		SKIP(return, "ASI is off");
	if (!asi_has_debugfs())
		SKIP(return, "no CONFIG_ASI_DEBUG, or debugfs is not mounted");
	self->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (self->kvm < 0)
		SKIP(return, "no KVM");
	ASSERT_EQ(0, asi_pin_alone());
	self->cpu = sched_getcpu();
	self->state = asi_open_state();
	ASSERT_LE(0, self->state);
	self->file = memfd_create("asi", MFD_CLOEXEC);
	ASSERT_EQ(sizeof(buf), write(self->file, buf, sizeof(buf)));

	self->vm = ioctl(self->kvm, KVM_CREATE_VM, 0);
	ASSERT_LE(0, self->vm);
	mem = asi_fresh(4096);
	ASSERT_NE(NULL, mem);
	memcpy(mem, code, sizeof(code));
	region.userspace_addr = (unsigned long)mem;
	ASSERT_EQ(0, ioctl(self->vm, KVM_SET_USER_MEMORY_REGION, &region));
	self->vcpu = ioctl(self->vm, KVM_CREATE_VCPU, 0);
	ASSERT_LE(0, self->vcpu);
	self->run = mmap(NULL, ioctl(self->kvm, KVM_GET_VCPU_MMAP_SIZE, 0),
			 PROT_READ | PROT_WRITE, MAP_SHARED, self->vcpu, 0);
	ASSERT_NE(MAP_FAILED, self->run);
	ASSERT_EQ(0, ioctl(self->vcpu, KVM_GET_SREGS, &sregs));
	sregs.cs.base = 0;
	sregs.cs.selector = 0;
	ASSERT_EQ(0, ioctl(self->vcpu, KVM_SET_SREGS, &sregs));
	ASSERT_EQ(0, ioctl(self->vcpu, KVM_SET_REGS, &regs));
}

FIXTURE_TEARDOWN(guest)
{
}

/* Does ASI keep guests from steering user mode? */
static int before_user_mode(void)
{
	char buf[512] = "";
	int file = open("/sys/devices/system/cpu/asi", O_RDONLY | O_CLOEXEC);

	if (file < 0 || read(file, buf, sizeof(buf) - 1) <= 0)
		return -1;
	close(file);
	return !!strstr(buf, "after guests: IBPB");
}

/* How many control flushes it takes to call the vCPU, with the guest running or not. */
static long flushes_of_run(int vcpu, struct kvm_run *run, bool runs, int *ret)
{
	long flushes = asi_counter("asi_flush_control");

	run->immediate_exit = !runs;
	*ret = ioctl(vcpu, KVM_RUN, 0);
	return asi_counter("asi_flush_control") - flushes;
}

TEST_F(guest, taints_its_cpu)
{
	int before = before_user_mode(), i, ret, tainted, nr_tainted = 0, noticed = 0;
	long flushes, without;
	char byte;

	ASSERT_LE(0, before);
	for (i = 0; i < 10; i++) {
		without = flushes_of_run(self->vcpu, self->run, false, &ret);
		ASSERT_EQ(-1, ret);

		/* An exit flushes. */
		ASSERT_EQ(1, pread(self->file, &byte, 1, 0));
		ASSERT_EQ(0, taints_of(self->state, self->cpu) & CONTROL_GUEST);

		flushes = flushes_of_run(self->vcpu, self->run, true, &ret);
		ASSERT_EQ(0, ret);
		ASSERT_EQ(KVM_EXIT_IO, self->run->exit_reason);
		tainted = !!(taints_of(self->state, self->cpu) & CONTROL_GUEST);
		nr_tainted += tainted;
		/* KVM exits when it is back from the guest, or user mode flushes. */
		noticed += tainted || flushes > without;
		EXPECT_LE(before, flushes);
	}
	TH_LOG("%d times tainted, %d times noticed", nr_tainted, noticed);
	/* What interrupts do may hide it, but not each time. */
	EXPECT_LE(5, noticed);
	EXPECT_GE(before ? 0 : 10, nr_tainted);
}

TEST_HARNESS_MAIN
