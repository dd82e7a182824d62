package ring

import (
	"sync/atomic"
	"unsafe"
)

// The ring of one sender and one receiver.
//
// Invariants. tail counts what was published, head what was taken; position p
// lives in block p mod N.
//
//	P1  Only the sender writes tail, only the receiver head; both only rise, by
//	    release stores. head ≤ tail ≤ head + N.
//	P2  The sender writes the block of position tail only while tail < head + N; the
//	    receiver reads the block of position head only while head < tail.
//	P3  Death needs no repair: what was not published never was, what was not
//	    taken still is there. The seats are given out again after a sweep.
//	P4  Closing. Who closes sets eventClosing, then makes sure by Env.Fence that a
//	    sender either sees it after its next publication or has its tail seen
//	    here, then decides closedAt, by one CAS, for all. A sender that sees
//	    eventClosing after publishing p has sent if p < closedAt-1. A receiver that
//	    loads a new tail looks at eventClosing afterwards and takes nothing beyond.
//
// Labels: T is the store of tail in Publish, pairs with the load in refill.
// H is the store of head in Advance, pairs with the load in refresh.

// Bits of the event words. The rest counts, so that a futex wait on an old value fails.
const (
	EventWait    = 1 // somebody may sleep on the word
	EventClosing = 2 // SPSC: the channel is being closed
	EventStep    = 4
)

// A Sender is the sending side of an SPSC channel. One goroutine uses it at a time.
type Sender struct {
	tail  uint64 // positions published
	limit uint64 // tail may rise to here before head must be looked at
	at    uint64 // where block tail mod N begins, in bytes from the first; packed: tail mod N
	spscMap
	spscSpace
	_ [64]byte
}

// A Recver is the receiving side of an SPSC channel. One goroutine uses it at a time.
type Recver struct {
	head uint64 // positions taken
	seen uint64 // tail as last seen
	at   uint64 // where block head mod N begins; packed: head mod N
	spscMap

	// Spare is private memory for the receiving goroutine; the ring does not use it.
	Spare []byte
	_     [64]byte
}

// spscMap is where things are: copied from the Queue, so that a message costs no
// walk over pointers.
type spscMap struct {
	blocks unsafe.Pointer // the first block
	stride uint64
	end    uint64  // stride × N
	cursor *uint64 // the word that this side writes
	event  *uint32 // what the other side sleeps on
	q      *Queue
}

func (q *Queue) spscMap(cursor uintptr, event *uint32) spscMap {
	stride := q.stride
	if q.Packed() {
		stride = 1 // at counts descriptors
	}
	return spscMap{q.blockAt(0), stride, stride * q.Capacity, u64(q.base, cursor), event, q}
}

// spscSpace is what the sender of packed messages knows of Space: virtual bytes.
type spscSpace struct {
	bytesTail, bytesHead uint64
	start                uint64 // of the message being written
	padAt, padLen        uint64 // what was skipped last at the end of a lap
}

// ClaimSender takes the sender's seat. OK, Busy (its holder may be dead: Sweep and
// try again) or Corrupt.
func (q *Queue) ClaimSender() (*Sender, Status) {
	if st := q.claim(offSenderSeat); st != OK {
		return nil, st
	}
	head, tail := atomic.LoadUint64(u64(q.base, offHead)), atomic.LoadUint64(u64(q.base, offTail))
	if tail-head > q.Capacity {
		return nil, Corrupt
	}
	s := &Sender{tail: tail, limit: head + q.Capacity, spscMap: q.spscMap(offTail, q.RecvEvent())}
	s.at = tail % q.Capacity * s.stride
	if q.Packed() && tail != head {
		last := (tail - 1) % q.Capacity
		s.bytesTail = atomic.LoadUint64(&q.desc[2*last]) + padded(atomic.LoadUint64(&q.desc[2*last+1]))
		s.bytesHead = atomic.LoadUint64(&q.desc[2*(head%q.Capacity)])
		if s.bytesTail-s.bytesHead > q.bytes() {
			return nil, Corrupt
		}
	}
	return s, OK
}

// ClaimRecver takes the receiver's seat, likewise.
func (q *Queue) ClaimRecver() (*Recver, Status) {
	if st := q.claim(offRecvSeat); st != OK {
		return nil, st
	}
	head := atomic.LoadUint64(u64(q.base, offHead))
	r := &Recver{head: head, seen: head, spscMap: q.spscMap(offHead, q.SendEvent())}
	r.at = head % q.Capacity * r.stride
	return r, OK
}

