package channel

import (
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"sync/atomic"
	"unsafe"

	"github.com/shmchan/shmchan/ring"
)

// Loan is a place of the channel, to write a message in where it will lie. Value
// points into shared memory until Commit or Abort, or Detach; it must not be
// touched afterwards. Its contents are arbitrary at first. Exactly one of Commit
// and Abort is to be called, by one goroutine. What a process that died had on loan
// never comes, and its places are taken back.
type Loan[T any] struct {
	Value *T
	l     *loan
	turn  uint64
}

// loan is what Commit and Abort need. It is used again for later loans, so it
// counts them: state is twice the turn while the loan is out, one more when it has
// ended. Whoever raises it ends the loan.
type loan struct {
	k     *core
	state atomic.Uint64
	lost  atomic.Bool // Detach ended it; then it is not used again
	prev  *loan       // the core's list of loans that are out
	next  *loan

	place ring.Loan
	offer offer // rendezvous
	bytes *[]byte
	start *byte
	size  int
	frame []byte // over a Conn: the message, Value within it
}

// ErrLoanEnded is given by a second Commit or Abort of a loan. errors.Is fs.ErrInvalid.
var ErrLoanEnded = fmt.Errorf("loan has ended: %w", fs.ErrInvalid)

// Reserve waits for a free place, as Send does, and lends it: write l.Value, then
// l.Commit() or l.Abort(). The message takes its place in the order when it is
// committed. Until then it takes up one of the capacity's places, is not counted by
// Len, and holds up nobody. For []byte, *l.Value has size bytes (MaxMessage if not
// given) and may be cut shorter; for a T without pointers size is not used; for
// another encoded T the error is errors.ErrUnsupported. A size over MaxMessage is
// ErrTooLarge. On a rendezvous nothing waits here, but Commit does. On an SPSC
// channel there is one loan at a time, and no Send meanwhile: ErrBusy.
// The other errors are Send's.
func (c *Chan[T]) Reserve(size ...int) (Loan[T], error) {
	const op = "reserve"
	k := c.core
	if k.over != nil {
		return c.reserveOver(op, size)
	}
	n, err := c.loanSize(size)
	if err != nil {
		return Loan[T]{}, opError(op, k.name, err)
	}
	if !k.enter() {
		return Loan[T]{}, opError(op, k.name, ErrDetached)
	}
	defer k.leave()
	l := k.newLoan(n)
	var p unsafe.Pointer
	switch {
	case k.kind.meeting():
		p, err = k.reserveMeet(op, l)
	case k.kind.spsc():
		p, err = k.reserveSPSC(op, l)
	default:
		p, err = k.reserve(op, l)
	}
	if err != nil {
		return Loan[T]{}, err
	}
	out := Loan[T]{l: l}
	if c.codec == nil {
		out.Value = (*T)(p)
	} else {
		out.Value = new(T)
		b := unsafe.Slice((*byte)(p), n)
		*asBytes(out.Value) = b
		l.bytes, l.start = asBytes(out.Value), unsafe.SliceData(b)
	}
	out.turn, err = k.keep(op, l)
	return out, err
}

func (c *Chan[T]) loanSize(size []int) (int, error) {
	switch {
	case c.codec == nil:
		return int(c.core.q.Elem), nil
	case c.transfer != transferBytes:
		return 0, errors.ErrUnsupported
	case len(size) == 0:
		return int(c.core.q.MaxMessage), nil
	case size[0] < 0:
		return 0, fmt.Errorf("size %d: %w", size[0], fs.ErrInvalid)
	case uint64(size[0]) > c.core.q.MaxMessage:
		return 0, tooLarge(size[0], c.core.q.MaxMessage)
	}
	return size[0], nil
}

func tooLarge(n int, most uint64) error {
	return fmt.Errorf("%w: %d bytes, MaxMessage is %d", ErrTooLarge, n, most)
}

// newLoan takes a loan that has ended, or makes one. Race builds make one always:
// using it again would be an order between the users' goroutines.
func (k *core) newLoan(size int) *loan {
	if raceBuild {
		return &loan{k: k, size: size}
	}
	k.mu.Lock()
	l := k.oldLoans
	if l != nil {
		k.oldLoans = l.next
	}
	k.mu.Unlock()
	if l == nil {
		l = &loan{k: k}
	}
	l.size, l.bytes, l.start, l.next, l.prev = size, nil, nil, nil, nil
	return l
}

