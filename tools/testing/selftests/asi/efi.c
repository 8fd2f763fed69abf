// SPDX-License-Identifier: GPL-2.0-only
/*
 * The firmware is called, on page tables of its own, while every CPU makes
 * transitions.
 *
 * There is no switch that breaks this on purpose. A kernel in which
 * efi_enter_mm() does not call asi_exit() does not survive the first call: the
 * tables of efi_mm have no restricted root.
 *
 * Usage: efi [times]
 */
#include <linux/types.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <time.h>

#include "asi.h"
#include "kselftest.h"
#include "load.h"

#define DEFAULT_TIMES	100
#define QUIET		2000
#define EFIVARS		"/sys/firmware/efi/efivars"
#define VARIABLE	EFIVARS "/asi-selftest-5b4c4f5e-3d0b-4f0e-9d1e-0f1d4e8a7c61"
#define ATTRIBUTES	7	/* kept, and there before and after boot */
#define HOUR		3600

#ifndef EFIVARFS_MAGIC
#define EFIVARFS_MAGIC	0xde5e81e4
#endif

/* As a file of efivarfs has it. */
struct variable {
	__u32 attributes;
	__u8 data[60];
};

/* Of drivers/firmware/efi/test/efi_test.h. */
struct efi_time {
	__u16 year;
	__u8 month, day, hour, minute, second, pad1;
	__u32 nanosecond;
	__s16 timezone;
	__u8 daylight, pad2;
};

struct efi_gettime {
	struct efi_time *time;
	void *capabilities;
	unsigned long *status;
};

#define EFI_RUNTIME_GET_TIME	_IOR('p', 0x03, struct efi_gettime)

/* Whether variables are files, perhaps only from now on. */
static bool mounted(void)
{
	struct statfs fs;

	if (!statfs(EFIVARS, &fs) && fs.f_type == EFIVARFS_MAGIC)
		return true;
	return !mount("efivarfs", EFIVARS, "efivarfs", 0, NULL);
}

/* Writes a variable and reads it, over and over; how often it was right. */
static int variables(int times)
{
	struct variable variable = { .attributes = ATTRIBUTES }, again;
	int to, from, i, good = 0;

	/* Once it is there it can be opened for reading only. */
	to = open(VARIABLE, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (to < 0)
		return -errno;
	for (i = 0; i < times; i++) {
		memset(variable.data, i + 1, sizeof(variable.data));
		if (write(to, &variable, sizeof(variable)) != sizeof(variable))
			continue;
		from = open(VARIABLE, O_RDONLY | O_CLOEXEC);
		memset(&again, 0, sizeof(again));
		if (read(from, &again, sizeof(again)) == sizeof(again) &&
		    !memcmp(&again, &variable, sizeof(again)))
			good++;
		close(from);
	}
	/* No data: it is removed. */
	if (write(to, &variable, sizeof(variable.attributes)) < 0)
		ksft_print_msg("the variable stays: %s\n", strerror(errno));
	close(to);
	return good;
}

/* How many seconds the firmware's clock is off ours. */
static bool clock_offset(long *offset)
{
	int fd = open("/dev/efi_test", O_RDONLY | O_CLOEXEC);
	struct efi_time now = { };
	unsigned long status = 1;
	struct efi_gettime get = { .time = &now, .status = &status };
	struct tm tm = { };
	int ret;

	if (fd < 0)
		return false;
	ret = ioctl(fd, EFI_RUNTIME_GET_TIME, &get);
	close(fd);
	if (ret || status) {
		*offset = -1;
		return true;
	}
	tm.tm_year = now.year - 1900;
	tm.tm_mon = now.month - 1;
	tm.tm_mday = now.day;
	tm.tm_hour = now.hour;
	tm.tm_min = now.minute;
	tm.tm_sec = now.second;
	*offset = labs(timegm(&tm) - time(NULL));
	return true;
}

int main(int argc, char **argv)
{
	int times = argc > 1 ? atoi(argv[1]) : DEFAULT_TIMES;
	struct load load = { .quiet = QUIET };
	struct asi_balance before, after;
	struct tally sum;
	int good, state;
	long offset;

	ksft_print_header();
	if (access("/sys/firmware/efi", X_OK))
		ksft_exit_skip("not booted by EFI\n");
	if (!asi_is_on())
		ksft_exit_skip("ASI is off\n");
	if (!asi_has_debugfs())
		ksft_exit_skip("no CONFIG_ASI_DEBUG, or debugfs is not mounted\n");
	if (!mounted())
		ksft_exit_skip("no CONFIG_EFIVAR_FS\n");
	ksft_set_plan(5);

	asi_break("");
	state = asi_open_state();
	load.cpus = sysconf(_SC_NPROCESSORS_ONLN);
	before = asi_balance();
	if (!load_start(&load))
		ksft_exit_fail_perror("mmap");

	good = variables(times);
	if (good < 0)
		ksft_print_msg(VARIABLE ": %s\n", strerror(-good));
	ksft_test_result(good == times, "variables are written and read: %d of %d\n",
			 good, times);
	if (clock_offset(&offset))
		ksft_test_result(offset >= 0 && offset < HOUR,
				 "the clock is read, %ld seconds off ours\n", offset);
	else
		ksft_test_result_skip("no CONFIG_EFI_TEST to read the clock by\n");

	sum = load_stop(&load);
	after = asi_balance();
	after.exit -= before.exit;
	after.enter -= before.enter;
	ksft_print_msg("%lu rounds, %ld exits, %ld enters\n", sum.rounds,
		       after.exit, after.enter);
	ksft_test_result(sum.rounds && !sum.errors, "all that was read is right\n");
	ksft_test_result(after.exit > 0 && labs(after.exit - after.enter) <= load.cpus,
			 "each exit was followed by an enter\n");
	ksft_test_result(asi_restricted(state) == 1,
			 "user code ran restricted on every CPU\n");
	ksft_finished();
}
