// SPDX-License-Identifier: GPL-2.0-only
/*
 * What exits from KVM guests cost: none that the kernel handles by itself makes a
 * transition, and those that need nothing of the process do not leave the address space
 * for guests either. One that goes to user mode and back changes between the two, and if
 * L1D has to be flushed for guests (L1TF), it is then, but not by KVM. How often KVM does
 * so is shown with ASI off, too; and how long each takes, which is in instructions where
 * the clock counts them ("scripts/guest vmexit --icount").
 *
 * The mutants vmexit-exits, -switches, -window and -l1d show that all of this would be
 * noticed.
 */
#include <limits.h>
#include <stdlib.h>
#include <time.h>

#include "asi.h"
#include "guest.h"
#include "kselftest_harness.h"
#include "ram.h"

#ifndef MFD_HUGETLB
#define MFD_HUGETLB	4U
#endif

#define EXITS	1000
#define TRIES	3
#define HUGE	(2UL << 20)
#define SIZE	(4 * HUGE)

/* Less than this an exit is what the rest of the machine does meanwhile. */
#define NOTHING	0.02

#define TIMES(nr, body)			\
	"movw $" #nr ", %si\n"		\
	"1:\n"				\
	body "\n"			\
	"decw %si\n"			\
	"jnz 1b\n"

GUEST_PROGRAM(port, "");
GUEST_PROGRAM(cpuid, TIMES(1000, "xorl %eax, %eax; cpuid"));
/* IA32_APIC_BASE */
GUEST_PROGRAM(rdmsr, TIMES(1000, "movl $0x1b, %ecx; rdmsr"));
/* The mask of the first interrupt controller */
GUEST_PROGRAM(pic, TIMES(1000, "inb $0x21, %al"));
/* The ID of the local APIC */
GUEST_PROGRAM(mmio, "movl $0xfee00020, %ebx\n" TIMES(1000, "addr32 movl (%ebx), %eax"));
/* In the second, third and fourth MiB */
GUEST_PROGRAM(npf, "movl $0x100000, %ebx\n"
	      TIMES(1000, "addr32 movb $1, (%ebx); addl $0x1000, %ebx"));
/* A timer of 1 kHz, the handler of its interrupt, and nothing to do but to wait for it */
GUEST_PROGRAM(hlt,
	      "cli\n"
	      "movw $(0x1000 + 9f - guest_hlt), 0x20\n"
	      "movw $0, 0x22\n"
	      "movb $0x11, %al; outb %al, $0x20\n"
	      "movb $8, %al; outb %al, $0x21\n"
	      "movb $4, %al; outb %al, $0x21\n"
	      "movb $1, %al; outb %al, $0x21\n"
	      "movb $0xfe, %al; outb %al, $0x21\n"
	      "movb $0x34, %al; outb %al, $0x43\n"
	      "movb $0xa9, %al; outb %al, $0x40\n"
	      "movb $4, %al; outb %al, $0x40\n"
	      TIMES(100, "sti; hlt; cli")
	      "jmp 8f\n"
	      "9: movb $0x20, %al; outb %al, $0x20; iretw\n"
	      "8:");

/* The kernel writes to its paravirtual clock, of which it says anew where that is. */
GUEST_PROGRAM(clock, "xorl %edx, %edx; movl $0x4b564d01, %ecx\n"
	      TIMES(1000, "movl $0x7001, %eax; wrmsr"));
/* A guest of its own, which has but one instruction; that is an exit to here. */
#define PAGE_DIR	0x3000
#define VMCB		0x4000
#define HSAVE		0x5000
#define NESTED_CODE	0x6000
GUEST_PROGRAM(nested, TIMES(1000, "movl $0x4000, %eax; vmload; vmrun; vmsave"));

/* KVM looks for events in memory that it shares with a guest of Xen, before each entry. */
#define SHARED_INFO	0x5000
#define VCPU_INFO	0x6000
#define RUNSTATE	0x7000
GUEST_PROGRAM(xen, TIMES(1000, "cpuid"));

static const char * const counters[] = {
	"asi_exit", "asi_switch", "asi_flush_control", "asi_flush_data", "asi_flush_cache"
};

#define KVM	5		/* its flushes of L1D, since there are guests */
#define COUNTED	6

static long counted(int counter)
{
	char buf[32] = "";

	if (counter != KVM)
		return asi_is_on() ? asi_counter(counters[counter]) : 0;
	asi_slurp("/sys/kernel/debug/kvm/l1d_flush", buf, sizeof(buf));
	return atol(buf);
}

static bool kvm_flushes_l1d(void)
{
	char buf[256] = "";

	asi_slurp("/sys/devices/system/cpu/vulnerabilities/l1tf", buf, sizeof(buf));
	return strstr(buf, "VMX: conditional cache flushes");
}

