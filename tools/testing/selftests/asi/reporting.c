// SPDX-License-Identifier: GPL-2.0-only
/*
 * Free pages of both kinds are reported to the hypervisor, which takes them off the free
 * lists for that moment and puts them back. frames.c sees whether they have got where
 * they belong; and flip.c, whether they are still there to be had.
 */
#include "kselftest_harness.h"
#include "probe.h"

#define PROBE		"asi_report"
#define LEN		(64UL << 20)
#define SECONDS		20
#define ROUNDS		3

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

	if (!probe_on("kprobe", PROBE, "virtballoon_free_page_report"))
		SKIP(return, "no virtio balloon, or no kprobes");
	for (i = 0; i < SECONDS && probe_hits("kprobe", PROBE) < ROUNDS; i++) {
		EXPECT_TRUE(use_and_free());
		sleep(1);
	}
	EXPECT_LE(ROUNDS, probe_off("kprobe", PROBE));
}

TEST_HARNESS_MAIN
