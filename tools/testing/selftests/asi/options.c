// SPDX-License-Identifier: GPL-2.0-only
/*
 * What an administrator is told: the flag, the counters, the line at boot, the
 * tracepoints, and the files for debugging.
 */
#include <sys/ipc.h>
#include <sys/klog.h>
#include <sys/mount.h>
#include <sys/msg.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "asi.h"
#include "frames.h"
#include "kselftest_harness.h"

#define KLOG_READ_ALL	3
#define KLOG_SIZE	10

static const char * const counters[] = {
	"asi_exit",
	"asi_enter",
	"asi_switch",
	"asi_flush_control",
	"asi_flush_data",
	"asi_flush_cache",
	"asi_stun",
	"asi_window_map",
	"asi_block_to_sensitive",
	"asi_block_to_nonsensitive",
	"asi_block_mixed",
	"asi_atomic_failed",
};

/* Whether the kernel has the option, by its own configuration if it tells. */
static bool built(void)
{
	return asi_is_built() || asi_is_on();
}

/* What the command line asks for: 1 on, 0 off, -1 nothing. The last word counts. */
static int asked_for(const char *cmdline)
{
	const char *option = cmdline, *end, *word;
	int asked = -1;

	if (strstr(cmdline, "mitigations=off"))
		asked = 0;
	while ((option = strstr(option, "asi="))) {
		bool whole = option == cmdline || option[-1] == ' ';

		option += 4;
		end = option + strcspn(option, "\n ");
		for (word = option; whole && word < end;
		     word += strcspn(word, ",\n ") + 1) {
			size_t len = strcspn(word, ",\n ");

			if (len == 2 && !strncmp(word, "on", len))
				asked = 1;
			else if (len == 3 && !strncmp(word, "off", len))
				asked = 0;
		}
	}
	return asked;
}

TEST(flag_agrees_with_command_line)
{
	char cmdline[4096];
	int asked;

	if (!built())
		SKIP(return, "this kernel has no ASI");
	ASSERT_LT(0, asi_slurp("/proc/cmdline", cmdline, sizeof(cmdline)));
	asked = asked_for(cmdline);
	if (asked < 0)
		SKIP(return, "the command line says neither on nor off");
	EXPECT_EQ(asked, asi_is_on())
		TH_LOG("%s", cmdline);
}

TEST(counters_exist)
{
	unsigned int i;

	if (!built())
		SKIP(return, "this kernel has no ASI");
	for (i = 0; i < ARRAY_SIZE(counters); i++) {
		EXPECT_LE(0, asi_counter(counters[i]))
			TH_LOG("no %s in /proc/vmstat", counters[i]);
	}
}

TEST(nothing_is_counted_when_off)
{
	unsigned int i;

	if (!built())
		SKIP(return, "this kernel has no ASI");
	if (asi_is_on())
		SKIP(return, "ASI is on");
	for (i = 0; i < ARRAY_SIZE(counters); i++) {
		EXPECT_EQ(0, asi_counter(counters[i]))
			TH_LOG("%s", counters[i]);
	}
}

/* The lines "asi: ..." of the kernel's log, one after the other. */
static char *next_line(char *log, char **rest)
{
	char *line, *text;

	for (line = strtok_r(log, "\n", rest); line; line = strtok_r(NULL, "\n", rest)) {
		text = strstr(line, "] ");
		text = text ? text + 2 : line;
		if (!strncmp(text, "asi: ", 5))
			return text;
	}
	return NULL;
}

static char *kernel_log(void)
{
	int size = klogctl(KLOG_SIZE, NULL, 0), len;
	char *log = size > 0 ? malloc(size + 1) : NULL;

	len = log ? klogctl(KLOG_READ_ALL, log, size) : -1;
	if (len < 0) {
		free(log);
		return NULL;
	}
	log[len] = 0;
	return log;
}