/* What a guest has its memory from */
enum backing { ANON, THP, HUGETLB, SHMEM, GMEM };

FIXTURE(vmexit) {
	struct guest guest;
	char *mem;
	int fd;			/* of the memory, if it has one */
	long pool;		/* how many huge pages there were */
};

FIXTURE_VARIANT(vmexit) {
	const char *code, *end;
	unsigned int exits;	/* of one run */
	bool irqchip;
	bool anew;		/* the memory for each run */
	bool fresh;		/* it is not there before each run, from HUGE on */
	enum backing backing;
	bool windowless;	/* on purpose: such that what touches its memory exits */
	bool skips;		/* an instruction, which has to be read for that by KVM on
				 * CPUs that do not say how long it is
				 */
	bool hypervisor;	/* it has guests */
	bool xen;		/* it finds an interface like that of Xen */
	double switches;	/* of each, between the two address spaces, at most */
};

#define VARIANT(name, ...)						\
	FIXTURE_VARIANT_ADD(vmexit, name) {				\
		.code = guest_##name, .end = guest_##name##_end, __VA_ARGS__ }

VARIANT(port, .exits = 1, .switches = 2);
VARIANT(cpuid, .exits = EXITS, .skips = true, .switches = 0);
VARIANT(rdmsr, .exits = EXITS, .skips = true, .switches = 0);
VARIANT(pic, .exits = EXITS, .irqchip = true, .switches = 0);
/* The same, if it does not say what the instruction is. */
VARIANT(mmio, .exits = EXITS, .irqchip = true, .switches = 2);
VARIANT(npf, .exits = EXITS, .anew = true, .switches = 0);
/*
 * The same with memory that is allocated and cleared on the way, whatever it is from: each
 * of 744 pages, or two large ones.
 */
#define FRESH(name, from, nr)						\
	FIXTURE_VARIANT_ADD(vmexit, name) {				\
		.code = guest_npf, .end = guest_npf_end, .backing = from,	\
		.exits = nr, .fresh = true, .switches = 2 }

FRESH(fresh, ANON, 744);
FRESH(fresh_thp, THP, 2);
FRESH(fresh_hugetlb, HUGETLB, 2);
FRESH(fresh_shmem, SHMEM, 744);
FRESH(fresh_gmem, GMEM, 744);
/* The negative control of these. */
FIXTURE_VARIANT_ADD(vmexit, fresh_windowless) {
	.code = guest_npf, .end = guest_npf_end, .exits = 744, .fresh = true,
	.windowless = true, .switches = 4
};

/* The idle task runs, with registers of the guest saved. */
VARIANT(hlt, .exits = 100, .irqchip = true, .skips = true, .switches = 0);
VARIANT(clock, .exits = EXITS, .skips = true, .switches = 2);
/* These are four. */
VARIANT(nested, .exits = EXITS, .hypervisor = true, .switches = 8);
VARIANT(xen, .exits = EXITS, .irqchip = true, .skips = true, .xen = true, .switches = 2);

/* Has the guest in protected mode, with paging, and a VMCB for one in real mode. */
static int make_hypervisor(struct guest *guest, char *mem)
{
	/* The AMD64 Architecture Programmer's Manual, volume 2, appendix B */
	static const struct {
		unsigned int offset, value;
	} vmcb[] = {
		{ 0x00c, 1 << 18 }, { 0x010, 1 << 0 },		/* intercepts: CPUID, VMRUN */
		{ 0x058, 1 },					/* ASID */
		{ 0x410, 0x9b << 16 }, { 0x414, 0xffff },	/* CS */
		{ 0x420, 0x93 << 16 }, { 0x424, 0xffff },	/* SS */
		{ 0x4d0, 1 << 12 },				/* EFER: SVME */
		{ 0x558, 1 << 4 },				/* CR0: ET */
		{ 0x560, 0x400 }, { 0x568, 0xffff0ff0 },	/* DR7, DR6 */
		{ 0x570, 2 }, { 0x578, NESTED_CODE },		/* RFLAGS, RIP */
	};
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry hsave;
	} msrs = { .head.nmsrs = 1, .hsave = { .index = 0xc0010117, .data = HSAVE } };
	struct kvm_sregs sregs;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(vmcb); i++)
		memcpy(mem + VMCB + vmcb[i].offset, &vmcb[i].value, sizeof(vmcb[i].value));
	memcpy(mem + NESTED_CODE, "\x0f\xa2", 2);
	mem[PAGE_DIR] = (char)0x83;	/* 4 MiB */
	if (ioctl(guest->vcpu, KVM_GET_SREGS, &sregs))
		return -errno;
	sregs.cr0 |= 1 | 1U << 31;
	sregs.cr3 = PAGE_DIR;
	sregs.cr4 |= 1 << 4;
	sregs.efer |= 1 << 12;
	if (ioctl(guest->vcpu, KVM_SET_SREGS, &sregs))
		return -errno;
	return ioctl(guest->vcpu, KVM_SET_MSRS, &msrs) == 1 ? 0 : -EINVAL;
}

