// SPDX-License-Identifier: GPL-2.0-only
/*
 * A small virtual machine monitor, which boots a Linux kernel as a KVM guest:
 *
 *	vmm [PARAMETERS]
 *
 * The kernel is the second disk, its initramfs the third; without disks they are
 * /boot/kernel and /boot/initramfs. It gets one vCPU, memory, the interrupt controllers
 * and the timer that KVM has, and a serial port. There it has to say that ASI is on in it,
 * and the last line of guest-init; or else all that it has said is shown.
 *
 * A guest that does not get there, by whatever bug, fails.
 */
#include <asm/bootparam.h>
#include <stdlib.h>

#include "asi.h"
#include "guest.h"
#include "kselftest.h"

#define MEMORY		(256UL << 20)
#define PARAMS		0x10000
#define CMDLINE		0x20000
#define KERNEL		0x100000
#define INITRAMFS	(128UL << 20)
#define E820_TYPE_RAM	1

#define SHOWN		16

#define COM1		0x3f8
#define COM1_IRQ	4

static struct {
	int vm;
	unsigned char ier, lcr, mcr, scratch;
	bool empty;		/* the interrupt for that is pending */
	char line[512];
	size_t len;
	bool asi;
	int status;		/* of the guest, or -1 */
	char log[64 << 10];
	size_t logged;
} machine = { .status = -1 };

static void said(char *line)
{
	char *word = strstr(line, "asi-guest: status ");

	if (word)
		machine.status = atoi(word + strlen("asi-guest: status "));
	else if (machine.logged + strlen(line) + 1 < sizeof(machine.log))
		machine.logged += sprintf(machine.log + machine.logged, "%s\n", line);
	machine.asi |= !!strstr(line, "asi: on for ");
}

static void transmit(char c)
{
	if (c == '\r')
		return;
	if (c != '\n' && machine.len < sizeof(machine.line) - 1) {
		machine.line[machine.len++] = c;
		return;
	}
	machine.line[machine.len] = 0;
	machine.len = 0;
	said(machine.line);
}

static void interrupt(void)
{
	struct kvm_irq_level irq = { .irq = COM1_IRQ };

	if (!machine.empty || !(machine.ier & 2))
		return;
	irq.level = 1;
	ioctl(machine.vm, KVM_IRQ_LINE, &irq);
	irq.level = 0;
	ioctl(machine.vm, KVM_IRQ_LINE, &irq);
}

static unsigned char serial_in(int reg)
{
	switch (reg) {
	case 1:
		return machine.lcr & 0x80 ? 0 : machine.ier;
	case 2:
		if (!machine.empty || !(machine.ier & 2))
			return 1;
		machine.empty = false;
		return 2;
	case 3:
		return machine.lcr;
	case 4:
		return machine.mcr;
	case 5:
		return 0x60;
	case 6:		/* looped back, or clear to send */
		if (machine.mcr & 0x10)
			return (machine.mcr & 0xc) << 4 | (machine.mcr & 2) << 3 |
			       (machine.mcr & 1) << 5;
		return 0xb0;
	case 7:
		return machine.scratch;
	}
	return 0;
}

static void serial_out(int reg, unsigned char value)
{
	switch (reg) {
	case 0:
		if (machine.lcr & 0x80)
			break;
		transmit(value);
		machine.empty = true;
		interrupt();
		break;
	case 1:
		if (machine.lcr & 0x80)
			break;
		if (value & ~machine.ier & 2)
			machine.empty = true;
		machine.ier = value & 0xf;
		interrupt();
		break;
	case 3:
		machine.lcr = value;
		break;
	case 4:
		machine.mcr = value;
		break;
	case 7:
		machine.scratch = value;
		break;
	}
}

static void port(struct kvm_run *run)
{
	unsigned char *data = (unsigned char *)run + run->io.data_offset;
	bool serial = run->io.port >= COM1 && run->io.port < COM1 + 8 && run->io.size == 1;
	unsigned int i;

	for (i = 0; i < run->io.count; i++, data += run->io.size) {
		if (run->io.direction == KVM_EXIT_IO_OUT) {
			if (serial)
				serial_out(run->io.port - COM1, *data);
		} else if (serial) {
			*data = serial_in(run->io.port - COM1);
		} else {
			memset(data, 0xff, run->io.size);
		}
	}
}

/* Reads all of a file; returns its length or -1. */
static ssize_t load(const char *path, char *mem, size_t room)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t len = 0;
	ssize_t n = 1;

	while (fd >= 0 && len < room && (n = read(fd, mem + len, room - len)) > 0)
		len += n;
	if (fd < 0 || n < 0 || len == room)
		return -1;
	close(fd);
	return len;
}

/*
 * As Documentation/arch/x86/boot.rst says for the 32-bit entry. What CPUID says of XSAVE
 * areas does not follow XCR0 here.
 */