func (q *Queue) claim(off uintptr) Status {
	me := deskOwner(q.seat, q.inc)
	if p := u64(q.base, off); !atomic.CompareAndSwapUint64(p, 0, me) && atomic.LoadUint64(p) != me {
		return Busy
	}
	return OK
}

// ClaimSeats takes the seats of a rendezvous that is SPSC: which is SeatSender or
// SeatReceiver.
func (q *Queue) ClaimSeats(which uint64) Status {
	if which == SeatSender {
		return q.claim(offSenderSeat)
	}
	return q.claim(offRecvSeat)
}

func (q *Queue) bytes() uint64 { return q.units * q.unit }

// padded is what a message of size bytes takes of Space.
func padded(size uint64) uint64 { return (size + 7) &^ 7 }

// Slot is the block of the next element, to be written before Publish.
// OK, Full or Corrupt.
func (s *Sender) Slot() (unsafe.Pointer, Status) {
	if s.tail == s.limit {
		if st := s.refresh(); st != OK {
			return nil, st
		}
	}
	return s.Block(), OK
}

// Ready says that there is room for sure: Slot would say OK.
func (s *Sender) Ready() bool { return s.tail != s.limit }

// Block is what Slot returns when there is room.
func (s *Sender) Block() unsafe.Pointer {
	if RaceEnabled {
		s.q.race.given(s.tail % s.q.Capacity)
	}
	return unsafe.Add(s.blocks, s.at)
}

// refresh looks at head: OK when there is room.
func (s *Sender) refresh() Status {
	q := s.q
	head := atomic.LoadUint64(u64(q.base, offHead)) // pairs with H
	n := s.tail - head
	if n > q.Capacity {
		return Corrupt // P1
	}
	s.limit = head + q.Capacity
	if q.Packed() {
		h := s.bytesTail
		if n > 0 {
			h = atomic.LoadUint64(&q.desc[2*(head%q.Capacity)])
			if s.bytesTail-h > q.bytes() {
				return Corrupt
			}
		}
		s.bytesHead = h
	}
	if n == q.Capacity {
		return Full
	}
	return OK
}

// Bytes is memory for the next message of up to size bytes, to be written before
// PublishBytes. OK, Full, NoSpace or Corrupt.
func (s *Sender) Bytes(size int) ([]byte, Status) {
	q, n := s.q, padded(uint64(size))
	for looked := false; ; looked = true {
		start := s.bytesTail
		if left := q.bytes() - start%q.bytes(); n > left {
			start += left
		}
		if s.tail != s.limit {
			if looked && s.tail+q.Capacity == s.limit {
				s.bytesHead = start // nothing is in it: the rest of the lap may be skipped
			}
			used := start + n - s.bytesHead
			if used > q.bytes() {
				used = ^uint64(0)
			} else if s.padLen > 0 && s.padAt >= s.bytesHead {
				used -= min(used, s.padLen)
			}
			if skip := start - s.bytesTail; skip > 0 && s.bytesHead <= s.bytesTail {
				used -= min(used, skip)
			}
			if used <= q.content*q.unit {
				s.start = start
				q.race.given(s.tail % q.Capacity)
				return unsafe.Slice((*byte)(unsafe.Add(q.base, q.offPayload+start%q.bytes())), size), OK
			}
		}
		if looked {
			return nil, NoSpace
		}
		if st := s.refresh(); st != OK {
			return nil, st
		}
	}
}

// PublishBytes publishes the first size bytes of what Bytes gave.
func (s *Sender) PublishBytes(size int) {
	i := s.at
	storeRelease64(&s.q.desc[2*i], s.start)
	storeRelease64(&s.q.desc[2*i+1], uint64(size))
	if skip := s.start - s.bytesTail; skip > 0 {
		s.padAt, s.padLen = s.bytesTail, skip
	}
	s.bytesTail = s.start + padded(uint64(size))
	s.Publish()
}

// Publish publishes the element written into Slot. Look at Queue.RecvAttention
// afterwards.
func (s *Sender) Publish() {
	if RaceEnabled {
		s.q.race.sending(s.tail % s.q.Capacity)
	}
	s.tail++
	if s.at += s.stride; s.at == s.end {
		s.at = 0
	}
	storeRelease64(s.cursor, s.tail) // T
}

