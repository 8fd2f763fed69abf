// SPDX-License-Identifier: GPL-2.0-only
/*
 * KVM guests with two vCPUs: what it costs that one sends the other an interrupt; that
 * a guest finds its memory as it has left it, whatever happens to the memory, the vCPUs
 * and the CPUs while it runs; and that it can be killed at any time.
 *
 * Under QEMU 7.2 guests that interrupt each other hang now and then, with ASI off as well:
 * it delivers an interrupt that VMRUN has injected once more, whatever the interrupt flag,
 * if another thread asks for the CPU's attention before the guest exits; and VMRUN does not
 * load the interrupt shadow, so that an interrupt comes between STI and HLT. The guest here
 * is written so that it does not mind.
 */
#include <pthread.h>
#include <signal.h>
#include <sys/sysinfo.h>
#include <sys/wait.h>

#include "asi.h"
#include "guest.h"
#include "kselftest_harness.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE	25
#endif

#define MiB		(1024 * 1024UL)
#define PAGE		4096
#define VCPUS		2
#define IPIS		1000
#define TRIES		3
#define KILLS		20
#define KSM		"/sys/kernel/mm/ksm/"
#define CPU1		"/sys/devices/system/cpu/cpu1"

/* Less than this a round trip is what the rest of the machine does meanwhile. */
#define NOTHING		0.02

/*
 * Beside the first 2 MiB with the code, each vCPU has 2 MiB of its own. It counts in the
 * first of them, and only writes to those that follow MAY_GO.
 */
#define OWN(number)	(2 * MiB * ((number) + 1))
#define SIZE		OWN(VCPUS)
#define COUNTED		64
#define MAY_GO		MiB
#define WRONG		0x11		/* the port that says so */

/*
 * What the other has set, from DS of base 0, tells that its APIC is enabled, and then
 * what round it is in: an interrupt only ends a HLT, and one too many changes nothing.
 */
GUEST_PROGRAM(ipi,
	      "cli\n"
	      "movw $(0x1000 + 9f - guest_ipi), 0x100\n"
	      "movw $0, 0x102\n"
	      "movl $0xfee000f0, %ebx\n"
	      "addr32 movl $0x1ff, (%ebx)\n"
	      "movb $1, 0x3000(%bp)\n"
	      "movw %bp, %di; xorw $1, %di\n"
	      "2: pause; cmpb $1, 0x3000(%di)\n"
	      "jne 2b\n"
	      "movw $1000, %si\n"
	      "testw %bp, %bp\n"
	      "jnz 4f\n"
	      "3: call 5f\n"
	      "call 6f\n"
	      "decw %si\n"
	      "jnz 3b\n"
	      "jmp 8f\n"
	      "4: call 6f\n"
	      "call 5f\n"
	      "decw %si\n"
	      "jnz 4b\n"
	      "jmp 8f\n"
	      /* The round, and vector 64, for the other */
	      "5: movw %si, %ax; movb %al, 0x3010(%di)\n"
	      "movw %di, %ax; shll $24, %eax\n"
	      "movl $0xfee00310, %ebx\n"
	      "addr32 movl %eax, (%ebx)\n"
	      "movl $0xfee00300, %ebx\n"
	      "addr32 movl $0x4040, (%ebx)\n"
	      "ret\n"
	      /* Halts until the round begins */
	      "6: movw %si, %ax; cmpb %al, 0x3010(%bp)\n"
	      "je 7f\n"
	      "sti\n"
	      "10: hlt\n"
	      "cli; jmp 6b\n"
	      "7: ret\n"
	      /* Not to halt if it comes between STI and HLT */
	      "9: pushl %ebx\n"
	      "addr32 cmpw $(0x1000 + 10b - guest_ipi), 4(%esp)\n"
	      "jne 11f\n"
	      "addr32 incw 4(%esp)\n"
	      "11: movl $0xfee000b0, %ebx\n"
	      "addr32 movl $0, (%ebx)\n"
	      "popl %ebx\n"
	      "iretw\n"
	      "8:");

