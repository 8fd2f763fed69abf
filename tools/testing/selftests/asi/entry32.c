// SPDX-License-Identifier: GPL-2.0-only
/*
 * The ways into the kernel that only a 32-bit program has; run by entry.c.
 *
 * SYSENTER and SYSCALL can be used by way of the vdso only, since the kernel
 * returns to there. Which of them it is depends on the vendor of the CPU: Intel's
 * has SYSENTER, AMD's SYSCALL.
 *
 * Usage: entry32 int80|vdso
 * Exit status: 0 as it should be, 1 not, 4 this way in does not exist here.
 */
#include <elf.h>
#include <stdint.h>
#include <sys/auxv.h>

#include "asi.h"
#include "kselftest.h"

#define ROUNDS		50
#define LEN		4096
#define FILL		0xa5
#define NR_PREAD64	180

/* The sixth argument is 0, and on the stack for those who look there. */
#define SYSCALL(insn) ({						\
	long ret;							\
									\
	asm volatile("push %%ebp\n\t"					\
		     "xor %%ebp, %%ebp\n\t"				\
		     insn "\n\t"					\
		     "pop %%ebp"					\
		     : "=a" (ret)					\
		     : "a" (NR_PREAD64), "b" (fd), "c" (buf),		\
		       "d" (LEN), "S" (0), "D" (0)			\
		     : "memory", "cc");					\
	ret;								\
})

static long pread_int80(int fd, void *buf)
{
	return SYSCALL("int $0x80");
}

/* The C library keeps the entry point of the vdso in the thread's own block. */
static long pread_vdso(int fd, void *buf)
{
	return SYSCALL("call *%%gs:0x10");
}

static const char *vdso_insn(void)
{
	const unsigned char *code = (const void *)getauxval(AT_SYSINFO);
	int i;

	for (i = 0; i < 16; i++) {
		if (code[i] == 0x0f && code[i + 1] == 0x34)
			return "SYSENTER";
		if (code[i] == 0x0f && code[i + 1] == 0x05)
			return "SYSCALL";
	}
	return "INT80";
}

/* What it has to be; any for a CPU of another vendor. */
static bool vdso_is_right(void)
{
	static char buf[4096];

	printf("# the vdso uses %s\n", vdso_insn());
	if (asi_slurp("/proc/cpuinfo", buf, sizeof(buf)) < 0)
		return false;
	if (strstr(buf, "GenuineIntel"))
		return !strcmp(vdso_insn(), "SYSENTER");
	return !strstr(buf, "AuthenticAMD") || !strcmp(vdso_insn(), "SYSCALL");
}

int main(int argc, char **argv)
{
	const char *how = argc == 2 ? argv[1] : "";
	long (*enter)(int fd, void *buf);
	static unsigned char buf[LEN];
	int state, file, i, j;
	long exits;

	if (!strcmp(how, "int80")) {
		enter = pread_int80;
	} else if (!strcmp(how, "vdso")) {
		enter = pread_vdso;
		if (!getauxval(AT_SYSINFO))
			return KSFT_SKIP;
		if (!vdso_is_right())
			return KSFT_FAIL;
	} else {
		return KSFT_FAIL;
	}

	asi_pin_alone();
	state = asi_open_state();
	file = memfd_create("asi", 0);
	memset(buf, FILL, LEN);
	if (state < 0 || file < 0 || write(file, buf, LEN) != LEN)
		return KSFT_FAIL;

	asi_counter("asi_exit");
	exits = asi_counter("asi_exit");
	for (i = 0; i < ROUNDS; i++) {
		memset(buf, 0, LEN);
		if (enter(file, buf) != LEN || asi_restricted(state) != 1)
			return KSFT_FAIL;
		for (j = 0; j < LEN; j++) {
			if (buf[j] != FILL)
				return KSFT_FAIL;
		}
	}
	exits = asi_counter("asi_exit") - exits;
	return exits < ROUNDS ? KSFT_FAIL : KSFT_PASS;
}
