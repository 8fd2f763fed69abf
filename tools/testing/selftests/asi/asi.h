/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the ASI selftests ask of the kernel: counters, the state of this CPU,
 * and the switches that break a property on purpose.
 *
 * Everything here also builds for 32 bits, see entry32.c.
 */
#ifndef SELFTESTS_ASI_H
#define SELFTESTS_ASI_H

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/vfs.h>
#include <unistd.h>

#define ASI_DEBUGFS	"/sys/kernel/debug/asi/"
#define TRACING		"/sys/kernel/tracing/"

#ifndef TMPFS_MAGIC
#define TMPFS_MAGIC	0x01021994
#endif
#ifndef EXT4_SUPER_MAGIC
#define EXT4_SUPER_MAGIC 0xef53
#endif

/* Reads a whole small file; returns its length without the final 0, or -1. */
static inline ssize_t asi_slurp(const char *path, char *buf, size_t size)
{
	size_t len = 0;
	ssize_t n;
	int fd;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	while (len < size - 1) {
		n = read(fd, buf + len, size - 1 - len);
		if (n <= 0)
			break;
		len += n;
	}
	close(fd);
	buf[len] = 0;
	return len;
}

/* A field of /proc/meminfo, as "MemFree:", in bytes; 0 if there is none. */
static inline size_t asi_meminfo(const char *field)
{
	static char buf[8192];
	char *line;

	if (asi_slurp("/proc/meminfo", buf, sizeof(buf)) < 0)
		return 0;
	line = strstr(buf, field);
	return line ? strtoul(line + strlen(field), NULL, 10) << 10 : 0;
}

/* How much memory there is for the asking, in bytes. */
static inline size_t asi_available(void)
{
	return asi_meminfo("MemAvailable:");
}

/* Writes a string to a control file; returns 0 or a negative error. */
static inline int asi_write(const char *path, const char *text)
{
	int fd, ret = 0;

	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) < 0)
		ret = -errno;
	close(fd);
	return ret;
}

/* Empties the trace, which opening it does, not writing to it. */
static inline void asi_forget_trace(void)
{
	close(open(TRACING "trace", O_WRONLY | O_TRUNC | O_CLOEXEC));
}

/* What is read of /proc/vmstat, and where in that a counter is, or -1. */
static char asi_vmstat[32768];

static inline long asi_counter_read(const char *name)
{
	size_t len = strlen(name);
	char *line;

	for (line = asi_vmstat; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (!strncmp(line, name, len) && line[len] == ' ')
			return atol(line + len);
	}
	return -1;
}

/* A counter of /proc/vmstat, or -1 if the kernel does not have it. */
static inline long asi_counter(const char *name)
{
	if (asi_slurp("/proc/vmstat", asi_vmstat, sizeof(asi_vmstat)) < 0)
		return -1;
	return asi_counter_read(name);
}

/* Flushes of both kinds, when the counters were last read. */
static inline long asi_flushes_read(void)
{
	return asi_counter_read("asi_flush_control") + asi_counter_read("asi_flush_data");
}

static inline bool asi_is_booted_with(const char *word)
{
	char words[4096];

	return asi_slurp("/proc/cmdline", words, sizeof(words)) > 0 && strstr(words, word);
}

/* Whether this kernel has ASI at all, on or off. */
static inline bool asi_is_built(void)
{
	return asi_counter("asi_exit") >= 0;
}

static inline bool asi_cpu_has(const char *flag)
{
	static char buf[16384];
	char *word, *end;

	if (asi_slurp("/proc/cpuinfo", buf, sizeof(buf)) < 0)
		return false;
	word = strstr(buf, "\nflags");
	end = word ? strchr(word + 1, '\n') : NULL;
	if (!end)
		return false;
	*end = 0;
	for (word = strtok(word, " \t\n"); word; word = strtok(NULL, " \t"))
		if (!strcmp(word, flag))
			return true;
	return false;
}

/* Whether ASI is on: the flag that an administrator looks at. */
static inline bool asi_is_on(void)
{
	return asi_cpu_has("asi");
}

static inline bool asi_has_debugfs(void)
{
	return !access(ASI_DEBUGFS "state", R_OK);
}

static inline int asi_pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return sched_setaffinity(0, sizeof(set), &set);
}

/* Pins to the last CPU: housekeeping tends to be on the first. */
static inline int asi_pin_last(void)
{
	return asi_pin(sysconf(_SC_NPROCESSORS_ONLN) - 1);
}

