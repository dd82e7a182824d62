/*
 * Select on rendezvous channels, on top of ring/meeting.go's slot states.
 *
 * A process here is one goroutine of a process of its own. It has one or two
 * cases; plain senders and receivers and the Try calls are processes with one.
 * Positions of a channel are cells without order (which covers every order): WANT
 * and OFFER are put as M1 says, in one step that fails if a new one of the other
 * kind is there, but does not see one that came back (GIVEN or HELD -> OFFER: BACK).
 * A ticket is the cell and who stands in it; the lap of the Go word is what makes
 * that unambiguous there.
 *
 * Sleeping is abstract (wait.pml is about it): prep has a bit for each process
 * that said it would sleep (ring.PrepareWait on all its words); a notification of
 * a channel's direction clears the bits of those who wait for that direction, in a
 * step after the CAS that it tells of. Who has its bit set sleeps.
 *
 * The adversary kills, stops or cancels, each at most as often as MOVES says, at any
 * step; a killed one is swept (ring/meeting.go sweepMeeting), then all are woken.
 */

#define NO	15		/* no cell */
#define NOBODY	7

/* Slot states; BACK is OFFER, come back. */
#define EMPTY	0
#define WANT	1
#define GIVEN	2
#define OFFER	3
#define BACK	4
#define HELD	5

/* Roles. */
#define SELECT	0
#define SEND	1	/* plain Send */
#define RECV	2	/* plain Recv */
#define TRYSEND	3
#define TRYRECV	4
#define NONE	5

/* Scenarios: ROLE(p), NC(p) cases, S(p,c): case c sends, CH(p,c) its channel. */
#include "select_cases.h"

#define ISEMPTY(i)	(st[i] == EMPTY)
#define BIT(p)		(1 << (p))
#define ON(m, p)	((m) & BIT(p))
#define RCP(i)		(rc[i] >> 1)		/* the process that wants or holds */
#define ORD(i)		(((i) / K) * 8 + sn[i])	/* the total order of proposals */

byte st[C*K], rc[C*K], sn[C*K];
byte prep, dead, stopped, cancelled, fin;
byte sent, took;		/* reported a sending case, a receiving one */
byte recvd, got;		/* value p was received; p received */
byte lost;			/* value p was copied by one that died with it */
byte selecting;			/* who is in Select with a sending case */
byte spare = SPARE;		/* spurious ends of "a while" */

/* ring.Notify and the wake of all, one step here */
inline notify(mask) { prep = prep & (255 - (mask)) }

/* what every process waits for when its direction is called */
byte waitrecv[C], waitsend[C];
#define TELLRECV(ch)	notify(waitrecv[ch])
#define TELLSEND(ch)	notify(waitsend[ch])

inline put(i, state, r, s)
{
	st[i] = state; rc[i] = r; sn[i] = s
}
inline clear(i) { put(i, EMPTY, NO, NOBODY) }

/* first free cell of a channel */
inline place(ch, i)
{
	i = (ch)*K;
	do
	:: i < (ch)*K+K && st[i] != EMPTY -> i++
	:: else -> break
	od;
	assert(i < (ch)*K+K)
}

/* first cell of the channel in state a or b; NO if none */
inline seek(ch, a, b, i)
{
	i = (ch)*K;
	do
	:: i < (ch)*K+K && st[i] != a && st[i] != b -> i++
	:: else -> break
	od;
	if
	:: i == (ch)*K+K -> i = NO
	:: else
	fi
}

/* "a while" is over: only where somebody is stopped, or a few times for no reason */
#define STUCK(i)	(sn[i] == p && st[i] == GIVEN && ON(stopped, RCP(i)))
#define MOVED(i)	(stopped && (sn[i] != p || st[i] == BACK))

#define MINE(i, c)	(i != NO && rc[i] == 2*p+(c) && (st[i] == WANT || st[i] == GIVEN))

/*
 * Who passes a value on that was given and not taken, does what its giver may have
 * stopped before: it tells the receivers.
 */
inline help(ch, i)
{
#ifdef NO_HELP
	skip
#else
	atomic {
		seek(ch, GIVEN, GIVEN, i);
		if
		:: i != NO && sn[i] != p -> TELLRECV(ch)
		:: else
		fi;
		i = NO
	}
#endif
}

