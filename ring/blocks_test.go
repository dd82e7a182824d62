package ring

import (
	"testing"
)

// What a killed or stopped sender leaves at its desk, made by hand: publish tells
// the desk what it would get, exchanges blocks by a CAS, then says what it has.

// announced is the state before the CAS.
func (a *actor) announced(t *testing.T) {
	t.Helper()
	d, q := a.d, a.q
	if st := d.seekTail(); st != OK {
		t.Fatal(st)
	}
	w := q.slots[d.tail.idx]
	if w&stateMask != stateEmpty {
		t.Fatalf("the tail's slot is %#x", w)
	}
	q.deskT[d.idx].next, q.deskT[d.idx].nextPos = q.block(w), q.pos(d.tail)+1
}

// exchanged is the state after the CAS. What it returns is the rest of publish.
func (a *actor) exchanged(t *testing.T, v uint64) (rest func()) {
	t.Helper()
	q := a.q
	e := &q.deskT[a.d.idx]
	priv := e.priv
	if st := a.d.seekTail(); st != OK {
		t.Fatal(st)
	}
	got := q.block(q.slots[a.d.tail.idx])
	owner := q.owners[got]
	a.must(t, step{actSend, v})
	if e.priv != got {
		t.Fatalf("the desk got block %d, not %d", e.priv, got)
	}
	e.priv, q.owners[got] = priv, owner
	return func() { e.priv, q.owners[got] = got, uint32(a.d.idx)+1 }
}

func (a *actor) must(t *testing.T, s step) {
	t.Helper()
	if st, _ := a.do(s); st != OK {
		t.Fatalf("%v: status %d", s, st)
	}
}

// pass sends and takes a message: a's block goes into the ring, another comes out.
func (a *actor) pass(t *testing.T, v uint64) {
	t.Helper()
	a.must(t, step{actSend, v})
	a.must(t, step{actRecv, 0})
}

func TestBlocksOfDeadSenders(t *testing.T) {
	for name, test := range map[string]func(t *testing.T, w *world, a, b, c *actor) (left int){
		"announced, not exchanged": func(t *testing.T, w *world, a, b, c *actor) int {
			a.pass(t, 1)
			a.announced(t)
			w.kill(a.q)
			return 0
		},
		"exchanged": func(t *testing.T, w *world, a, b, c *actor) int {
			a.pass(t, 1)
			a.exchanged(t, 2)
			w.kill(a.q)
			return 1
		},
		"exchanged, and taken": func(t *testing.T, w *world, a, b, c *actor) int {
			a.pass(t, 1)
			a.exchanged(t, 2)
			w.kill(a.q)
			b.must(t, step{actRecv, 0})
			return 0
		},
		"exchanged, and its block is another desk's since": func(t *testing.T, w *world, a, b, c *actor) int {
			a.exchanged(t, 1)
			w.kill(a.q)
			b.must(t, step{actRecv, 0})
			b.must(t, step{actSend, 2}) // b has a's block now
			b.must(t, step{actRecv, 0})
			b.announced(t) // and is about to give it away
			return 0
		},
		"exchanged, and another desk does not say yet that it has the block": func(t *testing.T, w *world, a, b, c *actor) int {
			a.exchanged(t, 1)
			w.kill(a.q)
			b.must(t, step{actRecv, 0})
			b.exchanged(t, 2)
			w.kill(b.q)
			return 1
		},
		"exchanged, and its block is held": func(t *testing.T, w *world, a, b, c *actor) int {
			a.exchanged(t, 1)
			w.kill(a.q)
			b.must(t, step{actHold, 0})
			return 0
		},
		"exchanged, and its block is evicted": func(t *testing.T, w *world, a, b, c *actor) int {
			a.exchanged(t, 1)
			w.kill(a.q)
			b.must(t, step{actHold, 0})
			c.do(step{actSend, 2})
			c.do(step{actSend, 3})
			n, _ := c.d.Len()
			return n
		},
		"exchanged, and its block is lent": func(t *testing.T, w *world, a, b, c *actor) int {
			a.exchanged(t, 1)
			w.kill(a.q)
			b.must(t, step{actRecv, 0})
			for b.do(step{actReserve, 9}); len(b.loans) < int(w.g.Capacity); b.do(step{actReserve, 9}) {
			}
			return 0
		},
		// A stopped desk announced the block once, in vain: the one that got it then
		// is the one that dies.
		"announced, and an old announcement names its block": func(t *testing.T, w *world, a, b, c *actor) int {
			for range w.g.Capacity {
				b.pass(t, 7)
			}
			b.announced(t) // stopped here; its CAS will fail
			a.pass(t, 1)   // a has that block now
			for range w.g.Capacity {
				c.pass(t, 7)
			}
			a.announced(t)
			w.kill(a.q)
			return 0
		},
		"announced, and its block was given by one who does not say so yet": func(t *testing.T, w *world, a, b, c *actor) int {
			rest := b.exchanged(t, 1) // stopped here
			b.must(t, step{actRecv, 0})
			for range w.g.Capacity - 1 {
				c.pass(t, 7)
			}
			a.pass(t, 2) // a has b's block now
			a.announced(t)
			w.kill(a.q)
			c.q.Sweep()
			rest()
			return 0
		},
	} {
		for _, capacity := range []uint64{1, 2} {
			t.Run(name, func(t *testing.T) {
				w := newWorld(t, elems(capacity))
				a, b, c := w.actor(0), w.actor(1), w.actor(2)
				left := test(t, w, a, b, c)
				c.q.Sweep()
				if n := c.q.Sweep(); n != 0 {
					t.Errorf("%d were not swept", n)
				}
				m := newModel(w.g)
				as := []*actor{c}
				if w.Alive(1) {
					as = append(as, b)
				}
				for _, h := range b.holds {
					m.held[h.v] = 1
				}
				for _, l := range b.loans {
					m.loans[l.v] = 1
				}
				if n, st := c.d.Len(); n != left || st != OK {
					t.Fatalf("length %d, status %d, want %d", n, st, left)
				}
				audit(t, w, nil)
				for range left {
					c.must(t, step{actRecv, 0})
				}
				finish(t, w, m, as, 0, 0)
			})
		}
	}
}