/* What has been counted so far is in %edi, and where, in %ebp. */
GUEST_PROGRAM(count,
	      "movw $20, %cx\n"
	      "1: movl %ebp, %ebx\n"
	      "movw $64, %si\n"
	      "2: addr32 movl (%ebx), %eax\n"
	      "cmpl %edi, %eax\n"
	      "jne 3f\n"
	      "addr32 incl (%ebx)\n"
	      "addr32 movl %edi, 0x100000(%ebx)\n"
	      "addl $0x1000, %ebx\n"
	      "decw %si\n"
	      "jnz 2b\n"
	      "incl %edi\n"
	      "decw %cx\n"
	      "jnz 1b\n"
	      "jmp 4f\n"
	      "3: outb %al, $0x11\n"
	      "4:");

struct vcpu {
	struct guest guest;
	pthread_t thread;
	char *mem;
	long runs;
	bool ends, wrong;
	char why[64];
};

/* A guest; the memory of its vCPUs is a slot of its own. */
struct machine {
	struct guest guest;
	struct kvm_userspace_memory_region own;
	struct vcpu vcpu[VCPUS];
	char *mem;
	int cpus;
};

/* Makes the guest; its vCPUs find their numbers or places in %ebp. */
static int make(struct machine *self, const char *code, const char *end, bool irqchip)
{
	struct kvm_regs regs;
	char *mem = asi_fresh(SIZE + 2 * MiB);
	int ret, i;

	if (!mem)
		return -ENOMEM;
	self->mem = mem + (-(unsigned long)mem & (2 * MiB - 1));
	self->cpus = sysconf(_SC_NPROCESSORS_ONLN);
	ret = guest_make(&self->guest, code, end, self->mem, OWN(0), irqchip);
	if (ret)
		return ret;
	self->own = (struct kvm_userspace_memory_region){
		.slot = 1,
		.guest_phys_addr = OWN(0),
		.memory_size = SIZE - OWN(0),
		.userspace_addr = (unsigned long)self->mem + OWN(0),
	};
	if (ioctl(self->guest.vm, KVM_SET_USER_MEMORY_REGION, &self->own))
		return -errno;
	for (i = 0; i < VCPUS; i++) {
		struct vcpu *vcpu = &self->vcpu[i];

		vcpu->guest = self->guest;
		vcpu->mem = self->mem;
		ret = i ? guest_add_vcpu(&vcpu->guest, i) : 0;
		if (ret)
			return ret;
		if (ioctl(vcpu->guest.vcpu, KVM_GET_REGS, &regs))
			return -errno;
		regs.rbp = irqchip ? i : OWN(i);
		if (ioctl(vcpu->guest.vcpu, KVM_SET_REGS, &regs))
			return -errno;
	}
	return 0;
}

/* A vCPU that found no memory has KVM's caller do the access. */
static void access_memory(struct vcpu *vcpu)
{
	struct kvm_run *run = vcpu->guest.run;
	char *there = vcpu->mem + run->mmio.phys_addr;

	if (run->mmio.phys_addr + run->mmio.len > SIZE) {
		snprintf(vcpu->why, sizeof(vcpu->why), "access to %llx",
			 (unsigned long long)run->mmio.phys_addr);
		vcpu->ends = true;
	} else if (run->mmio.is_write) {
		memcpy(there, run->mmio.data, run->mmio.len);
	} else {
		memcpy(run->mmio.data, there, run->mmio.len);
	}
}

/* Runs a vCPU until it is to end, or something is wrong. */
static void *go_on(void *arg)
{
	struct vcpu *vcpu = arg;
	struct kvm_run *run = vcpu->guest.run;

	while (!asi_load(&vcpu->ends)) {
		if (ioctl(vcpu->guest.vcpu, KVM_RUN, 0)) {
			/* Its memory may be somewhere else for a while. */
			if (errno == EINTR || errno == EAGAIN || errno == EFAULT)
				continue;
			snprintf(vcpu->why, sizeof(vcpu->why), "KVM_RUN: %s", strerror(errno));
			break;
		}
		if (run->exit_reason == KVM_EXIT_MMIO) {
			access_memory(vcpu);
		} else if (run->exit_reason == KVM_EXIT_IO && run->io.port == WRONG) {
			vcpu->wrong = true;
			break;
		} else if (run->exit_reason == KVM_EXIT_IO) {
			asi_store(&vcpu->runs, vcpu->runs + 1);
		} else {
			snprintf(vcpu->why, sizeof(vcpu->why), "exit %u", run->exit_reason);
			break;
		}
	}
	return NULL;
}

