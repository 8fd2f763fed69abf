/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _LINUX_ASI_H
#define _LINUX_ASI_H

static inline void asi_init_reserved(void) { }

#endif /* _LINUX_ASI_H */