static int prepare(char *mem, const char *words)
{
	struct boot_params *params = (void *)(mem + PARAMS);
	char *image = mem + (32UL << 20);
	struct setup_header *header = (void *)(image + 0x1f1);
	bool disks = !access("/dev/vdb", F_OK);
	ssize_t len, initramfs;
	size_t setup;

	len = load(disks ? "/dev/vdb" : "/boot/kernel", image, INITRAMFS - (32UL << 20));
	initramfs = load(disks ? "/dev/vdc" : "/boot/initramfs", mem + INITRAMFS,
			 MEMORY - INITRAMFS);
	if (len < 0x1000 || initramfs < 0 || header->header != 0x53726448)
		return -1;
	params->hdr = *header;
	setup = (header->setup_sects + 1) * 512;
	params->hdr.type_of_loader = 0xff;
	params->hdr.loadflags |= LOADED_HIGH;
	params->hdr.cmd_line_ptr = CMDLINE;
	params->hdr.ramdisk_image = INITRAMFS;
	params->hdr.ramdisk_size = initramfs;
	params->e820_table[0] = (struct boot_e820_entry){ 0, 0x9fc00, E820_TYPE_RAM };
	params->e820_table[1] = (struct boot_e820_entry){
		KERNEL, MEMORY - KERNEL, E820_TYPE_RAM };
	params->e820_entries = 2;
	snprintf(mem + CMDLINE, 2048,
		 "console=ttyS0 acpi=off pci=off noapic noxsave asi_test=true kunit.enable=0 %s",
		 words);
	memmove(mem + KERNEL, image + setup, len - setup);
	memset(image, 0, 16UL << 20);
	return 0;
}

static int protected_mode(struct guest *guest)
{
	struct kvm_segment code = {
		.limit = 0xffffffff, .selector = 0x10, .type = 0xb, .present = 1,
		.db = 1, .s = 1, .g = 1,
	}, data = code;
	struct kvm_regs regs = { .rip = KERNEL, .rsi = PARAMS, .rflags = 2 };
	struct kvm_sregs sregs;

	data.selector = 0x18;
	data.type = 3;
	if (ioctl(guest->vcpu, KVM_GET_SREGS, &sregs))
		return -errno;
	sregs.cs = code;
	sregs.ds = data;
	sregs.es = data;
	sregs.fs = data;
	sregs.gs = data;
	sregs.ss = data;
	sregs.cr0 |= 1;
	if (ioctl(guest->vcpu, KVM_SET_SREGS, &sregs) ||
	    ioctl(guest->vcpu, KVM_SET_REGS, &regs))
		return -errno;
	return 0;
}

/* What has made the first of the transitions that the trace still has. */
static void show_causes(void)
{
	FILE *trace = fopen(TRACING "trace", "re");
	char line[256];
	int shown = 0;

	while (trace && shown < SHOWN && fgets(line, sizeof(line), trace))
		if (*line != '#' && ++shown)
			ksft_print_msg("%s", line);
	if (trace)
		fclose(trace);
}

int main(int argc, char **argv)
{
	long exits, switches, controls;
	unsigned long nr = 0, ports = 0;
	struct guest guest;
	char *mem, *line;
	int ret;

	ksft_print_header();
	if (access("/dev/kvm", R_OK | W_OK))
		ksft_exit_skip("no KVM\n");
	mem = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (mem == MAP_FAILED || prepare(mem, argc > 1 ? argv[1] : "asi=on"))
		ksft_exit_fail_msg("no kernel, or no initramfs\n");
	/* Of the code only that it is none matters here. */
	ret = guest_make(&guest, mem, mem, mem, MEMORY, true);
	if (ret || protected_mode(&guest))
		ksft_exit_fail_msg("no guest can be made: %d\n", ret);
	machine.vm = guest.vm;

	ksft_set_plan(3);
	asi_forget_trace();
	asi_write(TRACING "events/asi/asi_exit/enable", "1");
	exits = asi_counter("asi_exit");
	switches = asi_counter("asi_switch");
	controls = asi_counter("asi_flush_control");
	while (machine.status < 0) {
		ret = ioctl(guest.vcpu, KVM_RUN, 0);
		if (ret && errno != EINTR)
			break;
		nr++;
		if (ret)
			continue;
		if (guest.run->exit_reason == KVM_EXIT_IO) {
			port(guest.run);
			ports++;
		} else if (guest.run->exit_reason == KVM_EXIT_MMIO) {
			memset(guest.run->mmio.data, 0xff, sizeof(guest.run->mmio.data));
		} else {
			break;
		}
	}
	exits = asi_counter("asi_exit") - exits;
	switches = asi_counter("asi_switch") - switches;
	controls = asi_counter("asi_flush_control") - controls;
	asi_write(TRACING "events/asi/asi_exit/enable", "0");
	ksft_print_msg("exit reason %d after %lu exits to user mode, %lu of them for ports\n",
		       guest.run->exit_reason, nr, ports);
	ksft_print_msg("%ld transitions, %ld switches, %ld control flushes\n",
		       exits, switches, controls);
	/* To show more would cost more than the guest does. */
	if (machine.status || !machine.asi)
		for (line = strtok(machine.log, "\n"); line; line = strtok(NULL, "\n"))
			ksft_print_msg("# %s\n", line);
	ksft_test_result(!machine.status, "a kernel boots and runs its init\n");
	if (asi_is_on())
		ksft_test_result(machine.asi, "it runs with ASI\n");
	else
		ksft_test_result_skip("ASI is off\n");
	if (exits >= (long)nr / 10)
		show_causes();
	if (asi_is_on())
		ksft_test_result(exits < (long)nr / 10, "few exits are transitions\n");
	else
		ksft_test_result_skip("ASI is off\n");
	ksft_finished();
}