// Attention has EventWait or EventClosing set when a sender must do more after
// publishing. The load may not go before the publishing store: on amd64 that is
// the sleeper's membarrier's affair, elsewhere both are sequentially consistent.
func (s *Sender) Attention() uint32 { return atomic.LoadUint32(s.event) & (EventWait | EventClosing) }

// Attention has EventWait set when a receiver must do more after freeing; likewise.
func (r *Recver) Attention() uint32 { return atomic.LoadUint32(r.event) & EventWait }

// RecvAttention has EventWait or EventClosing set when a sender must do more after
// publishing. The load may not go before the publishing store: on amd64 that is
// the sleeper's membarrier's affair, elsewhere both are sequentially consistent.
func (q *Queue) RecvAttention() uint32 {
	return atomic.LoadUint32(u32(q.base, offRecvEvent)) & (EventWait | EventClosing)
}

// SendAttention likewise, for a receiver after freeing.
func (q *Queue) SendAttention() uint32 {
	return atomic.LoadUint32(u32(q.base, offSendEvent)) & EventWait
}

// Sent says, after eventClosing was seen, whether the youngest n publications
// count: the number that do.
func (s *Sender) Sent(n uint64) uint64 {
	end := s.q.decideClose()
	first := s.tail - n
	return min(n, max(end, first)-first)
}

// CloseSPSC closes the channel. Closed when it was already.
func (q *Queue) CloseSPSC() Status {
	if !q.Closing() {
		q.race.closing() // before anybody can see it
	}
	for _, off := range [...]uintptr{offRecvEvent, offSendEvent} {
		p := u32(q.base, off)
		for {
			w := atomic.LoadUint32(p)
			if w&EventClosing != 0 && off == offRecvEvent {
				q.decideClose()
				return Closed
			}
			if atomic.CompareAndSwapUint32(p, w, w|EventClosing) {
				break
			}
		}
	}
	q.decideClose()
	return OK
}

// decideClose returns how many messages count, deciding it if nobody has (P4).
func (q *Queue) decideClose() uint64 {
	p := u64(q.base, offClosedAt)
	if c := atomic.LoadUint64(p); c != 0 {
		atomic.StoreUint32(u32(q.base, offClosed), 1)
		return c - 1
	}
	q.env.Fence()
	atomic.CompareAndSwapUint64(p, 0, atomic.LoadUint64(u64(q.base, offTail))+1)
	atomic.StoreUint32(u32(q.base, offClosed), 1)
	return atomic.LoadUint64(p) - 1
}

// Closing says whether an SPSC channel is closed or being closed.
func (q *Queue) Closing() bool {
	return atomic.LoadUint32(u32(q.base, offRecvEvent))&EventClosing != 0
}

// Front is the block of the oldest element. OK, Empty, Closed or Corrupt.
func (r *Recver) Front() (unsafe.Pointer, Status) {
	if r.head == r.seen {
		if st := r.refill(); st != OK {
			return nil, st
		}
	}
	return r.Block(), OK
}

// Ready says that there is a message for sure: Front would say OK.
func (r *Recver) Ready() bool { return r.head != r.seen }

// Block is what Front returns when there is a message.
func (r *Recver) Block() unsafe.Pointer { return unsafe.Add(r.blocks, r.at) }

// refill looks at tail: OK when there is a message.
func (r *Recver) refill() Status {
	q := r.q
	tail := atomic.LoadUint64(u64(q.base, offTail)) // pairs with T
	if q.Closing() {
		// The decision may count messages younger than that tail: look again.
		end := q.decideClose()
		tail = min(atomic.LoadUint64(u64(q.base, offTail)), end)
		if r.head >= tail {
			q.race.ended()
			return Closed
		}
	}
	switch n := tail - r.head; {
	case n == 0:
		return Empty
	case n > q.Capacity:
		return Corrupt // P1
	}
	r.seen = tail
	return OK
}

