package ring

import "sync/atomic"

// Carrying. The chain of extents is a ring, and one that is in use for long, because
// its message is in a RecvFunc, or a loan, or with a process that is stopped, would
// bring it to a halt once the chain has come around to it. Instead the chain passes
// over it: a CAS moves its word one lap on, as it stands, from (lap, used) to
// (lap+1, carried). It then is the chain's last extent, and spaceHead may pass its
// old position (S2). Its bytes do not move, and those who use it need not know:
// they find it by its unit. What lay free before and behind it is free for others.
//
// Invariants.
//
//	C1  Only the extent at spaceHead is carried, and only when the chain ends just
//	    one lap behind it: then the units after its last are what comes next in
//	    the chain, and S1 and S3 hold of all others. What is left before it is
//	    skipped, as at the end of a lap.
//	C2  A position whose word is one lap ahead of it, and that spaceHead has not
//	    passed, was carried: to allocate there a lap later spaceHead must be beyond
//	    it (S3). So its length is the extent's.
//	C3  An extent is carried only after its allocator has written down the lap of
//	    its birth, which is written only then. So a carried extent can be told from
//	    any other that was at the unit before (identity, S4). The two instructions
//	    between an allocation and that are the only ones at which a process that
//	    stops can hold up the chain.

// birth is what the allocator says of an extent.
type birth struct {
	size uint32 // bytes of the message
	born uint32 // the lap's part of the unit word that allocated it, low 32 bits
}

// A survey of the chain, from head to end, as of no particular instant.
type survey struct {
	head, end uint64
	used      uint64 // units in use
	room      uint64 // the longest run of units that are not
}

// Where so many extents lead the chain, all in use, the chain waits for its messages
// to be received, as it should, and nothing is looked for behind them.
const leadersMost = Seats

// squeeze allocates k units for which there is no room at the end of the chain, by
// carrying what is in its way. OK, NoSpace or Corrupt.
func (d *Desk) squeeze(k uint64) (uint64, Status) {
	q := d.q
	for range 64 {
		if st := d.pushSpaceHead(d.virtual); st != OK {
			return 0, st
		}
		s, st := d.survey(k)
		if st == Full {
			continue
		}
		if st != OK {
			return 0, st
		}
		if s.used+k > q.content || s.room < k {
			return 0, NoSpace
		}
		d.virtual = s.end
		for n := 4 * q.units; n > 0; n-- {
			u, st := d.squeezeOnce(k)
			if st == Full { // somebody else did something: look again
				break
			}
			if st != NoSpace {
				return u, st
			}
		}
	}
	return 0, NoSpace
}

// squeezeOnce takes one step at the end of the chain. OK: the extent is allocated.
// NoSpace: the chain has become longer, go on. Full: it is not what it was. Or Corrupt.
func (d *Desk) squeezeOnce(k uint64) (uint64, Status) {
	q := d.q
	h := atomic.LoadUint64(u64(q.base, offSpaceHead))
	v := d.virtual
	u := v % q.units
	w := atomic.LoadUint64(&q.unitW[u])
	if v < h || v > h+q.units || q.unitAhead(w, v/q.units) >= 0 {
		return 0, Full
	}
	left := q.units - u // to the end of the lap
	switch gap := h + q.units - v; {
	case k <= gap && k <= left:
		if !d.extend(w, k, unitUsed) {
			return 0, Full
		}
		return u, OK
	case gap > 0:
		if !d.extend(w, min(gap, left), unitFree) {
			return 0, Full
		}
	default:
		n := q.unitLen(w)
		if !unitInUse(w) || q.unitAhead(w, v/q.units) != -1 || n == 0 || n > left ||
			unitState(w) == unitUsed && atomic.LoadUint32(&q.births[u].born) != q.unitBirth(w) { // C3
			return 0, Full
		}
		if !atomic.CompareAndSwapUint64(&q.unitW[u], w, withUnitState(w, unitCarried)+1<<q.unitLapShift) { // C1
			return 0, Full
		}
		d.virtual += n
	}
	if st := d.pushSpaceHead(d.virtual); st != OK {
		return 0, st
	}
	return 0, NoSpace
}

// survey walks the chain from spaceHead to its end. NoSpace: what leads it is all in
// use, or all that is in use leaves no k units. Full: the chain has gone on, look again.
func (d *Desk) survey(k uint64) (s survey, st Status) {
	q := d.q
	s.head = atomic.LoadUint64(u64(q.base, offSpaceHead))
	run, leaders := uint64(0), 0
	for s.end = s.head; s.end-s.head < q.units; {
		u := s.end % q.units
		w := atomic.LoadUint64(&q.unitW[u])
		a, n := q.unitAhead(w, s.end/q.units), q.unitLen(w)
		if a < 0 {
			break
		}
		if a > 0 && q.moved(s.head) {
			return s, Full // else C2: the word is that extent's
		}
		if n == 0 || n > q.units-u {
			if q.moved(s.head) {
				return s, Full
			}
			return s, Corrupt
		}
		if a == 0 && unitInUse(w) {
			if leaders++; leaders == leadersMost && s.room+run == 0 {
				return s, NoSpace
			}
			if s.used += n; s.used+k > q.content {
				return s, NoSpace
			}
			s.room, run = max(s.room, run), 0
		} else {
			run += n
		}
		if s.end += n; s.end%q.units == 0 {
			s.room, run = max(s.room, run), 0
		}
	}
	// Beyond the chain's end all is free up to where spaceHead is a lap on.
	rest := s.head + q.units - min(s.end, s.head+q.units)
	if left := q.units - s.end%q.units; left < rest {
		s.room = max(s.room, run+left, rest-left)
	} else {
		s.room = max(s.room, run+rest)
	}
	return s, OK
}

// moved says whether spaceHead is not where it was, so that what was seen behind that
// may be of later laps.
func (q *Queue) moved(head uint64) bool {
	return atomic.LoadUint64(u64(q.base, offSpaceHead)) != head
}
