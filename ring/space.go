package ring

import (
	"sync/atomic"
	"unsafe"
)

// Space: the bytes that packed messages share.
//
// It is a ring of units. An extent is a run of units; the word of its first unit
// says who allocated it, in which lap, and how long it is. Invariants, with
// virtual positions v = lap × units + unit:
//
//	S1  Extents form one chain: the next begins where one ends. Allocation
//	    happens only at the end of the chain, by one CAS on the word there, which
//	    names the owner. So there is no instant at which bytes are taken and
//	    nobody knows by whom.
//	S2  spaceHead is a position of the chain up to which all extents are free, or
//	    carried on (carry.go). It is moved by CAS, over such extents only.
//	S3  An extent [v, v+k) is allocated only if v+k ≤ spaceHead + units.
//	S4  Only the owner of the message frees its extent (or a sweep, under the
//	    lock, what a dead process left), by a CAS from a word of exactly that
//	    extent, told by its identity, so freeing twice is harmless.
//	S5  The messages between spaceHead and the end of the chain take up at most
//	    content units. There are more units than that, because an extent lies in
//	    one piece: what is skipped at the end of a lap does not count (padIn).
//
// An extent that is held long would keep back what lies behind it: see carry.go.

// Alloc takes an extent for size bytes. OK, NoSpace or Corrupt.
func (d *Desk) Alloc(size int) (uint64, Status) {
	q := d.q
	k := (uint64(size) + q.unit - 1) >> q.unitShift
	if k == 0 {
		return q.units, OK // no extent: an empty message takes no bytes
	}
	if k > q.content {
		return 0, NoSpace
	}
	// Nearly always the chain ends where it was last seen to, and there is room.
	u, lap := d.unitAt(d.virtual)
	w := atomic.LoadUint64(&q.unitW[u])
	if q.unitAhead(w, lap) < 0 && k <= q.units-u && d.virtual+k <= d.spaceHead+q.content && d.extend(w, k, unitUsed) {
		return u, OK
	}
	u, st := d.append(k)
	if st == NoSpace {
		return d.squeeze(k)
	}
	return u, st
}

// unitAt is v%units and v/units.
func (d *Desk) unitAt(v uint64) (u, lap uint64) {
	if u = v - d.lapStart; u >= d.q.units {
		d.lap = v / d.q.units
		d.lapStart = d.lap * d.q.units
		u = v - d.lapStart
	}
	return u, d.lap
}

// append allocates k units at the end of the chain.
func (d *Desk) append(k uint64) (uint64, Status) {
	q := d.q
	for range q.patience {
		v := d.virtual
		u, lap := d.unitAt(v)
		w := atomic.LoadUint64(&q.unitW[u])
		switch a := q.unitAhead(w, lap); {
		case a == 0:
			n := q.unitLen(w)
			if n == 0 || n > q.units-u {
				return 0, Corrupt
			}
			d.virtual = v + n
			continue
		case a > 0:
			// The chain has gone past this place a lap later, so spaceHead
			// is beyond it (S3) and on the chain (S2), or the extent was carried.
			h := atomic.LoadUint64(u64(q.base, offSpaceHead))
			switch n := q.unitLen(w); {
			case h > v:
				d.virtual = h
			case a == 1 && n > 0 && n <= q.units-u:
				d.virtual = v + n
			default:
				return 0, Corrupt
			}
			continue
		}
		need, state := k, uint64(unitUsed)
		if need > q.units-u {
			need, state = q.units-u, unitFree // what is left before the end stays unused
		}
		if !d.fits(v, need, k) {
			if st := d.pushSpaceHead(v); st != OK {
				return 0, st
			}
			if !d.fits(v, need, k) {
				return 0, NoSpace
			}
		}
		if d.extend(w, need, state) && state == unitUsed {
			return u, OK
		}
	}
	return 0, Corrupt
}

// extend adds an extent to the chain, whose end is at d.virtual; w stands there.
func (d *Desk) extend(w, n, state uint64) bool {
	q := d.q
	u, lap := d.unitAt(d.virtual)
	if state == unitFree && u+n == q.units {
		storeRelease64(u64(q.base, offPad), lap<<32|u)
	}
	fresh := q.unitWord(lap, q.seat, n, state)
	if !atomic.CompareAndSwapUint64(&q.unitW[u], w, fresh) {
		return false
	}
	if state == unitUsed {
		storeRelease32(&q.births[u].born, q.unitBirth(fresh))
	}
	d.virtual += n
	return true
}

// fits says whether need units at v are free (S3) and k of them may be content (S5).
func (d *Desk) fits(v, need, k uint64) bool {
	q, h := d.q, d.spaceHead
	if v+need > h+q.units {
		return false
	}
	used := v - h
	if used+k > q.content && v/q.units != h/q.units {
		used -= min(used, q.padIn(h))
	}
	return used+k <= q.content
}

// padIn is how many units are skipped at the end of the lap of position h, if that
// lies behind h. The header says where whoever skipped last was about to; the
// unit's word says whether it did.
func (q *Queue) padIn(h uint64) uint64 {
	p := atomic.LoadUint64(u64(q.base, offPad))
	lap, u := h/q.units, p&(1<<32-1)
	if p>>32 != lap&(1<<32-1) || u >= q.units || u < h%q.units {
		return 0
	}
	w := atomic.LoadUint64(&q.unitW[u])
	if q.unitAhead(w, lap) != 0 || unitState(w) != unitFree || q.unitLen(w) != q.units-u {
		return 0
	}
	return q.units - u
}