/* end of a receiving case that is not chosen: withdraw, or decline */
inline drop(c, t)
{
	d_step {
		i = NO;
		if
		:: MINE(t, c) && st[t] == WANT -> clear(t)		/* Queue.Withdraw */
		:: MINE(t, c) && st[t] == GIVEN ->			/* Queue.Decline */
#ifdef NO_DECLINE
			skip
#else
			st[t] = BACK; rc[t] = NO; i = t
#endif
		:: else
		fi;
		t = NO
	};
	if
	:: i != NO ->
#ifndef QUIET_DECLINE
		d_step { TELLRECV(i/K); TELLSEND(i/K) };
#endif
		i = NO
	:: else
	fi
}

/* One receiving case, not claimed: want.meet. h: what is held then. */
inline receive(c, ch, t)
{
	/* Queue.Got */
	d_step {
		if
		:: t != NO && !MINE(t, c) -> t = NO			/* Busy */
		:: MINE(t, c) && st[t] == GIVEN -> st[t] = HELD; h = t; t = NO
		:: else
		fi
	};
	if
	:: h != NO
	:: else ->
		/* Offers, and Withdraw of one's own WANT */
		d_step {
			seek(ch, OFFER, BACK, i);
			if
			:: i != NO && t != NO && MINE(t, c) && st[t] == WANT -> clear(t); t = NO
			:: else
			fi;
			i = NO
		};
		if
		:: t != NO
		:: else ->
			/* Desk.Meet */
			d_step {
				seek(ch, OFFER, BACK, i);
				if
				:: i != NO -> st[i] = HELD; rc[i] = 2*p+(c); h = i; i = NO
				:: else
				fi
			};
			if
			:: h != NO
			:: else ->
				/* Desk.Want: M1 */
				d_step {
					seek(ch, OFFER, OFFER, i);
					if
					:: i == NO -> place(ch, i); put(i, WANT, 2*p+(c), NOBODY); t = i
					:: else				/* Busy: look again */
						notify(BIT(p))
					fi;
					i = NO
				};
				if :: t != NO -> TELLSEND(ch) :: else fi
			fi
		fi
	fi
}

#ifdef OWN_WANT
#define GIVABLE(i)	(st[i] == WANT)
#else
#define GIVABLE(i)	(st[i] == WANT && RCP(i) != p)
#endif

/* the first or the last want of the channel, or NO (Desk.seek; it may be any) */
inline pick(ch, i)
{
	if
	:: i = (ch)*K;
		do
		:: i < (ch)*K+K && !GIVABLE(i) -> i++
		:: else -> break
		od
	:: i = (ch)*K+K-1;
		do
		:: i < (ch)*K+K && !GIVABLE(i) -> i = (i == (ch)*K -> (ch)*K+K : i-1)
		:: else -> break
		od
	fi;
	if
	:: i == (ch)*K+K -> i = NO
	:: else
	fi
}

/* One sending case, not claimed: claim and give, Desk.Give. own: what was given. */
inline give(ch)
{
	atomic {
		pick(ch, i);
		if
		:: i != NO -> st[i] = GIVEN; sn[i] = p; own = i
		:: else
		fi;
		i = NO
	};
	if
	:: own != NO -> TELLRECV(ch)
	:: else -> help(ch, i)
	fi
}

/* Queue.Withdraw of one's own proposal; i: 1 if it is withdrawn */
inline withdraw()
{
	d_step {
		i = 0;
		if
#ifdef WITHDRAW_UNCHECKED
		:: true ->
#else
		:: sn[own] == p && st[own] != HELD ->
#endif
			if
			:: sn[own] == p && st[own] != HELD -> clear(own)
			:: else
			fi;
			i = 1
		:: else
		fi
	}
}

