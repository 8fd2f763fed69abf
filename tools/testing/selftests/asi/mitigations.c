// SPDX-License-Identifier: GPL-2.0-only
/*
 * Say what mitigates which bug: what the kernel says, in a line "NAME: TEXT" for each
 * file, and what it has patched into its entry code, "entry NAME: COUNT" for what
 * each way into the kernel or out of it would have to do, "vm NAME: COUNT" for VM
 * entries and exits. scripts/mitigations boots guests that run this.
 */
#include <dirent.h>
#include <elf.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CPU "/sys/devices/system/cpu"

static void show(const char *dir, const char *name)
{
	char path[512], buf[512];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	file = fopen(path, "r");
	if (!file || !fgets(buf, sizeof(buf), file))
		printf("%s: cannot be read\n", name);
	else
		printf("%s: %s", name, buf);
	if (file)
		fclose(file);
}

static uint64_t address_of(const char *name)
{
	FILE *file = fopen("/proc/kallsyms", "r");
	unsigned long long address, found = 0;
	char word[256];

	while (file && fscanf(file, "%llx %*c %255s%*[^\n]", &address, word) == 2) {
		if (!strcmp(word, name)) {
			found = address;
			break;
		}
	}
	if (file)
		fclose(file);
	if (!found) {
		printf("no symbol %s\n", name);
		exit(1);
	}
	return found;
}

static unsigned char *kernel_text(uint64_t start, size_t size)
{
	int i, file = open("/proc/kcore", O_RDONLY);
	unsigned char *text = malloc(size);
	/* The program headers of an ELF file; where they are, and how many. */
	struct {
		uint32_t type, flags;
		uint64_t offset, address, physical, in_file, size, align;
	} part;
	uint64_t parts;
	uint16_t nr;

	if (file < 0 || !text || pread(file, &parts, sizeof(parts), 32) != sizeof(parts) ||
	    pread(file, &nr, sizeof(nr), 56) != sizeof(nr))
		goto fail;
	for (i = 0; i < nr; i++) {
		if (pread(file, &part, sizeof(part), parts + i * sizeof(part)) != sizeof(part))
			goto fail;
		if (part.type != PT_LOAD || start < part.address ||
		    start + size > part.address + part.size)
			continue;
		if (pread(file, text, size, part.offset + start - part.address) !=
		    (ssize_t)size)
			goto fail;
		close(file);
		return text;
	}
fail:
	printf("the kernel's text cannot be read\n");
	exit(1);
}

/* How many instructions there are of these opcode bytes with a relative @target. */
static int count(const unsigned char *text, uint64_t start, size_t size,
		 const char *opcode, size_t len, uint64_t target)
{
	int32_t offset;
	int found = 0;
	size_t i;

	for (i = 0; i + len + sizeof(offset) <= size; i++) {
		if (memcmp(text + i, opcode, len))
			continue;
		memcpy(&offset, text + i + len, sizeof(offset));
		found += start + i + len + sizeof(offset) + offset == target;
	}
	return found;
}

/* More than either of what runs a guest takes; what follows does the same. */
#define RUN_SIZE	1024

/* The same of what runs a guest: on each VM entry and after each exit. */
static int count_vm(const char *opcode, size_t len, uint64_t target)
{
	static const char * const run[] = { "__svm_vcpu_run", "__vmx_vcpu_run" };
	unsigned char *text;
	uint64_t start;
	int i, found = 0;

	for (i = 0; i < 2; i++) {
		start = address_of(run[i]);
		text = kernel_text(start, RUN_SIZE);
		found += count(text, start, RUN_SIZE, opcode, len, target);
		free(text);
	}
	return found;
}

int main(void)
{
	uint64_t start = address_of("__entry_text_start");
	size_t size = address_of("__entry_text_end") - start;
	unsigned char *text = kernel_text(start, size);
	DIR *dir = opendir(CPU "/vulnerabilities");
	struct dirent *entry;

	if (!dir)
		return 1;
	while ((entry = readdir(dir))) {
		if (entry->d_name[0] != '.')
			show(CPU "/vulnerabilities", entry->d_name);
	}
	show(CPU, "asi");

	printf("entry verw: %d\n", count(text, start, size, "\x0f\x00\x2d", 3,
					 address_of("x86_verw_sel")));
	printf("entry bhb: %d\n", count(text, start, size, "\xe8", 1,
					address_of("clear_bhb_loop")));
	printf("entry ibpb: %d\n", count(text, start, size, "\xe8", 1,
					 address_of("write_ibpb")));
	printf("entry untrain: %d\n",
	       count(text, start, size, "\xe8", 1, address_of("entry_untrain_ret")) +
	       count(text, start, size, "\xe8", 1, address_of("srso_alias_untrain_ret")));
	printf("vm verw: %d\n", count_vm("\x0f\x00\x2d", 3, address_of("x86_verw_sel")));
	printf("vm bhb: %d\n", count_vm("\xe8", 1, address_of("clear_bhb_loop")));
	printf("vm ibpb: %d\n", count_vm("\xe8", 1, address_of("write_ibpb")));
	printf("vm untrain: %d\n",
	       count_vm("\xe8", 1, address_of("entry_untrain_ret")) +
	       count_vm("\xe8", 1, address_of("srso_alias_untrain_ret")));
	return 0;
}