static int make_xen(struct guest *guest)
{
	struct kvm_xen_hvm_config config = {
		.flags = KVM_XEN_HVM_CONFIG_INTERCEPT_HCALL,
		.msr = 0x40000000,
	};
	struct kvm_xen_hvm_attr shared = {
		.type = KVM_XEN_ATTR_TYPE_SHARED_INFO,
		.u.shared_info.gfn = SHARED_INFO / 0x1000,
	}, vector = {
		.type = KVM_XEN_ATTR_TYPE_UPCALL_VECTOR,
		.u.vector = 0x40,
	};
	struct kvm_xen_vcpu_attr info = {
		.type = KVM_XEN_VCPU_ATTR_TYPE_VCPU_INFO,
		.u.gpa = VCPU_INFO,
	}, runstate = {
		.type = KVM_XEN_VCPU_ATTR_TYPE_RUNSTATE_ADDR,
		.u.gpa = RUNSTATE,
	};

	return ioctl(guest->vm, KVM_XEN_HVM_CONFIG, &config) ||
	       ioctl(guest->vm, KVM_XEN_HVM_SET_ATTR, &shared) ||
	       ioctl(guest->vm, KVM_XEN_HVM_SET_ATTR, &vector) ||
	       ioctl(guest->vcpu, KVM_XEN_VCPU_SET_ATTR, &info) ||
	       ioctl(guest->vcpu, KVM_XEN_VCPU_SET_ATTR, &runstate) ? -errno : 0;
}

/* Memory for a guest, or NULL; @fd is that of the file that it is part of. */
static char *backed_by(enum backing backing, struct guest *guest, int *fd)
{
	char *mem;

	*fd = -1;
	switch (backing) {
	case HUGETLB:
		asi_write("/proc/sys/vm/compact_memory", "1\n");
		ram_set_pool(ram_pool() + SIZE / HUGE);
		*fd = memfd_create("asi", MFD_CLOEXEC | MFD_HUGETLB);
		break;
	case SHMEM:
		*fd = memfd_create("asi", MFD_CLOEXEC);
		break;
	case GMEM:
		mem = guest_memfd(guest, SIZE);
		*fd = guest->memory.guest_memfd;
		return mem;
	default:
		mem = asi_fresh(SIZE + HUGE);
		if (!mem)
			return NULL;
		mem += -(unsigned long)mem % HUGE;
		/* Else a fault for each page */
		if (madvise(mem, SIZE, backing == THP ? MADV_HUGEPAGE : MADV_NOHUGEPAGE) &&
		    backing == THP)
			return NULL;
		return mem;
	}
	if (*fd < 0 || ftruncate(*fd, SIZE))
		return NULL;
	mem = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, *fd, 0);
	return mem == MAP_FAILED ? NULL : mem;
}

/* Has it without all of its memory from HUGE on. Returns whether that went. */
static bool take_back(char *mem, int fd)
{
	if (fd < 0)
		return !madvise(mem + HUGE, SIZE - HUGE, MADV_DONTNEED);
	return !fallocate(fd, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, HUGE, SIZE - HUGE);
}

FIXTURE_SETUP(vmexit)
{
	int ret;

	ASSERT_EQ(0, asi_pin_alone());
	if (variant->hypervisor && !asi_cpu_has("svm"))
		SKIP(return, "guests have guests with SVM only, here");
	if (!guest_is_executed())
		SKIP(return, "real mode is emulated, from memory of the VMM");
	if (variant->windowless && (!asi_is_on() || !asi_has_debugfs()))
		SKIP(return, "ASI is off, or no CONFIG_ASI_DEBUG");
	if (variant->fresh && asi_is_booted_with("page_poison=1"))
		SKIP(return, "free pages are overwritten");
	ret = guest_open(&self->guest);
	if (self->guest.kvm < 0)
		SKIP(return, "no KVM");
	ASSERT_EQ(0, ret);
	self->pool = ram_pool();
	self->mem = backed_by(variant->backing, &self->guest, &self->fd);
	if (!self->mem && variant->backing == HUGETLB)
		ram_set_pool(self->pool);
	if (!self->mem && variant->backing != ANON)
		SKIP(return, "there is no such memory");
	ASSERT_NE(NULL, self->mem);
	ASSERT_EQ(0, guest_start(&self->guest, variant->code, variant->end, self->mem, SIZE,
				 variant->irqchip));
	if (variant->hypervisor)
		ASSERT_EQ(0, make_hypervisor(&self->guest, self->mem));
	if (variant->xen && ioctl(self->guest.kvm, KVM_CHECK_EXTENSION, KVM_CAP_XEN_HVM) <= 0)
		SKIP(return, "no CONFIG_KVM_XEN");
	if (variant->xen)
		ASSERT_EQ(0, make_xen(&self->guest));
}

