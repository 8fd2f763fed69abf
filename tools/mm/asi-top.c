// SPDX-License-Identifier: GPL-2.0-only
/*
 * Who makes the kernel leave the restricted address space, and for what: the causes of
 * transitions of Address Space Isolation, most frequent first, from the tracepoint
 * asi:asi_exit. See Documentation/admin-guide/hw-vuln/asi.rst.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ARRAY_SIZE(x)	(sizeof(x) / sizeof((x)[0]))

/* Without these, names of functions and tasks are cut off. */
#define NAME_LEN	48
#define TASK_LEN	24

#define MAX_CAUSES	4096

struct cause {
	char function[NAME_LEN];
	const char *memory;
	char task[TASK_LEN];
	unsigned long total, fresh;
};

static struct cause causes[MAX_CAUSES];
static unsigned int nr_causes;
static unsigned long total, fresh, lost, overflowed;

static char tracing[64];		/* the instance that is ours */
static const char *const mounts[] = { "/sys/kernel/tracing", "/sys/kernel/debug/tracing" };
static int kpageflags = -1;
static int done;

static void die(const char *format, ...)
{
	va_list args;

	fputs("asi-top: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	exit(1);
}

static void stop(int sig)
{
	__atomic_store_n(&done, sig, __ATOMIC_RELAXED);
}

/* The first bytes of a file as a string; whether there is any. */
static bool slurp(const char *path, char *buf, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t len = 0, n;

	if (fd < 0)
		return false;
	while (len < (ssize_t)size - 1 && (n = read(fd, buf + len, size - 1 - len)) > 0)
		len += n;
	close(fd);
	buf[len] = 0;
	return len > 0;
}

static bool put(const char *file, const char *text)
{
	char path[128];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", tracing, file);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	n = write(fd, text, strlen(text));
	close(fd);
	return n == (ssize_t)strlen(text);
}

/* Whether ASI is there, and in use. */
static void check_asi(void)
{
	static char buf[256];

	if (!slurp("/sys/devices/system/cpu/asi", buf, sizeof(buf)))
		die("this kernel has no Address Space Isolation");
	buf[strcspn(buf, "\n")] = 0;
	if (!strncmp(buf, "off", 3))
		die("Address Space Isolation is %s", buf);
}

static unsigned long exits(void)
{
	static char buf[65536];
	char *line;

	if (!slurp("/proc/vmstat", buf, sizeof(buf)))
		return 0;
	line = strstr(buf, "\nasi_exit ");
	return line ? strtoul(line + 10, NULL, 10) : 0;
}

static void end_tracing(void)
{
	if (!tracing[0])
		return;
	put("events/asi/asi_exit/enable", "0");
	rmdir(tracing);
}

/* Those of us who were killed have left theirs. */
static void end_others(const char *mount)
{
	struct dirent *entry;
	char path[64];
	DIR *dir;
	int pid;

	snprintf(path, sizeof(path), "%s/instances", mount);
	dir = opendir(path);
	while (dir && (entry = readdir(dir))) {
		if (sscanf(entry->d_name, "asi-top-%d", &pid) != 1 ||
		    (pid != getpid() && !kill(pid, 0)))
			continue;
		snprintf(tracing, sizeof(tracing), "%s/instances/asi-top-%d", mount, pid);
		end_tracing();
	}
	if (dir)
		closedir(dir);
}

/* Our own transitions are not of interest. */
static void start_tracing(int pid)
{
	char filter[64];
	unsigned int i;

	if (geteuid())
		die("only root can use the tracepoint asi:asi_exit");
	for (i = 0; i < ARRAY_SIZE(mounts); i++) {
		end_others(mounts[i]);
		snprintf(tracing, sizeof(tracing), "%s/instances/asi-top-%d", mounts[i], getpid());
		if (!mkdir(tracing, 0700))
			break;
		tracing[0] = 0;
	}
	if (!tracing[0])
		die("cannot make a trace instance in %s: %s", mounts[0], strerror(errno));
	atexit(end_tracing);

	if (pid)
		snprintf(filter, sizeof(filter), "common_pid == %d", pid);
	else
		snprintf(filter, sizeof(filter), "common_pid != %d", getpid());
	put("buffer_size_kb", "2048");
	if (!put("events/asi/asi_exit/filter", filter) ||
	    !put("events/asi/asi_exit/enable", "1"))
		die("cannot use the tracepoint asi:asi_exit: %s", strerror(errno));
}

/* What a page is used for, by the first flag that it has: linux/kernel-page-flags.h. */
static const struct {
	int flag;
	const char *kind;
} kinds[] = {
	{ 7, "slab" },
	{ 12, "user memory" },
	{ 17, "huge page" },
	{ 26, "page table" },
	{ 10, "freed since" },
	{ 14, "shared memory" },
	{ 5, "page cache" },
};

/* By now, it may be something else. */
static const char *kind_of_memory(unsigned long pfn)
{
	unsigned int i;
	uint64_t flags;

	if (!pfn)
		return "mapped area";
	if (pread(kpageflags, &flags, sizeof(flags), pfn * sizeof(flags)) != sizeof(flags))
		return "?";
	for (i = 0; i < ARRAY_SIZE(kinds); i++)
		if (flags & (1ULL << kinds[i].flag))
			return kinds[i].kind;
	return "other pages";
}

/* The kernel remembers the names of tasks that have been scheduled away. */
static char *name_of(const char *pid)
{
	static char name[TASK_LEN];
	static unsigned long whose;
	unsigned long nr = strtoul(pid, NULL, 10);
	char path[32], comm[TASK_LEN];

	snprintf(path, sizeof(path), "/proc/%lu/comm", nr);
	if (slurp(path, comm, sizeof(comm))) {
		comm[strcspn(comm, "\n")] = 0;
		strcpy(name, comm);
		whose = nr;
	}
	/* Or what it was called when it was last looked for. */
	return whose == nr ? name : "(ended)";
}

/* Whoever is traced has chosen it. */
static void make_printable(char *name)
{
	for (; *name; name++)
		if (!isprint((unsigned char)*name))
			*name = '?';
}

static void count(const char *function, const char *memory, const char *task)
{
	struct cause *cause = causes;

	total++;
	fresh++;
	for (; cause < causes + nr_causes; cause++)
		if (cause->memory == memory && !strncmp(cause->task, task, TASK_LEN - 1) &&
		    !strncmp(cause->function, function, NAME_LEN - 1))
			break;
	if (cause == causes + nr_causes) {
		if (nr_causes == MAX_CAUSES) {
			overflowed++;
			return;
		}
		nr_causes++;
		snprintf(cause->function, NAME_LEN, "%.*s", NAME_LEN - 1, function);
		snprintf(cause->task, TASK_LEN, "%.*s", TASK_LEN - 1, task);
		cause->memory = memory;
	}
	cause->total++;
	cause->fresh++;
}

/*
 * As in
 *
 *	cat-93      [000] .....    12.345678: asi_exit: address=0x... pfn=0x... ip=f+0x1/0x2 ...
 *	CPU:0 [LOST 17 EVENTS]
 */
static void parse(char *line)
{
	char *event = strstr(line, ": asi_exit: address="), *cpu = NULL, *ip, *task, *end, *pfn;

	if (!event) {
		event = strstr(line, "[LOST ");
		if (event)
			lost += strtoul(event + 6, NULL, 10);
		return;
	}
	pfn = strstr(event, " pfn=");
	ip = strstr(event, " ip=");
	/* Names may have one as well. */
	for (end = line; (end = strstr(end, " [")) && end < event; end++)
		cpu = end;
	if (!cpu || !pfn || !ip)
		return;

	for (task = line; *task == ' '; task++)
		;
	for (end = cpu; end > task && end[-1] == ' '; end--)
		;
	/* Threads of a program, and its instances, are one. */
	while (end > task && *end != '-')
		end--;
	*end = 0;
	if (!strcmp(task, "<...>"))
		task = name_of(end + 1);
	make_printable(task);
	ip += 4;
	ip[strcspn(ip, "+ ")] = 0;
	count(ip, kind_of_memory(strtoul(pfn + 5, NULL, 16)), task);
}

/* What there is to be read, if it ever ends; a line may come in pieces. */
static void drain(int pipefd)
{
	static char buf[65536];
	static size_t len;
	int reads = 100;
	char *line, *end;
	ssize_t n;

	while (reads-- && (n = read(pipefd, buf + len, sizeof(buf) - 1 - len)) > 0) {
		len += n;
		buf[len] = 0;
		for (line = buf; (end = strchr(line, '\n')); line = end + 1) {
			*end = 0;
			parse(line);
		}
		len -= line - buf;
		memmove(buf, line, len);
		if (len == sizeof(buf) - 1)
			len = 0;
	}
}

static bool by_total;

static int more(const void *a, const void *b)
{
	const struct cause *x = a, *y = b;
	unsigned long m = by_total ? x->total : x->fresh, n = by_total ? y->total : y->fresh;

	if (m == n) {
		m = x->total;
		n = y->total;
	}
	return m < n ? 1 : m > n ? -1 : 0;
}

static void show(double seconds, unsigned long counted, bool whole, unsigned int lines)
{
	unsigned long all = whole ? total : fresh;
	unsigned int i;

	by_total = whole;
	qsort(causes, nr_causes, sizeof(*causes), more);
	printf("%.1f transitions a second: %lu in %.1f s, %lu of them traced",
	       seconds ? counted / seconds : 0, counted, seconds, all);
	if (lost)
		printf(", %lu lost", lost);
	printf("\n\n%10s %9s %6s  %-13s %-15s %s\n", whole ? "total" : "new", "per s", "%",
	       "memory", "task", "function");
	for (i = 0; i < nr_causes && i < lines; i++) {
		unsigned long n = whole ? causes[i].total : causes[i].fresh;

		if (!n)
			break;
		printf("%10lu %9.1f %6.1f  %-13s %-15s %s\n", n, seconds ? n / seconds : 0,
		       100.0 * n / all, causes[i].memory, causes[i].task, causes[i].function);
	}
	if (overflowed)
		printf("%10lu                   of other causes\n", overflowed);
	fflush(stdout);
	for (i = 0; i < nr_causes; i++)
		causes[i].fresh = 0;
	fresh = 0;
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

static double seconds_of(const char *arg)
{
	char *end;
	double seconds = strtod(arg, &end);

	if (*end || !*arg || !(seconds > 0))
		die("%s is no number of seconds", arg);
	return seconds;
}

static int number_of(const char *arg)
{
	char *end;
	long number = strtol(arg, &end, 10);

	if (*end || !*arg || number < 1 || number > INT32_MAX)
		die("%s is no number above 0", arg);
	return number;
}

static unsigned int screen(void)
{
	struct winsize size;

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) || size.ws_row < 8)
		return 20;
	return size.ws_row - 4;
}

