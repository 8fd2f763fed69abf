// SPDX-License-Identifier: GPL-2.0-only
/*
 * Usage: mark begin|end
 *
 * Says what the counters are, and executes an instruction for who looks at what is
 * executed (watch.c).
 */
#include "asi.h"

/* nopl N(%rax), which has no effect, and which no other program has */
#define MARK	".byte 0x0f, 0x1f, 0x80; .long 0x41534900 + "

int main(int argc, char **argv)
{
	static const char * const names[] = {
		"asi_exit", "asi_enter", "asi_switch", "asi_flush_control", "asi_flush_data",
		"asi_flush_cache", "asi_stun",
	};
	const char *word = argc > 1 ? argv[1] : "";
	unsigned int i;

	if (strcmp(word, "begin") && strcmp(word, "end")) {
		fprintf(stderr, "Usage: mark begin|end\n");
		return 2;
	}
	asi_counter("");
	if (*word == 'b')
		asm volatile(MARK "0");
	else
		asm volatile(MARK "1");

	printf("mark: %s", word);
	for (i = 0; i < sizeof(names) / sizeof(*names); i++)
		printf(" %s=%ld", names[i], asi_counter_read(names[i]));
	printf("\n");
	return 0;
}