// pushSpaceHead moves spaceHead over what is free, up to position end.
func (d *Desk) pushSpaceHead(end uint64) Status {
	q := d.q
	s := u64(q.base, offSpaceHead)
	for range q.patience {
		from := atomic.LoadUint64(s)
		if from > end || end-from > 2*q.units {
			// Others have gone on, or the memory lies; S3 cannot hold with it.
			d.spaceHead = from
			if from <= end {
				return Corrupt
			}
			return OK
		}
		h := from
		for h < end && h-from < 4096 {
			w := atomic.LoadUint64(&q.unitW[h%q.units])
			n, a := q.unitLen(w), q.unitAhead(w, h/q.units)
			if a != 1 && (a != 0 || unitState(w) != unitFree) || n == 0 || n > q.units-h%q.units {
				break
			}
			h += n
		}
		if h == from {
			if atomic.LoadUint64(s) != from {
				continue
			}
		} else if !atomic.CompareAndSwapUint64(s, from, h) {
			continue
		}
		d.spaceHead = h
		if h-from < 4096 {
			return OK
		}
	}
	return OK
}

// extentID is the identity of the extent that is in use at unit u, or 0.
func (q *Queue) extentID(u uint64) uint64 {
	if u >= uint64(len(q.unitW)) {
		return 0
	}
	for range q.patience {
		w := atomic.LoadUint64(&q.unitW[u])
		if !unitInUse(w) {
			return 0
		}
		if id := q.extentOf(u, w); id != 0 {
			return id
		}
	}
	return 0
}

// extentOf is the identity of the extent whose word at unit u is w, in use. 0: the word
// has changed.
func (q *Queue) extentOf(u, w uint64) uint64 {
	born := q.unitBirth(w)
	if unitState(w) == unitCarried {
		born = atomic.LoadUint32(&q.births[u].born)
		if atomic.LoadUint64(&q.unitW[u]) != w {
			return 0 // they may be of two extents
		}
	}
	return q.identity(w, born)
}

// freeExtent frees the extent at unit u, if that still is the one with this identity.
func (q *Queue) freeExtent(u, id uint64) {
	if u >= uint64(len(q.unitW)) || id == 0 {
		return
	}
	for range q.patience {
		w := atomic.LoadUint64(&q.unitW[u])
		born := q.unitBirth(w)
		if unitState(w) == unitCarried {
			born = atomic.LoadUint32(&q.births[u].born)
		}
		if !unitInUse(w) || q.identity(w, born) != id || atomic.CompareAndSwapUint64(&q.unitW[u], w, withUnitState(w, unitFree)) {
			return
		}
	}
}

// extent checks and locates the message in the extent at unit u.
func (q *Queue) extent(u uint64) (unsafe.Pointer, int, bool) {
	switch {
	case u == q.units:
		return q.spaceAt(0), 0, true
	case u > q.units:
		return nil, 0, false
	}
	w := atomic.LoadUint64(&q.unitW[u])
	n := q.unitLen(w)
	if !unitInUse(w) || n == 0 || n > q.units-u {
		return nil, 0, false
	}
	size := uint64(atomic.LoadUint32(&q.births[u].size))
	if size > n*q.unit || size > q.MaxMessage {
		return nil, 0, false
	}
	return q.spaceAt(u), int(size), true
}

// Extent is the memory of an extent that Alloc returned for size bytes.
func (q *Queue) Extent(u uint64, size int) []byte {
	if u == q.units {
		return nil
	}
	return unsafe.Slice((*byte)(q.spaceAt(u)), size)
}

// PublishExtent makes the first size bytes of the extent the youngest message.
// OK, Full, Closed or Corrupt; unless OK the extent is still the caller's.
func (d *Desk) PublishExtent(u uint64, size int) Status {
	d.Written(u, size)
	return d.publish(u)
}

// Room says Full or Closed when PublishExtent would now, so that a sender need
// not encode or allocate in vain.
func (d *Desk) Room() Status {
	q := d.q
	w := atomic.LoadUint64(&q.slots[d.tail.idx])
	if q.ahead(w, d.tail.lap) == 0 && w&(stateMask|flagC) == stateEmpty {
		return OK
	}
	if st := d.seekTail(); st != OK {
		return st
	}
	w = atomic.LoadUint64(&q.slots[d.tail.idx])
	switch a, state := q.ahead(w, d.tail.lap), w&stateMask; {
	case w&flagC != 0 && (a == -1 || a == 0 && (state == stateEmpty || state == stateBare)):
		return Closed
	case a == -1 && state == stateFull:
		return Full
	}
	return OK
}

// Release frees an extent that was allocated and not published.
func (q *Queue) Release(u uint64) {
	q.freeExtent(u, q.extentID(u))
}

// Written says that the first size bytes of the extent are the message.
func (d *Desk) Written(u uint64, size int) {
	if u < d.q.units {
		storeRelease32(&d.q.births[u].size, uint32(size))
	}
}
