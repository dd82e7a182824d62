//go:build !race

package ring

import "testing"

// TestNothingIsAllocated: no step of the usual paths allocates, nor those of loans and
// holds.
func TestNothingIsAllocated(t *testing.T) {
	check := func(name string, f func()) {
		t.Helper()
		if n := testing.AllocsPerRun(300, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
	must := func(st Status) {
		if st != OK {
			t.Fatalf("status %d", st)
		}
	}
	w := newWorld(t, elems(4))
	d := w.desk(w.process())
	check("publish, take", func() {
		store(d.Block(), 1)
		must(d.Publish())
		p, st := d.Peek()
		must(st)
		if load(p) != 1 || !d.Take() {
			t.Fatal("not taken")
		}
	})
	check("hold, free", func() {
		must(d.Publish())
		h, st := d.Hold()
		must(st)
		must(d.Free(&h))
	})
	check("hold, return, hold, free", func() {
		must(d.Publish())
		h, st := d.Hold()
		must(st)
		must(d.Return(&h))
		h, st = d.Hold()
		must(st)
		must(d.Free(&h))
	})
	check("reserve, commit, take", func() {
		l, st := d.Reserve(8)
		must(st)
		must(d.Commit(&l, 8))
		_, st = d.Peek()
		must(st)
		d.Take()
	})
	check("reserve, abort", func() {
		l, st := d.Reserve(8)
		must(st)
		must(d.Abort(&l))
	})
	check("full, empty, length", func() {
		for d.Publish() == OK {
		}
		if _, st := d.Len(); st != OK {
			t.Fatal(st)
		}
		for {
			if _, st := d.Peek(); st != OK {
				break
			}
			d.Take()
		}
	})

	w = newWorld(t, packed(4, 100, 1000))
	d = w.desk(w.process())
	check("packed: publish, take", func() {
		u, st := d.Alloc(64)
		must(st)
		must(d.PublishExtent(u, 64))
		_, st = d.PeekBytes()
		must(st)
		if !d.TakeBytes() {
			t.Fatal("not taken")
		}
	})
	check("packed: hold, free", func() {
		u, st := d.Alloc(64)
		must(st)
		must(d.PublishExtent(u, 64))
		h, st := d.Hold()
		must(st)
		must(d.Free(&h))
	})

	for _, p := range []Params{spscElems(4), spscPacked(4, 100, 1000)} {
		w = newWorld(t, p)
		s, r := claim(t, w.process(), w.process())
		check("SPSC", func() {
			if p.Packed() {
				_, st := s.Bytes(64)
				must(st)
				s.PublishBytes(64)
				_, st = r.FrontBytes()
				must(st)
			} else {
				_, st := s.Slot()
				must(st)
				s.Publish()
				_, st = r.Front()
				must(st)
			}
			r.Advance()
		})
	}

	w = newWorld(t, elems(0))
	s, r := w.desk(w.process()), w.desk(w.process())
	check("rendezvous", func() {
		ask, st := r.Want()
		must(st)
		ticket, st := s.Offer(0, true)
		must(st)
		h, st := r.q.Got(ask)
		must(st)
		must(r.q.Settle(&h))
		if !s.q.Settled(ticket) {
			t.Fatal("not settled")
		}
	})
}