/* Whether it is on or off is said once; what else had to go is said as well. */
TEST(one_line_at_boot)
{
	char *log, *line, *rest;
	int found = 0;

	if (!asi_is_on())
		SKIP(return, "ASI is off");
	log = kernel_log();
	ASSERT_NE(NULL, log);
	for (line = next_line(log, &rest); line; line = next_line(NULL, &rest)) {
		ksft_print_msg("%s\n", line);
		found += !strncmp(line, "asi: on ", 8) ||
			 !strncmp(line, "asi: off", 8);
	}
	free(log);
	EXPECT_EQ(1, found);
}

/*
 * Transitions flush if and only if the line at boot says so. Those of other
 * CPUs are counted as well.
 */
TEST(flushes_as_said_at_boot)
{
	long exits, control, data;
	char *log, *line, *rest;
	int i;

	if (!asi_is_on())
		SKIP(return, "ASI is off");
	log = kernel_log();
	ASSERT_NE(NULL, log);
	for (line = next_line(log, &rest); line; line = next_line(NULL, &rest)) {
		if (!strncmp(line, "asi: on ", 8))
			break;
	}
	ASSERT_NE(NULL, line);
	ASSERT_NE(NULL, strstr(line, "flush on exit: "));
	ASSERT_NE(NULL, strstr(line, "on enter: "));

	exits = asi_counter("asi_exit");
	control = asi_counter("asi_flush_control");
	data = asi_counter("asi_flush_data");
	for (i = 0; i < 1000; i++)
		ASSERT_TRUE(asi_transit());
	EXPECT_LE(1000, asi_counter("asi_exit") - exits);
	control = asi_counter("asi_flush_control") - control;
	data = asi_counter("asi_flush_data") - data;
	EXPECT_TRUE(strstr(line, "flush on exit: nothing") ? !control : control >= 1000)
		TH_LOG("%ld flushes on exit", control);
	EXPECT_TRUE(strstr(line, "on enter: nothing") ? !data : data >= 1000)
		TH_LOG("%ld flushes on enter", data);
	free(log);
}

static bool trace_has(const char *event)
{
	char *line = NULL;
	size_t size = 0;
	bool found = false;
	char who[32];
	FILE *trace;

	snprintf(who, sizeof(who), "-%d ", getpid());
	trace = fopen(TRACING "trace", "re");
	if (!trace)
		return false;
	while (!found && getline(&line, &size, trace) > 0)
		found = strstr(line, who) && strstr(line, event);
	free(line);
	fclose(trace);
	return found;
}

TEST(tracepoints_fire)
{
	if (!asi_is_on())
		SKIP(return, "ASI is off");
	if (access(TRACING "trace", R_OK))
		SKIP(return, "no tracefs");
	ASSERT_EQ(0, access(TRACING "events/asi/asi_block_flip/enable", W_OK));
	asi_forget_trace();
	ASSERT_EQ(0, asi_write(TRACING "events/asi/asi_exit/enable", "1"));
	EXPECT_EQ(0, asi_write(TRACING "events/asi/asi_enter/enable", "1"));
	EXPECT_TRUE(asi_transit());
	EXPECT_EQ(0, asi_write(TRACING "events/asi/enable", "0"));
	EXPECT_TRUE(trace_has("asi_exit: "));
	EXPECT_TRUE(trace_has("asi_enter: "));
	asi_forget_trace();
}

TEST(debug_files_are_for_root)
{
	static const char * const files[] = { "state", "reach", "frames", "break" };
	char path[64];
	unsigned int i;
	struct stat st;

	if (!asi_has_debugfs())
		SKIP(return, "no CONFIG_ASI_DEBUG, or debugfs is not mounted");
	for (i = 0; i < ARRAY_SIZE(files); i++) {
		snprintf(path, sizeof(path), ASI_DEBUGFS "%s", files[i]);
		ASSERT_EQ(0, stat(path, &st))
			TH_LOG("%s", path);
		EXPECT_EQ(0, st.st_mode & 077)
			TH_LOG("%s has mode %o", path, st.st_mode);
	}
}

TEST(break_takes_known_words_only)
{
	char before[128], after[128];

	if (!asi_has_debugfs())
		SKIP(return, "no CONFIG_ASI_DEBUG, or debugfs is not mounted");
	ASSERT_LE(0, asi_slurp(ASI_DEBUGFS "break", before, sizeof(before)));
	EXPECT_GT(0, asi_break("nothing-of-the-kind"));
	ASSERT_LE(0, asi_slurp(ASI_DEBUGFS "break", after, sizeof(after)));
	EXPECT_STREQ(before, after);
}