static int usage(FILE *to, int status)
{
	fputs("Usage: asi-top [-d SECONDS] [-n LINES] [-p PID] [-s SECONDS | COMMAND...]\n"
	      "Show what causes transitions of Address Space Isolation.\n\n"
	      "  -d, --delay SECONDS    between two looks (2)\n"
	      "  -n, --lines LINES      at most (as there are on the terminal, or 20)\n"
	      "  -p, --pid PID          of this task only\n"
	      "  -s, --summary SECONDS  one table, of so many seconds\n"
	      "  COMMAND                one table, of the time that it takes\n", to);
	return status;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "delay", required_argument, NULL, 'd' },
		{ "lines", required_argument, NULL, 'n' },
		{ "pid", required_argument, NULL, 'p' },
		{ "summary", required_argument, NULL, 's' },
		{ "help", no_argument, NULL, 'h' },
		{ }
	};
	double delay = 2, summary = 0, start, last, time;
	unsigned long first, before, after;
	int opt, pid = 0, status = 0;
	unsigned int lines = 0;
	struct pollfd traced;
	bool ended = false;
	pid_t child = 0;
	char path[128];

	while ((opt = getopt_long(argc, argv, "+d:n:p:s:h", options, NULL)) != -1) {
		switch (opt) {
		case 'd':
			delay = seconds_of(optarg);
			break;
		case 'n':
			lines = number_of(optarg);
			break;
		case 'p':
			pid = number_of(optarg);
			break;
		case 's':
			summary = seconds_of(optarg);
			break;
		case 'h':
			return usage(stdout, 0);
		default:
			return usage(stderr, 1);
		}
	}
	if (summary && optind < argc)
		return usage(stderr, 1);

	check_asi();
	signal(SIGINT, stop);
	signal(SIGTERM, stop);
	signal(SIGHUP, stop);
	signal(SIGPIPE, stop);
	signal(SIGCHLD, SIG_DFL);
	kpageflags = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);
	start_tracing(pid);
	snprintf(path, sizeof(path), "%s/trace_pipe", tracing);
	traced.fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	traced.events = POLLIN;
	if (traced.fd < 0)
		die("cannot read %s: %s", path, strerror(errno));

	first = exits();
	before = first;
	start = now();
	last = start;
	if (optind < argc) {
		child = fork();
		if (child < 0)
			die("cannot run %s: %s", argv[optind], strerror(errno));
		if (!child) {
			signal(SIGINT, SIG_DFL);
			execvp(argv[optind], argv + optind);
			fprintf(stderr, "asi-top: cannot run %s: %s\n", argv[optind],
				strerror(errno));
			_exit(127);
		}
	}

	while (!__atomic_load_n(&done, __ATOMIC_RELAXED)) {
		poll(&traced, 1, 100);
		drain(traced.fd);
		time = now();
		if (child && waitpid(child, &status, WNOHANG) == child) {
			ended = true;
			break;
		}
		if (summary && time - start >= summary)
			break;
		if (child || summary || time - last < delay)
			continue;
		after = exits();
		if (isatty(STDOUT_FILENO))
			fputs("\033[H\033[J", stdout);
		show(time - last, after - before, false, lines ? lines : screen());
		last = time;
		before = after;
	}

	put("events/asi/asi_exit/enable", "0");
	after = exits();
	drain(traced.fd);
	close(traced.fd);
	if (child || summary)
		show(now() - start, after - first, true, lines ? lines : 20);
	if (!child)
		return 0;
	if (!ended) {
		kill(child, SIGTERM);
		return 128 + __atomic_load_n(&done, __ATOMIC_RELAXED);
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
