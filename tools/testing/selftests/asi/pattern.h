/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A secret that can be recognised wherever it turns up.
 *
 * Memory is filled with a tag of 64 bytes, over and over: two words of magic, the
 * name of the kind of memory and a nonce, then the same with the complement of the
 * magic. No complete tag is ever made anywhere but in the memory that is filled, and
 * never in a vector register, since the kernel saves those; nor does one fit into
 * the general registers that memcpy() moves data with, up to 32 bytes in their order
 * on a stack when it is interrupted. A tag found in a frame has come from there.
 */
#ifndef SELFTESTS_ASI_PATTERN_H
#define SELFTESTS_ASI_PATTERN_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/random.h>

#define __gpr		__attribute__((target("general-regs-only")))
#define TAG_WORDS	8
#define TAG_SIZE	(TAG_WORDS * sizeof(unsigned long))

/* Keeps the words of the magic apart from what they look like in memory. */
#define TAG_VEIL	0x5bd1e9955bd1e995UL

struct pattern {
	unsigned long veiled[2];
	unsigned long nonce;
};

/*
 * For those that cannot be told of a random one, outside.py among them:
 * 53 8d c1 7e 2a f4 96 0b e9 35 5c a8 17 d2 60 bf
 */
#define PATTERN_KNOWN {						\
	.veiled = {						\
		0x0b96f42a7ec18d53UL ^ TAG_VEIL,		\
		0xbf60d217a85c35e9UL ^ TAG_VEIL,		\
	},							\
	.nonce = 0xd8a10fc479b6135eUL,	/* not less when compressed */	\
}

/* How many pages of that kexec leaves to the kernel that takes over after a crash. */
#define VMCORE_PAGES	16

/* A pattern that nobody else has used. */
static inline struct pattern pattern_random(void)
{
	struct pattern pattern;

	if (getrandom(&pattern, sizeof(pattern), 0) != sizeof(pattern))
		memset(&pattern, 0x6b, sizeof(pattern));
	return pattern;
}

static inline unsigned long kind_word(const char *name)
{
	unsigned long word = 0;
	unsigned int i;

	for (i = 0; i < sizeof(word) && name[i]; i++)
		word |= (unsigned long)(unsigned char)name[i] << (8 * i);
	return word;
}

/* One at a time: the compiler may not make vectors of them. */
static inline __gpr void word_store(unsigned long *word, unsigned long value)
{
	__atomic_store_n(word, value, __ATOMIC_RELAXED);
}

/* Fills whole tags only: what is left over at the end stays as it is. */
static inline __gpr void pattern_fill(void *mem, size_t len,
				      const struct pattern *pattern,
				      unsigned long kind)
{
	unsigned long *word = mem, veil = TAG_VEIL;
	size_t i;

	for (i = 0; i < len / TAG_SIZE * 2; i++) {
		word_store(word++, pattern->veiled[0] ^ veil);
		word_store(word++, pattern->veiled[1] ^ veil);
		word_store(word++, kind);
		word_store(word++, pattern->nonce);
		veil = ~veil;
	}
}

static inline __gpr void pattern_scrub(void *mem, size_t len)
{
	unsigned long *word = mem;
	size_t i;

	for (i = 0; i < len / sizeof(*word); i++)
		word_store(word++, 0);
}

/*
 * Whether memory that begins on a word holds the magic of @pattern, and half a tag
 * further its complement. A tag that does not begin on a word has one with the end
 * of the first word of the magic and the beginning of the second one, between one
 * that ends as the magic begins and one that begins as it ends. Most words are none
 * of these by their first byte.
 */
static inline __gpr bool pattern_found(const void *mem, size_t len,
				       const struct pattern *pattern)
{
	unsigned long veil[sizeof(long)], veiled[sizeof(long)];
	unsigned long before, after;
	bool begins[256] = { false };
	const unsigned long *word = mem;
	unsigned int down, up;
	size_t i;

	veiled[0] = pattern->veiled[0];
	veil[0] = TAG_VEIL;
	for (down = 8; down < 64; down += 8) {
		up = 64 - down;
		veil[down / 8] = TAG_VEIL >> down | TAG_VEIL << up;
		veiled[down / 8] = pattern->veiled[0] >> down | pattern->veiled[1] << up;
	}
	for (down = 0; down < 64; down += 8)
		begins[(veiled[down / 8] ^ veil[down / 8]) & 0xff] = true;

	for (i = 0; i + TAG_WORDS / 2 < len / sizeof(*word); i++) {
		if (!begins[word[i] & 0xff] || word[i + TAG_WORDS / 2] != ~word[i])
			continue;
		if ((word[i] ^ TAG_VEIL) == pattern->veiled[0] &&
		    (word[i + 1] ^ TAG_VEIL) == pattern->veiled[1])
			return true;
		for (down = 8; i && down < 64; down += 8) {
			if ((word[i] ^ veil[down / 8]) != veiled[down / 8])
				continue;
			up = 64 - down;
			before = word[i - 1] >> up ^ TAG_VEIL ^ pattern->veiled[0];
			after = word[i + 1] ^ (TAG_VEIL ^ pattern->veiled[1]) >> down;
			if (!(before << up) && !(after << down))
				return true;
		}
	}
	return false;
}

#endif /* SELFTESTS_ASI_PATTERN_H */
