package ring

import (
	"sync/atomic"
)

// audit checks a channel at rest: every block is in exactly one place, every
// extent is free unless a message or a loan has it, the places add up, no lock is
// held and nothing is in the journal. extents are those that the caller holds.
func audit(t tb, w *world, extents map[uint64]bool) {
	t.Helper()
	q := w.attach()
	if o := atomic.LoadUint64(u64(q.base, offLock)); o != 0 {
		t.Errorf("the lock is held by %#x", o)
	}
	if op := atomic.LoadUint64(q.journal(jOp)); op != opNone {
		t.Errorf("operation %d stands in the journal", op)
	}
	if w.g.SPSC() && !w.g.Meeting() {
		return
	}
	if w.g.Meeting() {
		auditMeeting(t, q)
	} else {
		auditPlaces(t, q)
	}
	if q.unitW != nil {
		auditSpace(t, q, extents)
	}
}

// auditPlaces checks I4 and I6.
func auditPlaces(t tb, q *Queue) {
	t.Helper()
	where := make(map[uint64]string)
	put := func(block uint64, place string) {
		if q.Packed() {
			return
		}
		if block >= q.blocks {
			t.Errorf("block %d of %d in a %s", block, q.blocks, place)
		} else if other, twice := where[block]; twice {
			t.Errorf("block %d is in a %s and in a %s", block, other, place)
		}
		where[block] = place
	}
	bare, out := 0, 0
	for i := range q.slots {
		switch word := q.slots[i]; word & stateMask {
		case stateEmpty:
			put(q.block(word), "free slot")
		case stateFull:
			put(q.block(word), "full slot")
		case stateHeld:
			put(q.block(word), "held slot")
		case stateBare:
			bare++
		default:
			t.Errorf("slot %d is %#x", i, word)
		}
	}
	for i := range q.deskT {
		put(q.deskT[i].priv, "desk")
	}
	for i := range q.recT {
		if recState(q.recT[i].word) != recFree {
			out++
			put(q.recT[i].block, "record")
		}
	}
	if !q.Packed() && uint64(len(where)) != q.blocks {
		t.Errorf("%d of %d blocks are there", len(where), q.blocks)
	}
	if bare != out {
		t.Errorf("%d slots are bare, %d places are out", bare, out)
	}
}

func auditMeeting(t tb, q *Queue) {
	t.Helper()
	seen := make(map[uint64]bool)
	for i := range q.deskT {
		if q.Packed() {
			continue
		}
		if b := q.deskT[i].priv; b != uint64(i) || seen[b] {
			t.Errorf("desk %d has block %d", i, b)
		}
	}
	for i := range q.slots {
		if q.slots[i]&stateMask != stateEmpty {
			t.Errorf("slot %d is not settled: %#x", i, q.slots[i])
		}
	}
}

// auditSpace walks the chain of extents from spaceHead.
func auditSpace(t tb, q *Queue, extents map[uint64]bool) {
	t.Helper()
	refs := make(map[uint64]bool)
	for u := range extents {
		refs[u] = true
	}
	if !q.Meeting() {
		for i := range q.slots {
			if st := q.slots[i] & stateMask; st == stateFull || st == stateHeld {
				refs[q.block(q.slots[i])] = true
			}
		}
		for i := range q.recT {
			if recState(q.recT[i].word) != recFree {
				refs[q.recT[i].block] = true
			}
		}
	}
	used := 0
	v := atomic.LoadUint64(u64(q.base, offSpaceHead))
	for end := v + q.units; v < end; {
		w := q.unitW[v%q.units]
		a := q.unitAhead(w, v/q.units)
		if a < 0 {
			break
		}
		if a > 1 {
			t.Fatalf("extent at %d is %d laps ahead", v, a)
		}
		n := q.unitLen(w)
		if n == 0 || n > q.units-v%q.units {
			t.Fatalf("extent at %d is %d units", v, n)
		}
		if a == 1 { // carried: it comes again
			end += n
		} else if unitInUse(w) {
			used++
			if !refs[v%q.units] {
				t.Errorf("extent at %d, of seat %d, belongs to nobody", v, unitOwner(w))
			}
		}
		v += n
	}
	if used != len(refs) {
		t.Errorf("%d extents are in use, %d are referred to", used, len(refs))
	}
}
