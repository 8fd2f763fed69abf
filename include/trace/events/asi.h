/* SPDX-License-Identifier: GPL-2.0-only */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM asi

#if !defined(_TRACE_ASI_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_ASI_H

#include <linux/mm.h>
#include <linux/tracepoint.h>

/*
 * The kernel left the restricted address space because it touched @address, in a page
 * of the direct map (pfn) or in the vmalloc area (0).
 */
TRACE_EVENT(asi_exit,
	    TP_PROTO(unsigned long address, unsigned long ip, const char *class),
	    TP_ARGS(address, ip, class),
	    TP_STRUCT__entry(__field(unsigned long, address)
			     __field(unsigned long, pfn)
			     __field(unsigned long, ip)
			     __string(class, class)),
	    TP_fast_assign(__entry->address = address;
			   __entry->pfn = virt_addr_valid((void *)address) ?
					  PHYS_PFN(__pa(address)) : 0;
			   __entry->ip = ip;
			   __assign_str(class);),
	    TP_printk("address=0x%lx pfn=0x%lx ip=%pS class=%s", __entry->address,
		      __entry->pfn, (void *)__entry->ip, __get_str(class))
);

/* The kernel is about to go back to the restricted address space. */
TRACE_EVENT(asi_enter,
	    TP_PROTO(const char *class),
	    TP_ARGS(class),
	    TP_STRUCT__entry(__string(class, class)),
	    TP_fast_assign(__assign_str(class);),
	    TP_printk("class=%s", __get_str(class))
);

/* A free pageblock changed its kind. */
TRACE_EVENT(asi_block_flip,
	    TP_PROTO(unsigned long pfn, bool sensitive),
	    TP_ARGS(pfn, sensitive),
	    TP_STRUCT__entry(__field(unsigned long, pfn)
			     __field(bool, sensitive)),
	    TP_fast_assign(__entry->pfn = pfn;
			   __entry->sensitive = sensitive;),
	    TP_printk("pfn=0x%lx to=%s", __entry->pfn,
		      __entry->sensitive ? "sensitive" : "nonsensitive")
);

#endif /* _TRACE_ASI_H */

#include <trace/define_trace.h>