static bool start(struct machine *self)
{
	int i;

	if (make(self, guest_count, guest_count_end, false))
		return false;
	for (i = 0; i < VCPUS; i++) {
		if (pthread_create(&self->vcpu[i].thread, NULL, go_on, &self->vcpu[i]))
			return false;
	}
	return true;
}

/* What happens to a guest while it runs; each tells whether it could be done. */

static bool migrate(struct machine *self, int time)
{
	cpu_set_t set;
	int i;

	for (i = 0; i < VCPUS; i++) {
		CPU_ZERO(&set);
		CPU_SET((time + i) % self->cpus, &set);
		pthread_setaffinity_np(self->vcpu[i].thread, sizeof(set), &set);
	}
	return self->cpus > 1;
}

static bool cycle_cpu(struct machine *self, int time)
{
	migrate(self, time);
	return self->cpus > 1 && asi_set_online(1, false) && asi_set_online(1, true);
}

/* While a slot is gone, accesses are KVM's caller's to do. */
static bool lose_slot(struct machine *self, int time)
{
	struct kvm_userspace_memory_region none = self->own;

	none.memory_size = 0;
	return !ioctl(self->guest.vm, KVM_SET_USER_MEMORY_REGION, &none) &&
	       !ioctl(self->guest.vm, KVM_SET_USER_MEMORY_REGION, &self->own);
}

static bool log_writes(struct machine *self, int time)
{
	static unsigned long bitmap[(SIZE - OWN(0)) / PAGE / 8 / sizeof(long)];
	struct kvm_userspace_memory_region logged = self->own;
	struct kvm_dirty_log log = { .slot = logged.slot, .dirty_bitmap = bitmap };

	logged.flags = KVM_MEM_LOG_DIRTY_PAGES;
	if (ioctl(self->guest.vm, KVM_SET_USER_MEMORY_REGION, &logged))
		return false;
	usleep(1000);
	return !ioctl(self->guest.vm, KVM_GET_DIRTY_LOG, &log) &&
	       !ioctl(self->guest.vm, KVM_SET_USER_MEMORY_REGION, &self->own);
}

