/* Scenarios of select.pml: -DCASE=n. Two bits a case: sends, channel. */

#define R4(a, b, c, d)	((a) + (b)*16 + (c)*256 + (d)*4096)
#define B8(a, b, c, d, e, f, g, h)	((a) + (b)*4 + (c)*16 + (d)*64 + (e)*256 + (f)*1024 + (g)*4096 + (h)*16384)

#define ROLE(p)		((ROLES >> (4*(p))) & 15)
#define NC(p)		(ROLE(p) == SELECT -> 2 : 1)
#define S(p, c)		((SENDS >> (2*(2*(p)+(c)))) & 1)
#define CH(p, c)	((CHANS >> (2*(2*(p)+(c)))) & 3)

#if CASE == 1		/* two Selects that offer each other: a->b, b->a */
#define N 2
#define C 2
#define K 3
#define ROLES	R4(SELECT, SELECT, NONE, NONE)
#define SENDS	B8(1, 0, 0, 1, 0, 0, 0, 0)
#define CHANS	B8(0, 1, 0, 1, 0, 0, 0, 0)
#elif CASE == 2		/* a circle of three */
#define N 3
#define C 3
#define K 3
#define ROLES	R4(SELECT, SELECT, SELECT, NONE)
#define SENDS	B8(1, 0, 1, 0, 1, 0, 0, 0)
#define CHANS	B8(0, 2, 1, 0, 2, 1, 0, 0)
#elif CASE == 3		/* two Selects that send and receive on one channel */
#define N 2
#define C 1
#define K 4
#define ROLES	R4(SELECT, SELECT, NONE, NONE)
#define SENDS	B8(1, 0, 1, 0, 0, 0, 0, 0)
#define CHANS	B8(0, 0, 0, 0, 0, 0, 0, 0)
#elif CASE == 4		/* the same, and a plain receiver, or a plain sender */
#define N 3
#define C 1
#define K 4
#define ROLES	R4(SELECT, SELECT, RECV, NONE)
#define SENDS	B8(1, 0, 1, 0, 0, 0, 0, 0)
#define CHANS	B8(0, 0, 0, 0, 0, 0, 0, 0)
#elif CASE == 5		/* a Select that sends on a, receives on b; a plain receiver of a, a plain sender of b */
#define N 3
#define C 2
#define K 3
#define ROLES	R4(SELECT, RECV, SEND, NONE)
#define SENDS	B8(1, 0, 0, 0, 1, 0, 0, 0)
#define CHANS	B8(0, 1, 0, 0, 1, 0, 0, 0)
#elif CASE == 6		/* two Selects that offer each other, a plain sender and receiver to either */
#define N 4
#define C 2
#define K 4
#define ROLES	R4(SELECT, SELECT, SEND, RECV)
#define SENDS	B8(1, 0, 0, 1, 1, 0, 0, 0)
#define CHANS	B8(0, 1, 0, 1, 0, 0, 0, 0)
#elif CASE == 7		/* the same channel twice: receive, receive; a plain sender, a Select that sends twice */
#define N 3
#define C 1
#define K 4
#define ROLES	R4(SELECT, SELECT, SEND, NONE)
#define SENDS	B8(0, 0, 1, 1, 1, 0, 0, 0)
#define CHANS	B8(0, 0, 0, 0, 0, 0, 0, 0)
#elif CASE == 8		/* Try calls beside a Select that sends on a, receives on b */
#define N 3
#define C 2
#define K 3
#define ROLES	R4(SELECT, TRYRECV, TRYSEND, NONE)
#define SENDS	B8(1, 0, 0, 0, 1, 0, 0, 0)
#define CHANS	B8(0, 1, 0, 0, 1, 0, 0, 0)
#elif CASE == 9		/* plain sender, Select that receives or sends elsewhere, two plain receivers */
#define N 4
#define C 2
#define K 4
#define ROLES	R4(SELECT, SEND, RECV, RECV)
#define SENDS	B8(1, 0, 1, 0, 0, 0, 0, 0)
#define CHANS	B8(1, 0, 0, 0, 1, 0, 0, 0)
#elif CASE == 10	/* a Select that sends on a, receives on b; one receiver of a, a sender and a receiver of b */
#define N 4
#define C 2
#define K 3
#define ROLES	R4(SELECT, RECV, SEND, RECV)
#define SENDS	B8(1, 0, 0, 0, 1, 0, 0, 0)
#define CHANS	B8(0, 1, 0, 0, 1, 0, 1, 0)
#elif CASE == 11	/* plain: one sender, two receivers */
#define N 3
#define C 1
#define K 4
#define ROLES	R4(SEND, RECV, RECV, NONE)
#define SENDS	B8(1, 0, 0, 0, 0, 0, 0, 0)
#define CHANS	B8(0, 0, 0, 0, 0, 0, 0, 0)
#elif CASE == 12	/* two Selects that only send, a plain receiver */
#define N 3
#define C 2
#define K 3
#define ROLES	R4(SELECT, SELECT, RECV, NONE)
#define SENDS	B8(1, 1, 1, 1, 0, 0, 0, 0)
#define CHANS	B8(0, 1, 0, 1, 0, 0, 0, 0)
#elif CASE == 13	/* a Select that receives on a and on b, a plain sender and a plain receiver of a */
#define N 3
#define C 2
#define K 3
#define ROLES	R4(SELECT, SEND, RECV, NONE)
#define SENDS	B8(0, 0, 1, 0, 0, 0, 0, 0)
#define CHANS	B8(0, 1, 0, 0, 0, 0, 0, 0)
#endif

#define FIRST(a, b)	(ORD(a) < ORD(b))