proctype Select(byte p)
{
	byte i = NO, own = NO, h = NO, t0 = NO, t1 = NO;

	{
	if
	:: S(p,0) || (NC(p) > 1 && S(p,1)) -> selecting = selecting | BIT(p)
	:: else
	fi;
again:
	prep = prep | BIT(p);				/* PrepareWait, on all words */
	if
	:: ON(cancelled, p) -> goto finish
	:: else
	fi;
	/* the cases, in either order */
	if
	:: !S(p,0) -> receive(0, CH(p,0), t0)
	:: else
	fi;
	if
	:: h == NO && NC(p) > 1 && !S(p,1) -> receive(1, CH(p,1), t1)
	:: else
	fi;
	if
	:: h != NO -> goto held
	:: else
	fi;
	if
	:: S(p,0) -> give(CH(p,0))
	:: else
	fi;
	if
	:: own == NO && NC(p) > 1 && S(p,1) -> give(CH(p,1))
	:: else
	fi;
	if
	:: own != NO -> goto claimed
	:: else
	fi;
	!ON(prep, p);					/* asleep */
	goto again;

claimed:
	prep = prep | BIT(p);
#ifdef NO_CLAIM
	/* takes what it is given, although its own may be taken */
	d_step {
		if
		:: MINE(t0, 0) && st[t0] == GIVEN -> st[t0] = HELD; h = t0; t0 = NO
		:: !(MINE(t0, 0) && st[t0] == GIVEN) && MINE(t1, 1) && st[t1] == GIVEN -> st[t1] = HELD; h = t1; t1 = NO
		:: else
		fi
	};
	if
	:: h != NO -> withdraw(); own = NO; i = NO; goto held
	:: else
	fi;
#endif
	if
	:: sn[own] != p -> own = NO;		/* Queue.Settled */
		sent = sent | BIT(p);
		goto finish
	:: sn[own] == p && st[own] == BACK;	/* declined */
#ifdef OFFER_LEFT
		own = NO
#else
		withdraw();
		if
		:: i -> own = NO
		:: else
		fi;
#endif
		i = NO;
		if
		:: own == NO -> goto again
		:: else -> goto claimed
		fi
	:: sn[own] == p && st[own] == HELD;	/* it will be taken: nothing else can be */
#ifndef HELD_KEEPS
		i = NO;
		drop(0, t0);
		drop(1, t1);
#endif
		if
		:: !ON(prep, p)
		:: MOVED(own)
		fi;
		goto claimed
	:: sn[own] == p && st[own] == GIVEN
	fi;
	if
	:: ON(cancelled, p) ->
		withdraw();
		if
		:: i -> own = NO; i = NO; goto finish
		:: else -> i = NO; goto claimed
		fi
	:: else
	fi;
#ifndef NO_YIELD
	/* is one given to us that comes first? */
	if
	:: MINE(t0, 0) && st[t0] == GIVEN && FIRST(t0, own) -> i = 0
	:: MINE(t1, 1) && st[t1] == GIVEN && FIRST(t1, own) -> i = 1
	:: else -> i = NO
	fi;
	if
	:: i != NO ->
		withdraw();
		if
		:: i -> own = NO; i = NO; goto again	/* and take it there */
		:: else -> i = NO; goto claimed		/* ours was taken: decline at the end */
		fi
	:: else
	fi;
#endif
	if
	:: !ON(prep, p)
#ifndef NO_TIMER
	:: MOVED(own)					/* by one that stopped before telling */
	:: stopped && sn[own] == p && st[own] == HELD	/* taking it is not told */
	:: atomic { STUCK(own) || (spare && sn[own] == p && st[own] == GIVEN) ->
		if
		:: STUCK(own)
		:: else -> spare--
		fi };
		withdraw();
		if
		:: i -> own = NO; i = NO; goto again
		:: else -> i = NO
		fi
#endif
	fi;
	goto claimed;

held:
	i = NO;
	d_step {					/* copied; Queue.Settle */
		assert(st[h] == HELD && RCP(h) == p);
		assert(!ON(recvd, sn[h]));
		recvd = recvd | BIT(sn[h]);
		got = got | BIT(p);
		clear(h)
	};
	TELLSEND(h/K); h = NO;
	took = took | BIT(p);

finish:
	i = NO;
	drop(0, t0);
	drop(1, t1);
	d_step {
		selecting = selecting & (255 - BIT(p));
		prep = prep & (255 - BIT(p));
		fin = fin | BIT(p)
	}
	} unless { ON(dead | stopped, p) }
}

