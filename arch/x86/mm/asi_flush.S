/* SPDX-License-Identifier: GPL-2.0-only */
#include <linux/export.h>
#include <linux/linkage.h>
#include <asm/asm.h>
#include <asm/nospec-branch.h>
#include <asm/unwind_hints.h>

.pushsection .noinstr.text, "ax"

/*
 * Fill the return buffer with harmless entries. The return itself is
 * mispredicted, into one of them.
 */
SYM_FUNC_START(asi_fill_return_buffer)
	ANNOTATE_NOENDBR
	FILL_RETURN_BUFFER %rax, RSB_CLEAR_LOOPS, X86_FEATURE_ALWAYS
	RET
SYM_FUNC_END(asi_fill_return_buffer)

.popsection
