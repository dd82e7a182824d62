package channel

import (
	"context"
	"errors"
	"io"
	"slices"

	"github.com/shmchan/shmchan/fallback"
)

// Receiving over a Conn. An attempt is made under mu: first the inbox, which holds
// what was taken from conn and not given out (a message that RecvFunc's f refused,
// what a sender came across when it looked for a close mark), then conn.TryReceive. A
// receive that has to wait does so outside, in conn.Receive, with a context that
// stirReceivers ends: then it looks again.

// parcel is a message in the inbox, or an error in its place.
type parcel struct {
	buf     *[]byte // what payload lies in, of scratches
	payload []byte
	err     error
}

// next takes the next message into *buf and returns its payload, which lies there.
func (o *over) next(ctx context.Context, wait bool, buf *[]byte) ([]byte, error) {
	if !o.caps.Receive && !o.k.detached.Load() {
		return nil, fallback.Refuse(o.conn.Kind(), "receiving at this end")
	}
	if o.seat != nil && !o.seated.Load() && !o.k.detached.Load() {
		if err := o.seat(); err != nil {
			return nil, err
		}
		o.seated.Store(true)
	}
	if ctx != nil && ctx.Done() == nil {
		ctx = nil
	}
	payload, err := o.nextMessage(ctx, wait, buf)
	if err == nil {
		raceOverRecv(o.finger)
		o.received.Add(1)
	}
	if o.wantsEar() {
		o.hear() // who waits has nobody now who listens
	}
	return payload, err
}

func (o *over) nextMessage(ctx context.Context, wait bool, buf *[]byte) ([]byte, error) {
	for {
		if ctx != nil && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		o.lockAlone()
		payload, err := o.tryLocked(buf)
		if !errors.Is(err, errNone) {
			o.mu.Unlock()
			if errors.Is(err, errMark) {
				continue
			}
			return payload, err
		}
		if !wait {
			o.mu.Unlock()
			return nil, ErrEmpty
		}
		stir := o.stir
		o.asleep++
		o.mu.Unlock()
		o.sleeps.Add(1)
		msg, err := o.receive(stir, ctx, (*buf)[:0])
		o.mu.Lock()
		o.asleep--
		payload, err = o.sort(buf, msg, err)
		o.mu.Unlock()
		if errors.Is(err, errMark) || stir.Err() != nil && errors.Is(err, context.Canceled) {
			continue
		}
		return payload, err
	}
}

func (o *over) receive(stir, ctx context.Context, dst []byte) ([]byte, error) {
	both, stop := joinContexts(stir, ctx)
	defer stop()
	return o.conn.Receive(both, dst)
}

// Verdicts of an attempt, never seen by users.
var (
	errNone = errors.New("nothing there")
	errMark = errors.New("a close mark")
)

// tryLocked makes one attempt. errNone: nothing is there, and more may come. errMark: the
// channel was closed, and what was sent before may have come since the look: try again.
func (o *over) tryLocked(buf *[]byte) ([]byte, error) {
	if o.k.detached.Load() {
		return nil, ErrDetached
	}
	if len(o.inbox) > 0 {
		p := o.inbox[0]
		o.inbox[0] = parcel{}
		o.inbox = o.inbox[1:]
		if p.buf != nil {
			*buf, *p.buf = *p.buf, *buf
			scratches.Put(p.buf)
		}
		return p.payload, p.err
	}
	if o.inEnd {
		return nil, ErrClosed
	}
	ended := o.closed() // before the look: what was sent before the end is there then
	msg, err := o.conn.TryReceive((*buf)[:0])
	if err != nil && errors.Is(err, fallback.ErrWouldBlock) {
		switch {
		case ended:
			return nil, ErrClosed
		case o.closed():
			return nil, errMark
		case o.flag != nil && o.flag.ChannelClosed():
			o.sawClose()
			o.sendMark() // who took the last one may have died with it
			return nil, errMark
		}
		return nil, errNone
	}
	return o.sort(buf, msg, err)
}

// sort says what a receive of conn has given. o.mu is held.
func (o *over) sort(buf *[]byte, msg []byte, err error) ([]byte, error) {
	if err != nil {
		return nil, o.recvError(err)
	}
	*buf = msg
	kind, payload, err := o.parse(msg)
	if err != nil {
		return nil, err
	}
	if kind == frameClose {
		o.sawClose()
		if o.shape == shapeQueue {
			o.sendMark() // for the others
			if o.prio != nil {
				return nil, ErrClosed // it comes last, so there was no other
			}
			return o.behindMark(buf)
		}
		return nil, errMark
	}
	return payload, nil
}

// behindMark takes what unknowing senders have put behind the mark of a queue without
// priorities. Two marks in a row, or nothing, is the end.
func (o *over) behindMark(buf *[]byte) ([]byte, error) {
	msg, err := o.conn.TryReceive((*buf)[:0])
	if errors.Is(err, fallback.ErrWouldBlock) {
		return nil, ErrClosed
	}
	if err != nil {
		return nil, o.recvError(err)
	}
	*buf = msg
	kind, payload, err := o.parse(msg)
	if kind == frameClose {
		o.sendMark()
		return nil, ErrClosed
	}
	return payload, err
}

