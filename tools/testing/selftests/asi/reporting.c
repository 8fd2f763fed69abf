// SPDX-License-Identifier: GPL-2.0-only
/*
 * Free pages of both kinds are reported to the hypervisor, which takes them off the free
 * lists for that moment and puts them back. frames.c sees whether they have got where
 * they belong; and flip.c, whether they are still there to be had.
 */
#include "asi.h"
#include "kselftest_harness.h"

#define TRACING		"/sys/kernel/tracing/"
#define PROBE		"asi_report"
#define LEN		(64UL << 20)
#define SECONDS		20
#define ROUNDS		3

/* How often pages have been reported since the probe is there. */
static long reports(void)
{
	char buf[4096], *line = NULL;

	if (asi_slurp(TRACING "kprobe_profile", buf, sizeof(buf)) > 0)
		line = strstr(buf, PROBE);
	return line ? strtol(line + strlen(PROBE), NULL, 10) : 0;
}

static bool use_and_free(void)
{
	char *mem = asi_fresh(LEN);

	if (!mem)
		return false;
	memset(mem, 0xa5, LEN);
	return !munmap(mem, LEN);
}

FIXTURE(reporting) { };
FIXTURE_SETUP(reporting) { }
FIXTURE_TEARDOWN(reporting) { }

TEST_F_TIMEOUT(reporting, comes_back, 300)
{
	int i;

	if (asi_write(TRACING "kprobe_events", "p:" PROBE " virtballoon_free_page_report"))
		SKIP(return, "no virtio balloon, or no kprobes");
	ASSERT_EQ(0, asi_write(TRACING "events/kprobes/" PROBE "/enable", "1"));
	for (i = 0; i < SECONDS && reports() < ROUNDS; i++) {
		EXPECT_TRUE(use_and_free());
		sleep(1);
	}
	EXPECT_LE(ROUNDS, reports());
	EXPECT_EQ(0, asi_write(TRACING "events/kprobes/" PROBE "/enable", "0"));
	EXPECT_EQ(0, asi_write(TRACING "kprobe_events", "-:" PROBE));
}

TEST_HARNESS_MAIN