/* plain Send: offer.bring; TrySend: offer.tryBring */
proctype Send(byte p)
{
	byte i = NO, own = NO;

	{
	prep = prep | BIT(p);
	atomic {					/* Desk.Offer: M1 */
		pick(CH(p,0), i);
		if
		:: i != NO -> st[i] = GIVEN; sn[i] = p; own = i
		:: i == NO && ROLE(p) == SEND -> place(CH(p,0), i); put(i, OFFER, NO, p); own = i
		:: else				/* TrySend: Full */
		fi;
		i = NO
	};
	if
	:: own == NO -> goto out
	:: else
	fi;
	TELLRECV(CH(p,0));
	do
	:: prep = prep | BIT(p);
		if
		:: sn[own] != p -> sent = sent | BIT(p); goto out	/* Queue.Settled */
		:: sn[own] == p && (ON(cancelled, p) || ROLE(p) == TRYSEND) ->
			withdraw();
			if
			:: i -> goto out
			:: else -> i = NO
			fi
		:: else
		fi;
		if
		:: !ON(prep, p)
#ifndef SEND_PATIENT
		:: MOVED(own) -> TELLRECV(CH(p,0))
		:: atomic { STUCK(own) -> st[own] = BACK; rc[own] = NO };	/* offered again */
			TELLRECV(CH(p,0))
#endif
		fi
	od;
out:
	i = NO;
	d_step { fin = fin | BIT(p); prep = prep & (255 - BIT(p)) }
	} unless { ON(dead | stopped, p) }
}

/* TryRecv: one look, and a WANT for a moment if somebody selects */
proctype TryRecv(byte p)
{
	byte i = NO, h = NO, t0 = NO;

	{
	d_step {					/* Desk.Meet */
		seek(CH(p,0), OFFER, BACK, i);
		if
		:: i != NO -> st[i] = HELD; rc[i] = 2*p; h = i; i = NO
		:: else
		fi
	};
	if
	:: h == NO && selecting -> receive(0, CH(p,0), t0)
	:: else
	fi;
	do
	:: h == NO && t0 != NO -> receive(0, CH(p,0), t0)
	:: h == NO ->					/* the moment is over */
		d_step {
			if
			:: MINE(t0, 0) && st[t0] == GIVEN -> st[t0] = HELD; h = t0
			:: MINE(t0, 0) && st[t0] == WANT -> clear(t0)
			:: else
			fi;
			t0 = NO
		};
		if
		:: h == NO -> break
		:: else
		fi
	:: h != NO ->
		d_step {
			assert(st[h] == HELD && RCP(h) == p && !ON(recvd, sn[h]));
			recvd = recvd | BIT(sn[h]);
			got = got | BIT(p);
			clear(h)
		};
		TELLSEND(h/K); h = NO;
		took = took | BIT(p);
		break
	od;
	fin = fin | BIT(p)
	} unless { ON(dead | stopped, p) }
}

/* ring/meeting.go sweepMeeting, then channel/core.go stirAll; any survivor does it */
inline sweep(v)
{
	i = 0;
	do
	:: i < C*K ->
		d_step {
			if
			:: st[i] == WANT && RCP(i) == v -> clear(i)
			:: (st[i] == OFFER || st[i] == BACK) && sn[i] == v -> clear(i)
			:: st[i] == GIVEN && sn[i] == v -> clear(i)
			:: st[i] == HELD && sn[i] == v && RCP(i) == v -> clear(i)
			:: (st[i] == GIVEN || st[i] == HELD) && RCP(i) == v && sn[i] != v ->
				st[i] = BACK; rc[i] = NO
			:: else
			fi;
			i++
		}
	:: else -> break
	od;
	i = 0;
	d_step {
		selecting = selecting & (255 - BIT(v));
#ifndef QUIET_SWEEP
		notify(255)
#endif
	}
}

proctype Adversary()
{
	byte v, i, moves = MOVES;

	do
	:: moves && (KINDS & 1) -> moves--;
		select(v : 0 .. N-1);
		if
		:: !ON(fin | dead | stopped, v) ->
			dead = dead | BIT(v);
			sweep(v)
		:: else
		fi
	:: moves && (KINDS & 2) -> moves--;
		select(v : 0 .. N-1);
		if
		:: !ON(fin | dead, v) -> stopped = stopped | BIT(v)
		:: else
		fi
	:: moves && (KINDS & 4) -> moves--;
		select(v : 0 .. N-1);
		if
		:: !ON(fin | dead, v) -> atomic { cancelled = cancelled | BIT(v); notify(BIT(v)) }
		:: else
		fi
	:: break
	od
}