/* A frame beyond all memory is nowhere, and what is no number is refused. */
TEST(reach_takes_frames_only)
{
	struct reach reach;
	int ret;

	if (!asi_has_debugfs())
		SKIP(return, "no CONFIG_ASI_DEBUG, or debugfs is not mounted");
	EXPECT_GT(0, asi_write(ASI_DEBUGFS "reach", "page\n"));
	ret = frame_reach(1UL << 39, &reach);
	if (!ret) {
		EXPECT_EQ(0, reach.restricted);
		EXPECT_EQ(0, reach.unrestricted);
	}
}

/*
 * Objects that are sensitive with ASI are accounted to the memory cgroup with
 * and without: a message of several pages, by somebody who is in one.
 */
TEST(messages_are_accounted)
{
	struct {
		long type;
		char text[2 * 4096];
	} message = { .type = 1 };
	char dir[] = "/tmp/asi-XXXXXX", path[64];
	int id, status, ret;
	pid_t pid;

	ASSERT_NE(NULL, mkdtemp(dir));
	if (mount("none", dir, "cgroup2", 0, NULL)) {
		rmdir(dir);
		SKIP(return, "no cgroup2");
	}
	snprintf(path, sizeof(path), "%s/cgroup.subtree_control", dir);
	ret = asi_write(path, "+memory");
	snprintf(path, sizeof(path), "%s/asi", dir);
	if (!ret && mkdir(path, 0700))
		ret = -errno;
	EXPECT_EQ(0, ret);

	pid = ret ? -1 : fork();
	if (!pid) {
		snprintf(path, sizeof(path), "%s/asi/cgroup.procs", dir);
		if (asi_write(path, "0"))
			_exit(1);
		id = msgget(IPC_PRIVATE, IPC_CREAT | 0600);
		ret = id < 0 || msgsnd(id, &message, sizeof(message.text), IPC_NOWAIT);
		_exit(ret || msgctl(id, IPC_RMID, NULL));
	}
	if (pid > 0) {
		EXPECT_EQ(pid, waitpid(pid, &status, 0));
		EXPECT_EQ(0, status);
	}
	snprintf(path, sizeof(path), "%s/asi", dir);
	rmdir(path);
	umount(dir);
	rmdir(dir);
}

/*
 * What is written to a file of sysfs goes to an ordinary object, and is found
 * there; what is written to a pipe is not, and nothing is while it is off.
 */
TEST(audit_tells_of_copies)
{
	static const char audit[] = ASI_DEBUGFS "audit";
	static const char knob[] = "/sys/kernel/mm/ksm/sleep_millisecs";
	static char report[1 << 20], value[32];
	int fds[2];

	if (!asi_is_on())
		SKIP(return, "ASI is off");
	if (access(audit, W_OK))
		SKIP(return, "no CONFIG_ASI_AUDIT, or debugfs is not mounted");
	if (asi_slurp(knob, value, sizeof(value)) < 0)
		SKIP(return, "no CONFIG_KSM");
	ASSERT_EQ(0, pipe(fds));

	ASSERT_EQ(0, asi_write(audit, "0"));
	ASSERT_EQ(0, asi_write(knob, value));
	ASSERT_LT(0, asi_slurp(audit, report, sizeof(report)));
	EXPECT_EQ(NULL, strstr(report, "kernfs_fop_write_iter"));

	ASSERT_EQ(0, asi_write(audit, "1"));
	EXPECT_EQ(0, asi_write(knob, value));
	EXPECT_EQ(1, write(fds[1], "x", 1));
	ASSERT_EQ(0, asi_write(audit, "0"));
	ASSERT_LT(0, asi_slurp(audit, report, sizeof(report)));
	EXPECT_NE(NULL, strstr(report, "kernfs_fop_write_iter"));
	EXPECT_EQ(NULL, strstr(report, "pipe_write"));
	close(fds[0]);
	close(fds[1]);
}

TEST_HARNESS_MAIN