// recvError keeps a context's end as it is: the caller knows whose it was. o.mu is held.
func (o *over) recvError(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if errors.Is(err, io.EOF) && o.flag != nil && !o.closed() && o.flag.ChannelClosed() {
		o.sawClose() // who closed it left before there was room for the mark
	}
	return o.errorOf(err)
}

// stirReceivers makes the receives that wait look again.
func (o *over) stirReceivers() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.stirLocked()
}

func (o *over) stirLocked() {
	if o.asleep > 0 {
		o.wakes.Add(1)
		o.wake()
		o.stir, o.wake = context.WithCancel(o.life)
	}
	o.waiters.wakeAll()
}

// refuse puts a message back, before all others.
func (o *over) refuse(buf *[]byte, payload []byte) {
	o.lockAlone()
	defer o.mu.Unlock()
	o.received.Add(^uint64(0))
	if o.k.detached.Load() {
		return
	}
	o.redelivered.Add(1)
	o.inbox = slices.Insert(o.inbox, 0, parcel{buf: buf, payload: payload})
	o.stirLocked()
}

// takeAllLimit is how many bytes Close takes over at an end that only receives.
const takeAllLimit = 16 << 20

// takeAll is Close at an end that only receives: what is there is taken into the
// inbox, for the receives to come, and conn is closed, so that senders learn of it.
func (o *over) takeAll() {
	o.lockAlone()
	defer o.mu.Unlock()
	for n := 0; n < takeAllLimit; {
		buf := scratches.Get().(*[]byte)
		msg, err := o.conn.TryReceive((*buf)[:0])
		if err != nil {
			scratches.Put(buf)
			break
		}
		n += len(msg) + frameHeader
		o.keep(buf, msg)
	}
	o.inEnd = true
	_ = o.conn.Close()
}

// keep puts what conn gave into the inbox. o.mu is held.
func (o *over) keep(buf *[]byte, msg []byte) {
	payload, err := o.sort(buf, msg, nil)
	switch {
	case err == nil:
		o.inbox = append(o.inbox, parcel{buf: buf, payload: payload})
		return
	case !errors.Is(err, errMark) && !errors.Is(err, ErrClosed):
		o.inbox = append(o.inbox, parcel{err: err})
	}
	scratches.Put(buf)
}

// recvOver takes a message of any kind.
func (c *Chan[T]) recvOver(ctx context.Context, op string, wait bool) (v T, err error) {
	if c.codec == nil || c.raw {
		err = c.recvOverPlain(ctx, op, wait, &v)
		return v, err
	}
	p := new(T) // codecs may keep it
	err = c.recvOverInto(ctx, op, wait, p)
	return *p, err
}

// recvOverPlain takes a plain T, a []byte or a string; v may stay on the stack.
func (c *Chan[T]) recvOverPlain(ctx context.Context, op string, wait bool, v *T) error {
	buf := scratches.Get().(*[]byte)
	defer scratches.Put(buf)
	payload, err := c.core.over.next(ctx, wait, buf)
	switch {
	case err != nil:
		return c.overError(op, err)
	case c.codec == nil:
		copy(elemBytes(v), payload)
	case c.transfer == transferBytes:
		loadBytes(asBytes(v), payload)
	default:
		*asString(v) = string(payload)
	}
	return nil
}

// recvOverInto takes a message into *v, which is on the heap.
func (c *Chan[T]) recvOverInto(ctx context.Context, op string, wait bool, v *T) error {
	if c.codec == nil || c.raw {
		return c.recvOverPlain(ctx, op, wait, v)
	}
	buf := scratches.Get().(*[]byte)
	defer scratches.Put(buf)
	payload, err := c.core.over.next(ctx, wait, buf)
	if err != nil {
		return c.overError(op, err)
	}
	if err := c.codec.Decode(payload, v); err != nil {
		return &messageError{opError(op, c.core.name, err)}
	}
	return nil
}

// overError names the operation. A *MismatchError names its channel itself.
func (c *Chan[T]) overError(op string, err error) error {
	return opError(op, c.core.name, err)
}

// messageError is an error of one message, which is gone.
type messageError struct{ error }

func (e *messageError) Unwrap() error { return e.error }

// recvBatchOver is RecvBatch.
func (c *Chan[T]) recvBatchOver(op string, buf []T) (n int, err error) {
	for n < len(buf) {
		err := c.recvOverInto(never, op, n == 0, &buf[n])
		switch {
		case err == nil:
			n++
			continue
		case n == 0:
			return 0, err
		case errors.Is(err, ErrEmpty), errors.Is(err, ErrClosed), errors.Is(err, ErrDetached), errors.Is(err, ErrPeerLost):
			return n, nil // the next call says so
		}
		return n, err
	}
	return n, nil
}

// recvFuncOver is RecvFunc.
func (c *Chan[T]) recvFuncOver(ctx context.Context, op string, f func(*T) error) (err error) {
	o := c.core.over
	buf := scratches.Get().(*[]byte)
	payload, err := o.next(ctx, true, buf)
	if err != nil {
		scratches.Put(buf)
		return c.overError(op, err)
	}
	done := false
	defer func() {
		if !done {
			o.refuse(buf, payload)
			return
		}
		scratches.Put(buf)
	}()
	switch {
	case c.codec == nil:
		err = f(elemIn[T](payload))
	case c.transfer == transferBytes:
		err = c.callInPlace(payload[:len(payload):len(payload)], f)
	default:
		err = c.callDecoded(payload, f)
	}
	done = err == nil
	return err
}