FIXTURE_TEARDOWN_PARENT(vmexit)
{
	if (variant->windowless)
		asi_break("");
	if (variant->backing == HUGETLB)
		ram_set_pool(self->pool);
}

/* Is L1D flushed for guests, and by ASI? What the kernel says of it has to agree. */
static int flushes_l1d(void)
{
	char asi[512] = "", l1tf[256] = "";
	bool flushes, left;

	asi_slurp("/sys/devices/system/cpu/asi", asi, sizeof(asi));
	asi_slurp("/sys/devices/system/cpu/vulnerabilities/l1tf", l1tf, sizeof(l1tf));
	flushes = strstr(asi, ", before guests: L1D") || strstr(asi, ", on enter: L1D");
	left = strstr(l1tf, "VMX: cache flushes by ASI");
	if (left != !!strstr(asi, " l1tf") || left > flushes)
		return -1;
	return left;
}

static long now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000L + time.tv_nsec;
}

TEST_F_TIMEOUT(vmexit, costs, 120)
{
	long least[COUNTED] = { -1, -1, -1, -1, -1, -1 };
	unsigned int runs = variant->exits > 1 ? 1 : EXITS, i, k, try;
	double each[COUNTED], switches = variant->switches;
	int l1d = flushes_l1d();
	long huge, fallback, ns, least_ns = LONG_MAX;

	ASSERT_LE(0, l1d);
	if (variant->windowless)
		ASSERT_EQ(0, asi_break("nowindow"));
	/* What has been said may be on its way yet, through buffers that are sensitive. */
	usleep(500000);
	for (try = 0; try <= TRIES; try++) {
		long before[COUNTED];

		/* Once to get warm */
		if (!try) {
			ASSERT_TRUE(guest_run(&self->guest));
			continue;
		}
		if (variant->anew)
			ASSERT_EQ(0, guest_map(&self->guest));
		if (variant->fresh)
			ASSERT_TRUE(take_back(self->mem, self->fd));
		huge = asi_counter("thp_fault_alloc");
		fallback = asi_counter("thp_fault_fallback");
		for (k = 0; k < COUNTED; k++)
			before[k] = counted(k);
		ns = now();
		for (i = 0; i < runs; i++)
			ASSERT_TRUE(guest_run(&self->guest));
		ns = now() - ns;
		least_ns = ns < least_ns ? ns : least_ns;
		for (k = 0; k < COUNTED; k++) {
			long grown = counted(k) - before[k];

			if (least[k] < 0 || grown < least[k])
				least[k] = grown;
		}
		if (variant->backing == THP && asi_counter("thp_fault_fallback") > fallback)
			SKIP(return, "no huge pages");
		if (variant->backing == THP)
			EXPECT_EQ(2, asi_counter("thp_fault_alloc") - huge);
	}
	if (variant->hypervisor)
		EXPECT_EQ(0x72, self->mem[VMCB + 0x70]);	/* CPUID */
	if (variant->xen)
		EXPECT_NE(0, self->mem[RUNSTATE + 4] | self->mem[RUNSTATE + 5]);
	for (k = 0; k < COUNTED; k++)
		each[k] = (double)least[k] / runs / variant->exits;
	TH_LOG("an exit costs %.3f transitions, %.3f switches, %.3f control and %.3f data flushes",
	       each[0], each[1], each[2], each[3]);
	TH_LOG("L1D is flushed %.3f times, and by KVM %.3f times", each[4], each[KVM]);
	TH_LOG("it takes %.0f ns", (double)least_ns / runs / variant->exits);
	if (!asi_is_on()) {
		if (variant->exits == 1 && kvm_flushes_l1d())
			EXPECT_LE(1 - NOTHING, each[KVM]);
		return;
	}
	EXPECT_EQ(variant->windowless, each[0] > 1 - NOTHING);
	EXPECT_EQ(!variant->windowless, each[0] < NOTHING);
	if (l1d)
		EXPECT_EQ(0, each[KVM]);
	if (variant->skips && asi_cpu_has("svm") && !asi_cpu_has("nrip_save"))
		switches = 2;
	/* Somebody else may run meanwhile. */
	EXPECT_GE(switches + NOTHING + 10. / runs / variant->exits, each[1]);
	/* On the way back from the VMM. */
	if (l1d && variant->exits == 1)
		EXPECT_LE(1 - NOTHING, each[4]);
	/* And on the way into the guest. */
	EXPECT_GE(switches / 2 + NOTHING + 1. / runs / variant->exits, each[4]);
}

TEST_HARNESS_MAIN
