// SPDX-License-Identifier: GPL-2.0-only
/*
 * Kernel text is written to while CPUs make transitions: through an mm of its own,
 * loaded in place of whatever is, and by breakpoints that CPUs meet in the meantime.
 *
 * There is no switch that breaks this on purpose. A kernel in which only the
 * unrestricted root of that mm maps the text oopses.
 */
#include <sys/utsname.h>

#include "asi.h"
#include "kselftest.h"
#include "load.h"

#define TIMES	20
#define TRACED	3	/* each function of the kernel has a breakpoint for a while */
#define TRACER	"/sys/kernel/tracing/current_tracer"
#define EVENTS	"/sys/kernel/tracing/events/asi/enable"

static const char * const modules[] = { "test_static_key_base", "test_static_keys" };

static int load_module(const char *name)
{
	struct utsname kernel;
	char path[512];
	int fd, ret;

	uname(&kernel);
	snprintf(path, sizeof(path), "/lib/modules/%s/%s.ko", kernel.release, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	ret = syscall(SYS_finit_module, fd, "", 0) ? -errno : 0;
	close(fd);
	return ret;
}

/* The second one turns keys of both over, and refuses to load if a branch is wrong. */
static int turn_keys(void)
{
	int ret, i;

	for (i = 0; i < 2; i++) {
		ret = load_module(modules[i]);
		if (ret)
			break;
	}
	while (i--)
		if (syscall(SYS_delete_module, modules[i], 0) && !ret)
			ret = -errno;
	return ret;
}

static int turn_events(void)
{
	return asi_write(EVENTS, "1\n") ?: asi_write(EVENTS, "0\n");
}

static int turn_tracer(void)
{
	return asi_write(TRACER, "function\n") ?: asi_write(TRACER, "nop\n");
}

static int repeat(int (*what)(void), int times)
{
	int i, ret = 0;

	for (i = 0; !ret && i < times; i++)
		ret = what();
	ksft_print_msg("%d times, result %d\n", i, ret);
	return ret;
}

int main(void)
{
	struct load load = { .cpus = sysconf(_SC_NPROCESSORS_ONLN), .quiet = 100 };
	/* Otherwise keys are variables. */
	bool branches = !system("zcat /proc/config.gz | grep -q ^CONFIG_JUMP_LABEL=y");
	struct tally sum;
	int state, ret;

	ksft_print_header();
	if (!asi_is_on())
		ksft_exit_skip("ASI is off\n");
	if (!asi_has_debugfs())
		ksft_exit_skip("no CONFIG_ASI_DEBUG, or debugfs is not mounted\n");
	ksft_set_plan(6);

	asi_break("");
	state = asi_open_state();
	if (!load_start(&load))
		ksft_exit_fail_perror("mmap");

	ret = repeat(turn_keys, TIMES);
	if (ret == -ENOENT)
		ksft_test_result_skip("no CONFIG_TEST_STATIC_KEYS\n");
	else
		ksft_test_result(!ret, "modules are loaded, and removed\n");
	if (ret == -ENOENT || !branches)
		ksft_test_result_skip("no branches that are patched (CONFIG_JUMP_LABEL)\n");
	else
		ksft_test_result(!ret, "keys are turned over\n");
	ksft_test_result(!repeat(turn_events, TIMES), "tracepoints are switched on and off\n");
	/*
	 * With several, QEMU without KVM runs old code now and then, whatever the kernel,
	 * unless it has one thread for them, as it needs for branches that are patched.
	 */
	if (load.cpus > 1 && !branches)
		ksft_test_result_skip("the function tracer, with more than one CPU\n");
	else
		ksft_test_result(!repeat(turn_tracer, TRACED),
				 "the function tracer is switched on and off\n");

	sum = load_stop(&load);
	ksft_test_result(sum.rounds && !sum.errors, "all that was read is right\n");
	ksft_test_result(asi_restricted(state) == 1,
			 "user code ran restricted on every CPU\n");
	ksft_finished();
}