// keep begins the loan's turn, remembers it for Detach, and keeps the memory mapped
// for it.
//
//go:norace
func (k *core) keep(op string, l *loan) (turn uint64, err error) {
	turn = (l.state.Load() + 1) &^ 1
	l.state.Store(turn) // from here Detach may end it
	k.pin()
	raceIgnore()
	k.mu.Lock()
	late := k.detached.Load()
	if l.next = k.loans; l.next != nil {
		l.next.prev = l
	}
	k.loans = l
	k.mu.Unlock()
	raceHeed()
	if late { // Detach may have missed it
		l.abandon()
		l.forget()
		return turn, opError(op, k.name, ErrDetached)
	}
	return turn, nil
}

// forget ends what keep began; the loan may be used again.
//
//go:norace
func (l *loan) forget() {
	raceIgnore()
	defer raceHeed()
	k := l.k
	k.mu.Lock()
	if !l.lost.Load() {
		if l.prev == nil {
			k.loans = l.next
		} else {
			l.prev.next = l.next
		}
		if l.next != nil {
			l.next.prev = l.prev
		}
		if l.prev, l.next = nil, k.oldLoans; !raceBuild {
			k.oldLoans = l
		}
	}
	k.mu.Unlock()
	k.unpin()
}

// reserve takes a place of an MPMC ring.
func (k *core) reserve(op string, l *loan) (unsafe.Pointer, error) {
	attempt := func() ring.Status {
		if k.hangUp {
			if st := k.hungUp(ring.SeatSender, ring.SeatReceiver); st != ring.OK {
				return st
			}
		}
		d, st := k.sendDesk()
		if st != ring.OK {
			return st
		}
		l.place, st = d.Reserve(l.size)
		d.Unlock()
		return k.spaceOrClosed(st)
	}
	st := attempt()
	if waits(st) {
		return l.place.Data, k.await(never, op, true, attempt)
	}
	return l.place.Data, opError(op, k.name, orStatus(nil, st))
}

// reserveSPSC lends the next slot.
func (k *core) reserveSPSC(op string, l *loan) (unsafe.Pointer, error) {
	var p unsafe.Pointer
	attempt := func() ring.Status {
		if k.hangUp {
			if st := k.hungUp(ring.SeatSender, ring.SeatReceiver); st != ring.OK {
				return st
			}
		}
		s := k.spscSend.Load()
		for ; s == nil; s = k.spscSend.Load() {
			if st := k.claimSend(); st != statusAgain {
				return st
			}
		}
		if k.sendStop.Load() != 0 {
			return k.stopped(&k.sendStop)
		}
		if k.q.Closing() {
			return ring.Closed
		}
		var st ring.Status
		if k.kind == kindSPSC {
			p, st = s.Slot()
			return st
		}
		b, st := s.Bytes(l.size)
		p = unsafe.Pointer(unsafe.SliceData(b))
		return st
	}
	st := attempt()
	if waits(st) {
		if err := k.await(never, op, true, attempt); err != nil {
			return nil, err
		}
		st = ring.OK
	}
	if st == ring.OK {
		k.sendStop.Or(stopInUse)
		k.q.LentSPSC(1)
	}
	return p, opError(op, k.name, orStatus(nil, st))
}

// reserveMeet lends a desk.
func (k *core) reserveMeet(op string, l *loan) (unsafe.Pointer, error) {
	if k.q.IsClosed() {
		return nil, opError(op, k.name, ErrClosed)
	}
	if k.hangUp {
		if st := k.hungUp(ring.SeatSender, ring.SeatReceiver); st != ring.OK {
			return nil, opError(op, k.name, orStatus(nil, st))
		}
	}
	if k.q.SPSC() && !k.oneLoan.CompareAndSwap(false, true) {
		return nil, opError(op, k.name, ErrBusy)
	}
	o, st, err := k.openOffer(never, true)
	if err == nil && st == ring.OK {
		room := func() ring.Status { return o.room(l.size) }
		if st = room(); waits(st) {
			st, err = k.blockMeet(never, true, room)
		}
		if err != nil || st != ring.OK {
			o.close(false)
		}
	}
	if err != nil || st != ring.OK {
		k.oneLoan.Store(false)
		return nil, opError(op, k.name, orStatus(err, st))
	}
	l.offer = o
	if k.q.Packed() {
		return unsafe.Pointer(unsafe.SliceData(k.q.Extent(o.extent, l.size))), nil
	}
	return o.d.Block(), nil
}

// Commit sends the loan: the message is there when it returns nil. On a rendezvous
// it waits until a receiver has it. ErrClosed if the channel was closed meanwhile,
// ErrDetached after Detach, ErrLoanEnded the second time; then nothing was sent,
// and the place is free again.
func (l Loan[T]) Commit() error {
	const op = "commit"
	if l.l == nil || !l.l.state.CompareAndSwap(l.turn, l.turn+1) {
		return l.l.endedError(op)
	}
	return opError(op, l.l.k.name, l.l.commit())
}

