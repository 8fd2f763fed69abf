// SPDX-License-Identifier: GPL-2.0-only
/*
 * The victim of the check from outside: plants a secret in memory of every
 * kind, and never runs again. See outside.py.
 *
 * Usage: plant [kind]...
 */
#include "asi.h"
#include "kinds.h"

/* Known to outside.py: 53 8d c1 7e 2a f4 96 0b e9 35 5c a8 17 d2 60 bf */
static const struct pattern pattern = {
	.veiled = {
		0x0b96f42a7ec18d53ULL ^ TAG_VEIL,
		0xbf60d217a85c35e9ULL ^ TAG_VEIL,
	},
	.nonce = 1,
};

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
	char ready[256] = "";

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
