/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The kinds of memory that may hold a secret, and how to put one there.
 */
#ifndef SELFTESTS_ASI_KINDS_H
#define SELFTESTS_ASI_KINDS_H

#include <stddef.h>

#include "pattern.h"

/**
 * struct area - memory that holds a planted secret
 * @addr: where this process has it mapped, or NULL if it has it not
 * @len: its length in bytes
 */
struct area {
	void *addr;
	size_t len;
};

/**
 * struct kind - one kind of memory
 * @name: at most 8 characters, part of every tag
 * @what: explanation for people
 * @plant: fills some memory of this kind with tags of the pattern, and keeps
 *	it until the process exits. Returns 0, or a negative error if this
 *	machine does not have what it takes.
 */
struct kind {
	const char *name;
	const char *what;
	int (*plant)(const struct kind *kind, const struct pattern *pattern,
		     struct area *area);
};

/* Ends with an entry without a name. */
extern const struct kind kinds[];

const struct kind *kind_find(const char *name);

#endif /* SELFTESTS_ASI_KINDS_H */