// FrontBytes is the oldest message. OK, Empty, Closed or Corrupt.
func (r *Recver) FrontBytes() ([]byte, Status) {
	if r.head == r.seen {
		if st := r.refill(); st != OK {
			return nil, st
		}
	}
	q := r.q
	i := r.at
	start := atomic.LoadUint64(&q.desc[2*i]) % q.bytes()
	size := atomic.LoadUint64(&q.desc[2*i+1])
	if size > q.MaxMessage || size > q.bytes()-start {
		return nil, Corrupt
	}
	return unsafe.Slice((*byte)(unsafe.Add(q.base, q.offPayload+start)), size), OK
}

// Received is to be called between Front and reading, for the race detector.
func (r *Recver) Received() { r.q.race.received(r.head % r.q.Capacity) }

// Waiting says how many messages have been seen to wait.
func (r *Recver) Waiting() uint64 { return r.seen - r.head }

// Advance takes the oldest message. Look at Queue.SendAttention afterwards.
func (r *Recver) Advance() {
	if RaceEnabled {
		r.q.race.received(r.head % r.q.Capacity)
		r.q.race.freeing(r.head % r.q.Capacity)
	}
	r.head++
	if r.at += r.stride; r.at == r.end {
		r.at = 0
	}
	storeRelease64(r.cursor, r.head) // H
}

// LenSPSC counts the messages that wait.
func (q *Queue) LenSPSC() (int, Status) {
	for range q.patience {
		head := atomic.LoadUint64(u64(q.base, offHead))
		tail := atomic.LoadUint64(u64(q.base, offTail))
		if q.Closing() {
			tail = max(head, min(tail, q.decideClose()))
		}
		if atomic.LoadUint64(u64(q.base, offHead)) != head {
			continue
		}
		if tail-head > q.Capacity {
			return 0, Corrupt
		}
		return int(tail - head), OK
	}
	return 0, Corrupt
}

// TotalsSPSC are the numbers of messages ever sent and taken.
func (q *Queue) TotalsSPSC() (sent, taken uint64) {
	taken, sent = atomic.LoadUint64(u64(q.base, offHead)), atomic.LoadUint64(u64(q.base, offTail))
	if q.Closing() {
		sent = min(sent, q.decideClose())
	}
	return max(sent, taken), taken
}

// LentSPSC says whether the sender of an SPSC channel has a loan out, for Stats.
func (q *Queue) LentSPSC(n uint32) { atomic.StoreUint32(u32(q.base, offLoans), n) }

// Again counts a message that is given out again.
func (q *Queue) Again() { atomic.AddUint64(u64(q.base, offRedeliver), 1) }

// Ahead is the block of the n-th element from the next, for a run of elements that
// PublishRun publishes at once. OK, Full or Corrupt.
func (s *Sender) Ahead(n uint64) (unsafe.Pointer, Status) {
	if s.tail+n >= s.limit {
		st := s.refresh()
		if st == Corrupt {
			return nil, st
		}
		if s.tail+n >= s.limit {
			return nil, Full
		}
	}
	at := s.at + n*s.stride
	if at >= s.end {
		at -= s.end
	}
	return unsafe.Add(s.blocks, at), OK
}

// PublishRun publishes the n elements written into Ahead(0) to Ahead(n-1).
func (s *Sender) PublishRun(n uint64) {
	if RaceEnabled {
		for i := range n {
			s.q.race.sending((s.tail + i) % s.q.Capacity)
		}
	}
	s.tail += n
	if s.at += n * s.stride; s.at >= s.end {
		s.at -= s.end
	}
	storeRelease64(s.cursor, s.tail) // T
}

// Further is the block of the n-th message from the oldest. OK, Empty or Corrupt.
func (r *Recver) Further(n uint64) (unsafe.Pointer, Status) {
	if r.seen-r.head <= n {
		switch st := r.refill(); {
		case st == Corrupt:
			return nil, st
		case st != OK || r.seen-r.head <= n:
			return nil, Empty
		}
	}
	at := r.at + n*r.stride
	if at >= r.end {
		at -= r.end
	}
	return unsafe.Add(r.blocks, at), OK
}

// AdvanceRun takes the n oldest messages at once.
func (r *Recver) AdvanceRun(n uint64) {
	if RaceEnabled {
		for i := range n {
			r.q.race.received((r.head + i) % r.q.Capacity)
			r.q.race.freeing((r.head + i) % r.q.Capacity)
		}
	}
	r.head += n
	if r.at += n * r.stride; r.at >= r.end {
		r.at -= r.end
	}
	storeRelease64(r.cursor, r.head) // H
}