#define ALIVE(p)	(!ON(dead | stopped, p))
#define WAITS(p)	(ALIVE(p) && !ON(fin, p))

/*
 * When nothing can happen any more: nobody is left who could meet another; a value
 * that was reported sent was received, once; a chosen case is the only one.
 */
proctype Monitor()
{
	byte p, q, c, d, i;

	timeout ->
	atomic {
		p = 0;
		do
		:: p < N ->
			if
			:: ROLE(p) == NONE
			:: else ->
				assert(!(ON(sent, p) && ON(took, p)));
				if
				:: ON(fin, p) ->
					assert(!ON(sent, p) || ON(recvd, p));
					assert(!(ON(recvd, p)) || ON(sent, p));
					assert(ON(took, p) == ON(got, p))
				:: else
				fi;
				assert(!(ON(recvd, p) && ON(got, p)));
				/* no trace */
				i = 0;
				do
				:: i < C*K ->
					if
					:: ON(fin | dead, p) ->
						/* a dead one's value may be in a stopped one's hand: its desk waits */
						assert((sn[i] != p || (ON(dead, p) && st[i] == HELD && ON(stopped, RCP(i))))
							&& (st[i] == EMPTY || rc[i] == NO || RCP(i) != p))
					:: else
					fi;
					i++
				:: else -> break
				od;
				assert(!(WAITS(p) && ON(cancelled, p)) || stopped)
			fi;
			p++
		:: else -> break
		od;
		/* nobody could meet */
		p = 0;
		do
		:: p < N ->
			/* its value is in a stopped one's hand, or was taken by it */
			i = 0; d = 0;
			do
			:: i < C*K ->
				if
				:: sn[i] == p && st[i] == HELD && ON(stopped, RCP(i)) -> d = 1
				:: else
				fi;
				i++
			:: else -> break
			od;
			if
			:: ROLE(p) == NONE || !WAITS(p) || d || (ON(recvd, p) && stopped)
			:: else ->
				q = 0;
				do
				:: q < N ->
					if
					:: q == p || ROLE(q) == NONE || !WAITS(q)
					:: else ->
						/* is q bound? */
						i = 0; d = 0;
						do
						:: i < C*K ->
							if
							:: sn[i] == q && st[i] == HELD && ON(stopped, RCP(i)) -> d = 1
							:: else
							fi;
							i++
						:: else -> break
						od;
						c = 0;
						do
						:: c < 4 ->
							if
							:: !d && c/2 < NC(p) && c%2 < NC(q) && S(p,c/2) && !S(q,c%2) && CH(p,c/2) == CH(q,c%2) ->
								printf("%d could send to %d\n", p, q);
								assert(false)
							:: else
							fi;
							c++
						:: else -> break
						od
					fi;
					q++
				:: else -> break
				od
			fi;
			p++
		:: else -> break
		od
	}
}

init
{
	byte p, c;

	atomic {
		do
		:: p < C*K -> clear(p); p++
		:: else -> break
		od;
		p = 0;
		do
		:: p < N ->
			c = 0;
			do
			:: c < NC(p) ->
				if
				:: ROLE(p) == NONE
				:: ROLE(p) != NONE && S(p,c) -> waitsend[CH(p,c)] = waitsend[CH(p,c)] | BIT(p)
				:: else -> waitrecv[CH(p,c)] = waitrecv[CH(p,c)] | BIT(p)
				fi;
				c++
			:: else -> break
			od;
			if
			:: ROLE(p) == SELECT || ROLE(p) == RECV -> run Select(p)
			:: ROLE(p) == SEND || ROLE(p) == TRYSEND -> run Send(p)
			:: ROLE(p) == TRYRECV -> run TryRecv(p)
			:: else
			fi;
			p++
		:: else -> break
		od;
		run Adversary();
		run Monitor()
	}
}
