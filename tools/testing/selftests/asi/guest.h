/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A small KVM guest, in real mode with segments that reach all of its memory.
 */
#ifndef SELFTESTS_ASI_GUEST_H
#define SELFTESTS_ASI_GUEST_H

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define GUEST_CODE	0x1000		/* where it is loaded, and starts */
#define GUEST_STACK	0x8000
#define GUEST_STR(x)	#x

/*
 * Code between two symbols, which ends by writing to a port that nobody in the kernel
 * has, and begins anew when the vCPU is run again.
 */
#define GUEST_PROGRAM(name, body)				\
	extern const char guest_##name[], guest_##name##_end[];	\
	asm(".pushsection .rodata\n"				\
	    ".code16\n"						\
	    "guest_" GUEST_STR(name) ":\n"			\
	    body "\n"						\
	    "outb %al, $0x10\n"					\
	    "jmp guest_" GUEST_STR(name) "\n"			\
	    "guest_" GUEST_STR(name) "_end:\n"			\
	    ".code64\n"						\
	    ".popsection")

struct guest {
	int kvm, vm, vcpu;
	struct kvm_run *run;
	struct kvm_userspace_memory_region2 memory;
};

#define GUEST_CPUIDS	256

/* The CPU is what KVM can make of that of the host. */
static inline int guest_set_cpuid(struct guest *guest)
{
	static struct {
		struct kvm_cpuid2 head;
		struct kvm_cpuid_entry2 entries[GUEST_CPUIDS];
	} cpuid;

	cpuid.head.nent = GUEST_CPUIDS;
	return ioctl(guest->kvm, KVM_GET_SUPPORTED_CPUID, &cpuid) ||
	       ioctl(guest->vcpu, KVM_SET_CPUID2, &cpuid) ? -errno : 0;
}

/* Forgets what the host knows of the memory, so that each page faults again. */
static inline int guest_map(struct guest *guest)
{
	struct kvm_userspace_memory_region2 none = guest->memory;

	none.memory_size = 0;
	if (ioctl(guest->vm, KVM_SET_USER_MEMORY_REGION2, &none) && errno != EINVAL)
		return -errno;
	return ioctl(guest->vm, KVM_SET_USER_MEMORY_REGION2, &guest->memory) ? -errno : 0;
}

/* Gives the guest a vCPU, by this number, to be run next. Returns 0 or a negative error. */
static inline int guest_add_vcpu(struct guest *guest, int number)
{
	struct kvm_regs regs = { .rip = GUEST_CODE, .rflags = 2, .rsp = GUEST_STACK };
	struct kvm_mp_state state = { .mp_state = KVM_MP_STATE_RUNNABLE };
	struct kvm_sregs sregs;
	long len;

	guest->vcpu = ioctl(guest->vm, KVM_CREATE_VCPU, number);
	len = ioctl(guest->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (guest->vcpu < 0 || len < 0)
		return -errno;
	guest->run = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, guest->vcpu, 0);
	if (guest->run == MAP_FAILED || guest_set_cpuid(guest) ||
	    ioctl(guest->vcpu, KVM_GET_SREGS, &sregs))
		return -errno;
	sregs.cs.base = 0;
	sregs.cs.selector = 0;
	sregs.ds.limit = 0xffffffff;
	sregs.ds.g = 1;
	sregs.es = sregs.ds;
	regs.rsp -= number * GUEST_STACK / 4;
	/* All but the first wait for an interrupt otherwise, if the kernel has the irqchip. */
	if (number && ioctl(guest->vcpu, KVM_SET_MP_STATE, &state) && errno != EINVAL)
		return -errno;
	if (ioctl(guest->vcpu, KVM_SET_SREGS, &sregs) ||
	    ioctl(guest->vcpu, KVM_SET_REGS, &regs))
		return -errno;
	return 0;
}

/* Makes one that has nothing yet. Returns 0 or a negative error. */
static inline int guest_open(struct guest *guest)
{
	memset(guest, 0, sizeof(*guest));
	guest->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (guest->kvm < 0)
		return -errno;
	guest->vm = ioctl(guest->kvm, KVM_CREATE_VM, 0);
	/* VMX needs some memory for itself. */
	return guest->vm < 0 || ioctl(guest->vm, KVM_SET_TSS_ADDR, 0xfffbd000) ? -errno : 0;
}

/*
 * Memory of a guest_memfd, which user mode and the guest share, for guest_start(); NULL if
 * there is no such thing.
 */
static inline char *guest_memfd(struct guest *guest, size_t size)
{
	struct kvm_create_guest_memfd memfd = {
		.size = size,
		.flags = GUEST_MEMFD_FLAG_MMAP | GUEST_MEMFD_FLAG_INIT_SHARED,
	};
	int fd = ioctl(guest->vm, KVM_CREATE_GUEST_MEMFD, &memfd);
	char *mem;

	if (fd < 0)
		return NULL;
	guest->memory.flags = KVM_MEM_GUEST_MEMFD;
	guest->memory.guest_memfd = fd;
	mem = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	return mem == MAP_FAILED ? NULL : mem;
}

/*
 * Gives it @size bytes at @mem and a vCPU, and if it is to have an irqchip, the interrupt
 * controllers and the timer that the kernel has for guests. Returns 0 or a negative error.
 */
static inline int guest_start(struct guest *guest, const char *code, const char *end,
			      char *mem, size_t size, bool irqchip)
{
	struct kvm_pit_config pit = { };

	if (irqchip && (ioctl(guest->vm, KVM_CREATE_IRQCHIP, 0) ||
			ioctl(guest->vm, KVM_CREATE_PIT2, &pit)))
		return -errno;

	memcpy(mem + GUEST_CODE, code, end - code);
	guest->memory.memory_size = size;
	guest->memory.userspace_addr = (unsigned long)mem;
	return guest_map(guest) ?: guest_add_vcpu(guest, 0);
}

/* Both, with memory that is there. */
static inline int guest_make(struct guest *guest, const char *code, const char *end,
			     char *mem, size_t size, bool irqchip)
{
	return guest_open(guest) ?: guest_start(guest, code, end, mem, size, irqchip);
}

/* Whether guests of real mode are run by the CPU, and not emulated. */
static inline bool guest_is_executed(void)
{
	char buf[8] = "";

	asi_slurp("/sys/module/kvm_intel/parameters/unrestricted_guest", buf, sizeof(buf));
	return buf[0] != 'N';
}

/* Runs it until it writes to that port. Returns whether it did. */
static inline bool guest_run(struct guest *guest)
{
	int ret;

	do
		ret = ioctl(guest->vcpu, KVM_RUN, 0);
	while (ret && errno == EINTR);
	return !ret && guest->run->exit_reason == KVM_EXIT_IO &&
	       guest->run->io.port == 0x10;
}

#endif /* SELFTESTS_ASI_GUEST_H */