// Abort gives the place back: nothing is sent. ErrLoanEnded the second time.
func (l Loan[T]) Abort() error {
	const op = "abort"
	if l.l == nil || !l.l.state.CompareAndSwap(l.turn, l.turn+1) {
		return l.l.endedError(op)
	}
	k := l.l.k
	defer l.l.forget()
	if !k.enter() {
		return opError(op, k.name, ErrDetached)
	}
	defer k.leave()
	return opError(op, k.name, orStatus(nil, l.l.giveBack()))
}

func (l *loan) endedError(op string) error {
	switch {
	case l == nil:
		return fmt.Errorf("channel: %s: %w", op, ErrLoanEnded)
	case l.lost.Load():
		return opError(op, l.k.name, ErrDetached)
	}
	return opError(op, l.k.name, ErrLoanEnded)
}

func (l *loan) commit() error {
	k := l.k
	defer l.forget()
	if !k.enter() {
		return ErrDetached
	}
	defer k.leave()
	size := l.size
	if l.bytes != nil {
		b := *l.bytes
		if len(b) > l.size || len(b) > 0 && unsafe.SliceData(b) != l.start {
			l.giveBack()
			return fmt.Errorf("the value is not the memory that was lent, or longer: %w", fs.ErrInvalid)
		}
		size = len(b)
	}
	switch {
	case k.over != nil:
		return k.over.commitOver(l, size)
	case k.kind.meeting():
		return l.commitMeet(size)
	case k.kind.spsc():
		return orStatus(nil, l.commitSPSC(size))
	}
	d, st := k.sendDesk()
	if st != ring.OK {
		return orStatus(nil, st)
	}
	defer d.Unlock()
	if st = d.Commit(&l.place, size); st == ring.Closed {
		d.Abort(&l.place)
		k.notifySend()
	}
	if ring.Attention(k.q.RecvEvent()) {
		k.notifyRecv()
	}
	return orStatus(nil, st)
}

func (l *loan) commitSPSC(size int) ring.Status {
	k, s := l.k, l.k.spscSend.Load()
	k.sendStop.And(^uint32(stopInUse))
	k.q.LentSPSC(0)
	if st := k.fullOrClosed(ring.Full); st == ring.Closed {
		return st
	}
	if k.kind == kindSPSC {
		s.Publish()
	} else {
		s.PublishBytes(size)
	}
	return k.published(s, 1)
}

func (l *loan) commitMeet(size int) error {
	k := l.k
	defer k.oneLoan.Store(false)
	if k.q.Packed() {
		l.offer.d.Written(l.offer.extent, size)
	}
	st, err := l.offer.bring(never, true)
	return orStatus(err, st)
}

// giveBack returns the place. The caller is inside.
func (l *loan) giveBack() ring.Status {
	k := l.k
	switch {
	case k.over != nil:
		return ring.OK
	case k.kind.meeting():
		l.offer.close(true)
		k.oneLoan.Store(false)
		return ring.OK
	case k.kind.spsc():
		k.sendStop.And(^uint32(stopInUse))
		k.q.LentSPSC(0)
		return ring.OK
	}
	d := k.q.NewDesk() // Abort needs only cursors
	st := d.Abort(&l.place)
	k.notifySend()
	return st
}

// abandon is Detach's Abort.
func (l *loan) abandon() bool {
	turn := l.state.Load()
	if turn&1 != 0 || !l.state.CompareAndSwap(turn, turn+1) {
		return false
	}
	l.lost.Store(true)
	l.giveBack()
	return true
}

// abortLoans ends all loans of the handle. The memory stays mapped for those who
// still write into it, until the loan is ended or forgotten by them.
//
//go:norace
func (k *core) abortLoans() {
	k.mu.Lock()
	var out []*loan
	for l := k.loans; l != nil; l = l.next {
		out = append(out, l)
	}
	k.mu.Unlock()
	for _, l := range out {
		if l.abandon() {
			runtime.AddCleanup(l, func(k *core) { k.unpin() }, k)
		}
	}
	k.mu.Lock()
	k.loans = nil // the lost ones are to be garbage when their users let go
	k.mu.Unlock()
}

// pin keeps the memory mapped.
func (k *core) pin() { k.pins.Add(1) }

func (k *core) unpin() {
	if k.pins.Add(-1) == 0 {
		_ = k.obj.Close()
	}
}
