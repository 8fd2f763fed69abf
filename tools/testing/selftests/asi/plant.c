// SPDX-License-Identifier: GPL-2.0-only
/*
 * The victim of the check from outside: plants a secret in memory of every
 * kind, and never runs again. See outside.py.
 *
 * Usage: plant [kind]...
 */
#include "asi.h"
#include "kinds.h"

static const struct pattern pattern = PATTERN_KNOWN;

static bool is_wanted(const char *name, int argc, char **argv)
{
	int i;

	for (i = 1; i < argc; i++) {
		if (!strcmp(argv[i], name))
			return true;
	}
	return argc == 1;
}

int main(int argc, char **argv)
{
	const struct kind *kind;
	char ready[512] = "";

	/* None of this may be written out, nor moved by a fork. */
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (kind = kinds; kind->name; kind++) {
		struct area area = { };
		int ret;

		if (!is_wanted(kind->name, argc, argv))
			continue;
		ret = kind->plant(kind, &pattern, &area);
		if (ret) {
			printf("# plant: no %s: %s\n", kind->name, strerror(-ret));
			continue;
		}
		strcat(ready, " ");
		strcat(ready, kind->name);
	}
	printf("plant: ready%s\n", ready);
	for (;;)
		pause();
}
