/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Two threads of a core, under every interleaving, for spin:
 * arch/x86/mm/asi_stun.c, and its callers in asi_switch.c.
 *
 * Each runs a task, and an NMI-like handler may strike before each step of one of
 * them, once: after it nothing but what the protocol does by itself helps who
 * waits, and spin finds whoever waits for ever. A label "end" is where nobody does.
 *
 * Speculation is taken at its worst. User mode trains both threads, and sees what
 * either has left. It does so at any instant, and for ever if it is not
 * interrupted; guests are no different. With the unrestricted root loaded a
 * thread reads all there is.
 *
 * A statement, or a d_step, is one step, seen by both threads at once: what has to
 * be ordered in the code is so by barriers. Left out: threads that come up and go.
 */

bool open[2] = true;		/* CR3: the unrestricted root is loaded */
bool trained[2];
bool dirty[2] = true;
bool sent[2];			/* the interrupt of RESCHEDULE_VECTOR */
bool pending[2];		/* has arrived */
bool asked[2];			/* that of asi_let_go_work */
bool refused[2];		/* and nothing has come of it: not to be asked for ever */

bool untrusted[2];		/* struct asi_core */
bool unrestricted[2] = true;
bool tainted[2];		/* asi_cpu.taints, for control flow */

bool struck[2];			/* by a handler */

#define self		(_pid % 2)
#define sibling		(1 - _pid % 2)
#define interrupted	(sent[self] || pending[self] || asked[self])

inline call_in()
{
#ifndef BREAK_EXIT_CALLS_NOT
	if
	:: untrusted[sibling] ->
		sent[sibling] = true;
#ifndef BREAK_EXIT_WAITS_NOT
		!untrusted[sibling]
#endif
	:: else
	fi
#else
	!untrusted[sibling]
#endif
}

inline flush_control()
{
	if
	:: tainted[self] -> trained[self] = false; tainted[self] = false
	:: else
	fi
}

inline __asi_exit()
{
#ifdef BREAK_EXIT_LOOKS_FIRST
	call_in();
	unrestricted[self] = true;
#else
	unrestricted[self] = true;
#ifdef BREAK_EXIT_FLUSH_FIRST
	flush_control();
#endif
	call_in();
#endif
#ifndef BREAK_EXIT_FLUSH_FIRST
	flush_control();
#endif
	d_step { open[self] = true; dirty[self] = true }
}

/* An access to sensitive memory */
inline touch()
{
	if
	:: !open[self] -> __asi_exit()
	:: else
	fi
}

inline asi_release()
{
#ifndef BREAK_RELEASE_TAINTS_NOT
	tainted[self] = true;
#endif
	unrestricted[self] = false
}

inline flush_data()
{
	dirty[self] = open[self]
}

/* Also what __asi_enter() and __asi_enter_guest() do first */
inline __asi_relax()
{
	if
	:: unrestricted[self] ->
		open[self] = false;
#ifdef BREAK_RELEASE_FIRST
		asi_release();
		flush_data()
#else
		flush_data();
		asi_release()
#endif
	:: else
	fi
}

/*
 * After a guest, before its VMM or its user mode is within reach: siblings are not stunned
 * for this flush, and go on training. Their taint has to stay.
 */
inline asi_leave_guest_root()
{
#ifdef BREAK_LEAVE_UNTAINTS
	flush_control();
	tainted[self] = true
#else
	trained[self] = false
#endif
}

inline __asi_publish()
{
#ifdef BREAK_PUBLISH_LOOKS_FIRST
	if
	:: unrestricted[sibling] -> pending[self] = true
	:: else
	fi;
	untrusted[self] = true
#else
	untrusted[self] = true;
#ifndef BREAK_PUBLISH_SENDS_NOT
	if
	:: unrestricted[sibling] -> pending[self] = true
	:: else
	fi
#else
	skip
#endif
#endif
}

/* Where interrupts are on */
inline interrupt()
{
	if
	:: sent[self] || pending[self] ->
		d_step { sent[self] = false; pending[self] = false };
		stunned = stunned || unrestricted[sibling]	/* __asi_called_in() */
	:: asked[self] ->
		asked[self] = false;
#ifndef BREAK_LETS_GO_NOT
		__asi_relax()					/* asi_let_go() */
#else
		refused[self] = true
#endif
	fi
}

active [2] proctype task() provided (!struck[_pid])
{
	bool stunned;			/* TIF_ASI_STUNNED */
	bool stays;

kernel:
	do
	:: true -> touch()
	:: true -> __asi_relax()	/* is idle */
	:: !open[self] -> asi_leave_guest_root()
	:: interrupt()
	:: unrestricted[self] ->
end_busy:	interrupted;		/* for ever, if nobody minds */
		interrupt()
	:: break
	od;

	/* exit_to_user_mode_loop() */
	if
	:: stunned ->
		/* asi_stunned() */
		stunned = false;
		if
		:: stays = true
		:: stays = false	/* there is other work */
		fi;
		do
		:: unrestricted[self] -> __asi_relax()
		:: !unrestricted[sibling] -> break
		:: interrupt()
#ifndef BREAK_ASKS_NOT
		:: unrestricted[sibling] && !asked[sibling] && !refused[sibling] ->
			asked[sibling] = true
#endif
		:: !stays -> stunned = true; break
		od;
		stays = false;
		goto kernel
	:: else
	fi;

	/* asi_enter(); interrupts are off */
	__asi_relax();
	tainted[self] = true;
	__asi_publish();

	/* User mode. It never calls if it stays. */
	if
	:: stays = true
	:: stays = false
	fi;
end_user:
	do
	:: d_step {
		!pending[self] && !asked[self] && (dirty[0] || dirty[1] || !trained[0] || !trained[1]) ->
		assert(!dirty[0] && !dirty[1]);
		trained[0] = true;
		trained[1] = true
	   }
	:: d_step { sent[self] -> sent[self] = false; pending[self] = true }
	:: pending[self] || asked[self] || !stays -> break
	od;
	stays = false;
#ifndef BREAK_WITHDRAWS_NOT
	untrusted[self] = false;
#endif
	goto kernel
}

/* Strikes the task of the same thread, of which nobody else changes anything. */
active proctype nmi()
{
	bool found_open, found_tainted, found_stunned, found_published;
	struck[self] = true;

	/* __asi_nmi_enter() */
	d_step {
		found_open = open[self];
		found_tainted = tainted[self];
		found_stunned = unrestricted[self];
		found_published = untrusted[self]
	};
	untrusted[self] = false;

	if
	:: true -> touch()
	:: skip
	fi;

	/* __asi_nmi_exit() */
	if
	:: open[self] && !found_open -> open[self] = false; flush_data()
	:: else
	fi;
	if
#ifdef BREAK_NMI_RELEASES
	:: unrestricted[self] -> asi_release()
#else
	:: unrestricted[self] && !found_stunned -> asi_release()
#endif
	:: else
	fi;
	tainted[self] = tainted[self] || found_tainted;
	if
#ifdef BREAK_NMI_PUBLISHES_BLIND
	:: found_published -> untrusted[self] = true
#elif !defined(BREAK_NMI_PUBLISHES_NOT)
	:: found_published -> __asi_publish()
#endif
	:: else
	fi;
	struck[self] = false
}

/* What must hold at every instant. */
active proctype monitor()
{
end:	atomic {
		(open[0] && trained[0]) || (open[1] && trained[1]) ->
		/* No secrets in reach of what untrusted code has trained */
		assert(false)
	}
}
