// SPDX-License-Identifier: GPL-2.0-only
/*
 * asi-top names who makes transitions, and for what.
 */
#include "asi.h"
#include "kselftest_harness.h"

#define TRANSITS	300

/*
 * What asi-top is to watch. It looks at what pages are used for later: a message stays in
 * the queue, and with it the slab, until it has.
 */
static int transit(const char *how)
{
	struct {
		long type;
		char text[32];
	} message = { .type = 1 };
	int queue, i;

	queue = msgget(IPC_PRIVATE, 0600);
	if (queue < 0 || msgsnd(queue, &message, sizeof(message.text), 0))
		return 1;
	/* Tracing learns of the name of a task at a switch after an event of it. */
	usleep(10000);
	for (i = 0; strcmp(how, "none") && i < TRANSITS; i++)
		if (msgsnd(queue, &message, sizeof(message.text), 0) ||
		    msgrcv(queue, &message, sizeof(message.text), 0, 0) < 0)
			return 1;
	usleep(500000);
	return msgctl(queue, IPC_RMID, NULL);
}

/* What asi-top writes, and its status. */
static int run_top(const char *arguments, char *buf, size_t size)
{
	char command[256];
	size_t len;
	FILE *file;

	snprintf(command, sizeof(command), "./asi-top %s 2>&1", arguments);
	file = popen(command, "r");
	if (!file)
		return -1;
	len = fread(buf, 1, size - 1, file);
	buf[len] = 0;
	return pclose(file);
}

/* How many transitions it counts for this program and a kind of memory, in any function. */
static unsigned long counted(const char *table, const char *memory)
{
	unsigned long sum = 0;
	const char *line;

	for (line = strchr(table, '\n'); line; line = strchr(line + 1, '\n')) {
		const char *end = strchrnul(line + 1, '\n');
		const char *found = strstr(line + 1, memory), *task = strstr(line + 1, " top ");

		if (found && found < end && task && task < end)
			sum += strtoul(line + 1, NULL, 10);
	}
	return sum;
}

static char table[65536];

TEST(names_causes)
{
	if (!asi_is_on())
		SKIP(return, "ASI is off");
	if (access(TRACING "instances", W_OK))
		SKIP(return, "no tracefs");

	ASSERT_EQ(0, run_top("-n 1000 ./top transit", table, sizeof(table)));
	/* The slab of a message may have gone by the time that it is looked at. */
	EXPECT_LE(TRANSITS, counted(table, ""))
		TH_LOG("%s", table);
	EXPECT_LE(1, counted(table, "slab"));
	EXPECT_NE(NULL, strstr(table, "transitions a second"));
	/* A control: who makes none is not named. */
	ASSERT_EQ(0, run_top("-n 1000 ./top none", table, sizeof(table)));
	EXPECT_GT(TRANSITS / 4, counted(table, ""));
}

TEST(leaves_no_instance)
{
	if (!asi_is_on())
		SKIP(return, "ASI is off");
	if (access(TRACING "instances", W_OK))
		SKIP(return, "no tracefs");
	run_top("-s 0.2", table, sizeof(table));
	EXPECT_NE(0, system("ls " TRACING "instances | grep -q asi-top"));
}

TEST(says_what_is_wrong)
{
	EXPECT_NE(0, run_top("-s never", table, sizeof(table)));
	EXPECT_NE(NULL, strstr(table, "never is no number of seconds"));
	EXPECT_NE(0, run_top("--unknown", table, sizeof(table)));
	if (!asi_is_on()) {
		EXPECT_NE(0, run_top("-s 1", table, sizeof(table)));
		EXPECT_NE(NULL, strstr(table, "Address Space Isolation"));
	}
}

int main(int argc, char **argv)
{
	if (argc == 2)
		return transit(argv[1]);
	return test_harness_run(argc, argv);
}
