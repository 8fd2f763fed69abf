/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Probes into the kernel or a program, whose handlers may read what is sensitive.
 */
#ifndef SELFTESTS_ASI_PROBE_H
#define SELFTESTS_ASI_PROBE_H

#include "frames.h"

/* Of probes, by "kprobe" or "uprobe", and the name that they got. */

/* How often it was hit, or -1 if there is none. */
static inline long probe_hits(const char *kind, const char *name)
{
	char path[128], buf[4096], *line;

	snprintf(path, sizeof(path), TRACING "%s_profile", kind);
	if (asi_slurp(path, buf, sizeof(buf)) < 0)
		return -1;
	line = strstr(buf, name);
	return line ? strtol(line + strlen(name), NULL, 10) : -1;
}

/* Removes it; how often it was hit, or -1. */
static inline long probe_off(const char *kind, const char *name)
{
	long hits = probe_hits(kind, name);
	char path[128], line[64];
	int error;

	snprintf(path, sizeof(path), TRACING "events/%ss/%s/enable", kind, name);
	error = asi_write(path, "0");
	snprintf(path, sizeof(path), TRACING "%s_events", kind);
	snprintf(line, sizeof(line), "-:%s", name);
	return asi_write(path, line) || error ? -1 : hits;
}

/* @where and what it reads are as in kprobe_events; whether there is such a probe now. */
static inline bool probe_on(const char *kind, const char *name, const char *where)
{
	char path[128], line[192];

	snprintf(path, sizeof(path), TRACING "%s_events", kind);
	snprintf(line, sizeof(line), "p:%s %s", name, where);
	if (asi_write(path, line))
		return false;
	snprintf(path, sizeof(path), TRACING "events/%ss/%s/enable", kind, name);
	if (!asi_write(path, "1"))
		return true;
	probe_off(kind, name);
	return false;
}

/*
 * A probe in @function, whose handler reads a word of this process by its address in the
 * direct map, and so exits. The word stays where it is as long as the process does.
 */
static inline bool probe_secret(const char *name, const char *function)
{
	long *secret = asi_fresh(FRAME_SIZE);
	unsigned long address;
	char where[128];

	if (!secret || mlock(secret, FRAME_SIZE))
		return false;
	*secret = 1;
	address = frame_address(frame_of(secret));
	snprintf(where, sizeof(where), "%s secret=@0x%lx:u64", function, address);
	return address && probe_on("kprobe", name, where);
}

#endif /* SELFTESTS_ASI_PROBE_H */