/* There and back again */
static bool move(struct machine *self, int time)
{
	size_t len = SIZE - OWN(0);
	char *own = self->mem + OWN(0), *there;

	there = mmap(NULL, len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return there != MAP_FAILED &&
	       mremap(own, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, there) == there &&
	       mremap(there, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, own) == own;
}

/* The child must not be able to change what the guest sees. */
static bool copy(struct machine *self, int time)
{
	pid_t pid = fork();
	int i;

	if (!pid) {
		for (i = 0; i < COUNTED; i++) {
			asi_store((int *)(self->mem + OWN(0) + i * PAGE), -1);
			asi_store((int *)(self->mem + OWN(1) + i * PAGE), -1);
		}
		_exit(0);
	}
	return pid > 0 && waitpid(pid, NULL, 0) == pid;
}

static bool swap_out(struct machine *self, int time)
{
	return !madvise(self->mem + OWN(0), SIZE - OWN(0), MADV_PAGEOUT);
}

/* As a balloon gives memory back */
static bool give_back(struct machine *self, int time)
{
	return !madvise(self->mem + OWN(time % VCPUS) + MAY_GO, MAY_GO, MADV_DONTNEED);
}

/* Its pages have the same content once a round is over. */
static bool merge(struct machine *self, int time)
{
	if (!time && (madvise(self->mem + OWN(0), SIZE - OWN(0), MADV_MERGEABLE) ||
		      asi_write(KSM "sleep_millisecs", "0") ||
		      asi_write(KSM "pages_to_scan", "1000")))
		return false;
	return !asi_write(KSM "run", time % 4 == 3 ? "2" : "1");
}

/* One huge page, and many small ones */
static bool collapse(struct machine *self, int time)
{
	char *own = self->mem + OWN(time % VCPUS);

	if (madvise(own, 2 * MiB, MADV_COLLAPSE) && errno != EAGAIN && errno != EBUSY &&
	    errno != ENOMEM)
		return false;
	return !madvise(own + MAY_GO, PAGE, MADV_DONTNEED);
}

/* KVM_RUN returns. */
static bool send_signals(struct machine *self, int time)
{
	return !pthread_kill(self->vcpu[time % VCPUS].thread, SIGUSR1);
}

static void ignore(int sig)
{
}

/* Why there are no such guests here, or NULL. */
static const char *missing(void)
{
	if (!asi_is_on())
		return "ASI is off";
	if (access("/dev/kvm", R_OK | W_OK))
		return "no KVM";
	return guest_is_executed() ? NULL : "real mode is emulated, from memory of the VMM";
}

FIXTURE(vm)
{
	struct machine vm;
};

FIXTURE_SETUP(vm)
{
	if (missing())
		SKIP(return, "%s", missing());
}

FIXTURE_TEARDOWN(vm)
{
}

static void *answer(void *arg)
{
	struct vcpu *vcpu = arg;

	vcpu->wrong = !guest_run(&vcpu->guest);
	return NULL;
}

TEST_F_TIMEOUT(vm, interrupts_itself, 120)
{
	static const char * const names[] = { "asi_exit", "asi_switch", "asi_flush_control" };
	double least[3] = { 1e9, 1e9, 1e9 };
	struct vcpu *vcpu = self->vm.vcpu;
	int try, k;

	ASSERT_EQ(0, make(&self->vm, guest_ipi, guest_ipi_end, true));
	for (try = 0; try <= TRIES; try++) {
		long before[3];

		for (k = 0; k < 3; k++)
			before[k] = asi_counter(names[k]);
		ASSERT_EQ(0, pthread_create(&vcpu[1].thread, NULL, answer, &vcpu[1]));
		ASSERT_TRUE(guest_run(&vcpu->guest));
		ASSERT_EQ(0, pthread_join(vcpu[1].thread, NULL));
		ASSERT_FALSE(vcpu[1].wrong);
		/* Once to get warm */
		for (k = 0; try && k < 3; k++) {
			double each = (double)(asi_counter(names[k]) - before[k]) / IPIS;

			least[k] = each < least[k] ? each : least[k];
		}
	}
	TH_LOG("there and back costs %.3f transitions, %.3f switches, %.3f control flushes",
	       least[0], least[1], least[2]);
	EXPECT_GT(NOTHING, least[0]);
}

/* At whatever instant its vCPUs are */
TEST_F_TIMEOUT(vm, can_be_killed, 120)
{
	int state = asi_open_state(), fds[2], i, status;
	char byte;
	pid_t pid;

	asi_break("");
	for (i = 0; i < KILLS; i++) {
		ASSERT_EQ(0, pipe(fds));
		pid = fork();
		if (!pid) {
			if (start(&self->vm) && write(fds[1], "", 1) == 1)
				pause();
			_exit(1);
		}
		close(fds[1]);
		ASSERT_EQ(1, read(fds[0], &byte, 1));
		close(fds[0]);
		usleep(i * 1000);
		kill(pid, SIGKILL);
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		ASSERT_TRUE(WIFSIGNALED(status));
	}
	EXPECT_EQ(1, asi_restricted(state));
}

/* Negative control: somebody else writes to the memory. */
TEST_F_TIMEOUT(vm, notices_a_wrong_word, 120)
{
	ASSERT_TRUE(start(&self->vm));
	usleep(100000);
	asi_store((int *)(self->vm.mem + OWN(1) + PAGE), -1);
	ASSERT_EQ(0, pthread_join(self->vm.vcpu[1].thread, NULL));
	EXPECT_TRUE(self->vm.vcpu[1].wrong);
	asi_store(&self->vm.vcpu[0].ends, true);
	ASSERT_EQ(0, pthread_join(self->vm.vcpu[0].thread, NULL));
	EXPECT_FALSE(self->vm.vcpu[0].wrong);
}

FIXTURE(busy_vm)
{
	struct machine vm;
};

FIXTURE_VARIANT(busy_vm)
{
	bool (*happens)(struct machine *self, int time);
	int times;
	const char *needs;
	const char *event;		/* tells that it did happen */
};

#define HAPPENS(name, nr, ...)						\
	FIXTURE_VARIANT_ADD(busy_vm, name) {				\
		.happens = name, .times = nr, __VA_ARGS__ }

FIXTURE_VARIANT_ADD(busy_vm, nothing_happens) { };
HAPPENS(send_signals, 100);
HAPPENS(migrate, 100, .needs = CPU1);
HAPPENS(cycle_cpu, 10, .needs = CPU1 "/online");
HAPPENS(lose_slot, 100);
HAPPENS(log_writes, 100);
HAPPENS(move, 100);
HAPPENS(copy, 50);
HAPPENS(swap_out, 50, .event = "pswpout");
HAPPENS(give_back, 100);
HAPPENS(merge, 20, .needs = KSM);
HAPPENS(collapse, 50, .event = "thp_collapse_alloc");

FIXTURE_SETUP(busy_vm)
{
	struct sysinfo info;

	if (missing())
		SKIP(return, "%s", missing());
	if (variant->needs && access(variant->needs, F_OK))
		SKIP(return, "no %s", variant->needs);
	if (variant->happens == swap_out && (sysinfo(&info) || !info.totalswap))
		SKIP(return, "no swap");
	signal(SIGUSR1, ignore);
}

FIXTURE_TEARDOWN_PARENT(busy_vm)
{
	if (variant->happens == merge) {
		asi_write(KSM "run", "2");
		asi_write(KSM "run", "0");
	}
}

TEST_F_TIMEOUT(busy_vm, finds_its_memory, 120)
{
	int state = asi_open_state(), time, i, k, count;
	struct vcpu *vcpu = self->vm.vcpu;
	long runs, events = 0;
	struct kvm_regs regs;

	asi_break("");
	ASSERT_TRUE(start(&self->vm));
	usleep(100000);
	if (variant->event)
		events = asi_counter(variant->event);
	for (time = 0; time < variant->times; time++) {
		ASSERT_TRUE(variant->happens(&self->vm, time))
			TH_LOG("%d: %s", time, strerror(errno));
		usleep(5000);
	}
	for (i = 0; i < VCPUS; i++) {
		/* It is still at work. */
		runs = asi_load(&vcpu[i].runs);
		for (k = 0; k < 1000 && asi_load(&vcpu[i].runs) < runs + 2; k++)
			usleep(10000);
		EXPECT_LE(runs + 2, asi_load(&vcpu[i].runs));
	}
	for (i = 0; i < VCPUS; i++) {
		asi_store(&vcpu[i].ends, true);
		ASSERT_EQ(0, pthread_join(vcpu[i].thread, NULL));
		EXPECT_FALSE(vcpu[i].wrong);
		/* Its registers may be gone then. */
		ASSERT_STREQ("", vcpu[i].why);
		ASSERT_EQ(0, ioctl(vcpu[i].guest.vcpu, KVM_GET_REGS, &regs));
		/* It may be in the middle of a round. */
		for (k = 0; k < COUNTED; k++) {
			count = *(int *)(self->vm.mem + OWN(i) + k * PAGE);
			EXPECT_TRUE(count == (int)regs.rdi || count == (int)regs.rdi + 1);
		}
	}
	TH_LOG("%ld and %ld runs", vcpu[0].runs, vcpu[1].runs);
	if (variant->event)
		EXPECT_LT(events, asi_counter(variant->event));
	EXPECT_EQ(1, asi_restricted(state));
}

TEST_HARNESS_MAIN
