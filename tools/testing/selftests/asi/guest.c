// SPDX-License-Identifier: GPL-2.0-only
/*
 * KVM guests: that one has run on a CPU is known there until the next control flush,
 * which is that of the next exit, or, if guests must not steer user mode, comes
 * before user mode runs; see arch/x86/mm/asi_taint.h.
 */
#include <asm/ldt.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "asi.h"
#include "guest.h"
#include "kselftest_harness.h"

#define CONTROL_GUEST	2
#define SIZE		(64UL << 10)

/* Is something in the line that tells what ASI does? */
static bool asi_says(const char *words)
{
	char buf[512];

	return asi_slurp("/sys/devices/system/cpu/asi", buf, sizeof(buf)) > 0 &&
	       strstr(buf, words);
}

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

GUEST_PROGRAM(port, "");
/* Long enough to be preempted */
GUEST_PROGRAM(loop, "movl $3000000, %ecx\n"
	      "1: decl %ecx\n"
	      "jnz 1b");

FIXTURE(guest) {
	int state, cpu;
	struct guest guest;
};

FIXTURE_SETUP(guest)
{
	char *mem;
	int ret;

	if (!asi_is_on())
		SKIP(return, "ASI is off");
	if (!asi_has_debugfs())
		SKIP(return, "no CONFIG_ASI_DEBUG, or debugfs is not mounted");
	if (asi_says("flush on exit: nothing"))
		SKIP(return, "there is nothing to be flushed");
	ASSERT_EQ(0, asi_pin_alone());
	self->cpu = sched_getcpu();
	self->state = asi_open_state();
	ASSERT_LE(0, self->state);

	mem = asi_fresh(SIZE);
	ASSERT_NE(NULL, mem);
	ret = guest_make(&self->guest, guest_port, guest_port_end, mem, SIZE, false);
	if (self->guest.kvm < 0)
		SKIP(return, "no KVM");
	ASSERT_EQ(0, ret);
}

FIXTURE_TEARDOWN(guest)
{
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
	bool before = asi_says("after guests: IBPB");
	int i, ret, tainted, nr_tainted = 0, noticed = 0;
	long flushes, without;

	for (i = 0; i < 10; i++) {
		without = flushes_of_run(self->guest.vcpu, self->guest.run, false, &ret);
		ASSERT_EQ(-1, ret);

		/* An exit flushes. */
		ASSERT_TRUE(asi_transit());
		ASSERT_EQ(0, taints_of(self->state, self->cpu) & CONTROL_GUEST);

		flushes = flushes_of_run(self->guest.vcpu, self->guest.run, true, &ret);
		ASSERT_EQ(0, ret);
		ASSERT_EQ(KVM_EXIT_IO, self->guest.run->exit_reason);
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

#define LDT_SELECTOR	7	/* The first entry of the LDT, for user mode */
#define MARK		0x41534947

/*
 * VMX loads %gs from the LDT when a vCPU is preempted, on the root that its guest has left.
 * Where KPTI has that table it must be mapped: a fault on the way, and another try, would
 * take the kernel's GS base for that of user mode.
 */
TEST_F(guest, keeps_segments_of_its_vmm)
{
	unsigned int *low = mmap(NULL, getpagesize(), PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	struct user_desc desc = {
		.base_addr = (unsigned long)low,
		.limit = 0xfffff,
		.seg_32bit = 1,
		.limit_in_pages = 1,
	};
	unsigned int found, selector;
	pid_t pid;
	int i;

	ASSERT_NE(MAP_FAILED, low);
	*low = MARK;
	memcpy((char *)self->guest.memory.userspace_addr + GUEST_CODE, guest_loop,
	       guest_loop_end - guest_loop);
	if (syscall(SYS_modify_ldt, 0x11, &desc, sizeof(desc)))
		SKIP(return, "no modify_ldt()");
	/* On the same CPU */
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			;
	}
	asm volatile("movl %0, %%gs" : : "r"(LDT_SELECTOR));
	for (i = 0; i < 50; i++) {
		ASSERT_TRUE(guest_run(&self->guest));
		asm volatile("movl %%gs:0, %0\n\t"
			     "movl %%gs, %1" : "=&r"(found), "=r"(selector) : : "memory");
		ASSERT_EQ(MARK, found);
		ASSERT_EQ(LDT_SELECTOR, selector);
	}
	asm volatile("movl %0, %%gs" : : "r"(0));
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

TEST_HARNESS_MAIN