/*
 * As asi_pin_last(), and no ordinary task may preempt: an address space belongs
 * to the CPU, so one that ran in the middle of our system call and left the
 * restricted one would be taken for our own doing.
 */
static inline int asi_pin_alone(void)
{
	struct sched_param param = { .sched_priority = 1 };

	return asi_pin_last() ?: sched_setscheduler(0, SCHED_FIFO, &param);
}

/* Takes a CPU down or up; returns whether that went. */
static inline bool asi_set_online(int cpu, bool online)
{
	char path[64];
	int tries;

	snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%d/online", cpu);
	for (tries = 0; tries < 10; tries++) {
		if (!asi_write(path, online ? "1" : "0"))
			return true;
		usleep(10000);
	}
	return false;
}

/* To be opened ahead of asi_restricted(), so that asking is one system call. */
static inline int asi_open_state(void)
{
	return open(ASI_DEBUGFS "state", O_RDONLY);
}

/*
 * Whether every return to user mode has gone back to restricted, and every NMI
 * to where it came from, on all CPUs, since asi_break() was last called: 1, 0,
 * or -1. It is safe in a signal handler.
 */
static inline int asi_restricted(int fd)
{
	static char buf[16384];
	ssize_t len;
	int ret = -1;
	char *word;

	len = pread(fd, buf, sizeof(buf) - 1, 0);
	if (len <= 0)
		return -1;
	buf[len] = 0;
	for (word = buf; (word = strstr(word, "violations=")); word++) {
		if (atoi(word + 11))
			return 0;
		ret = 1;
	}
	return ret;
}

/*
 * Breaks properties on purpose, for negative controls. An empty string mends
 * everything. Returns 0 or a negative error.
 */
static inline int asi_break(const char *words)
{
	char line[128];

	snprintf(line, sizeof(line), "%s\n", words);
	return asi_write(ASI_DEBUGFS "break", line);
}

static inline void asi_drop_caches(void)
{
	sync();
	asi_write("/proc/sys/vm/drop_caches", "3\n");
}

/* A directory on tmpfs, or NULL. */
static inline const char *asi_tmpfs(void)
{
	struct statfs fs;

	if (!statfs("/tmp", &fs) && fs.f_type == TMPFS_MAGIC)
		return "/tmp";
	if (!statfs("/dev/shm", &fs) && fs.f_type == TMPFS_MAGIC)
		return "/dev/shm";
	return NULL;
}

/* A directory on ext4, or NULL. */
static inline const char *asi_ext4(void)
{
	struct statfs fs;

	if (!statfs("/mnt", &fs) && fs.f_type == EXT4_SUPER_MAGIC)
		return "/mnt";
	if (!statfs(".", &fs) && fs.f_type == EXT4_SUPER_MAGIC)
		return ".";
	return NULL;
}

/* An unlinked file in @dir, or a negative error. */
static inline int asi_tmpfile(const char *dir)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "%s/asi-XXXXXX", dir);
	fd = mkostemp(path, O_CLOEXEC);
	if (fd < 0)
		return -errno;
	unlink(path);
	return fd;
}

/* An access that the compiler may neither drop nor repeat. */
#define asi_load(addr)		__atomic_load_n(addr, __ATOMIC_RELAXED)
#define asi_store(addr, value)	__atomic_store_n(addr, value, __ATOMIC_RELAXED)

/* Private memory that no page has been allocated for yet. */
static inline void *asi_fresh(size_t len)
{
	void *mem;

	mem = mmap(NULL, len, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return mem == MAP_FAILED ? NULL : mem;
}

/* The two counters whose balance shows that every exit was followed by an enter. */
struct asi_balance {
	long exit;
	long enter;
};

/* Both from one read: other CPUs go on counting between two. */
static inline struct asi_balance asi_balance(void)
{
	struct asi_balance now;

	now.exit = asi_counter("asi_exit");
	now.enter = asi_counter_read("asi_enter");
	return now;
}

/*
 * Makes a transition or two: messages are sensitive, and no window is opened onto
 * them. A queue for each process, since children would take each other's.
 */
static inline bool asi_transit(void)
{
	static int queue = -1;
	static pid_t owner;
	struct {
		long type;
		char text[32];
	} message = { .type = 1 };

	if (owner != getpid()) {
		queue = msgget(IPC_PRIVATE, 0600);
		owner = getpid();
	}
	return !msgsnd(queue, &message, sizeof(message.text), IPC_NOWAIT) &&
	       msgrcv(queue, &message, sizeof(message.text), 0, IPC_NOWAIT) ==
	       sizeof(message.text);
}

#endif /* SELFTESTS_ASI_H */
