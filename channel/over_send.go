package channel

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/shmchan/shmchan/fallback"
)

// Sending over a Conn. An attempt (TrySend) is made under sendMu, together with the
// look at whether the channel is closed, so that the mark of a Close comes behind
// every message that was sent before. A send that has to wait does so outside the lock,
// in conn.Send, with a context that Close and Detach end; Close waits until these
// have returned before it sends the mark.

// Priorities on a queue that has them: the mark is received last.
const (
	priorityMark = 0
	priorityData = 1
)

// sendOver sends v. ctx may be nil. v stays where it is: the message is made in
// a buffer of its own.
func (c *Chan[T]) sendOver(ctx context.Context, op string, v *T, wait bool) error {
	o := c.core.over
	buf := scratches.Get().(*[]byte)
	frame, err := c.appendFrame((*buf)[:0], v)
	if err == nil {
		err = o.send(ctx, o.finish(frame), wait)
	}
	if frame != nil {
		*buf = frame[:0]
	}
	scratches.Put(buf)
	return opError(op, c.core.name, err)
}

// appendFrame appends the message that carries v.
func (c *Chan[T]) appendFrame(dst []byte, v *T) ([]byte, error) {
	o := c.core.over
	if err := o.maySend(); err != nil {
		return nil, err
	}
	dst = o.begin(dst, frameData)
	switch {
	case c.codec == nil:
		return append(dst, elemBytes(v)...), nil
	case c.raw:
		b := c.rawBytes(v)
		if len(b) > o.most {
			return nil, tooLarge(len(b), uint64(o.most))
		}
		return append(dst, b...), nil
	}
	out, err := c.codec.Append(dst, *v)
	switch {
	case err != nil:
		return nil, err
	case len(out) < frameHeader:
		return nil, fmt.Errorf("the codec cut what was there: %w", ErrCorrupt)
	case len(out)-frameHeader > o.most:
		return nil, tooLarge(len(out)-frameHeader, uint64(o.most))
	}
	return out, nil
}

// maySend says why sending is over, or cannot be.
func (o *over) maySend() error {
	if !o.caps.Send && !o.k.detached.Load() {
		return fallback.Refuse(o.conn.Kind(), "sending at this end")
	}
	return o.why()
}

// send sends a whole message.
func (o *over) send(ctx context.Context, frame []byte, wait bool) error {
	looks := o.shape != shapeDuplex || o.lookout.due(time.Since(lookEpoch))
	if looks {
		o.lookForClose()
	}
	raceOverSend(o.finger)
	err := o.attempt(frame)
	if err == nil {
		return nil
	}
	if errors.Is(err, fallback.ErrWouldBlock) {
		if !looks {
			o.lookForClose()
		}
		if why := o.why(); why != nil {
			return why
		}
		if !wait {
			return ErrFull
		}
		if err = o.sendWaiting(ctx, frame); err == nil {
			return nil
		}
	}
	return o.sendError(ctx, err)
}

// lookForClose learns of a Close elsewhere, as far as that is possible.
func (o *over) lookForClose() {
	switch {
	case o.shape == shapeDuplex:
		o.listen()
	case o.flag != nil && !o.closed() && o.flag.ChannelClosed():
		o.mu.Lock()
		o.sawClose()
		o.mu.Unlock()
	}
}

// attempt sends frame if that is possible without waiting.
func (o *over) attempt(frame []byte) error {
	o.sendMu.Lock()
	defer o.sendMu.Unlock()
	if err := o.why(); err != nil {
		return err
	}
	var err error
	if o.prio != nil {
		err = o.prio.TrySendPriority(frame, priorityData)
	} else {
		err = o.conn.TrySend(frame)
	}
	if err == nil {
		o.didSend()
	}
	return err
}

func (o *over) didSend() {
	o.sent.Add(1)
	if !o.said.Load() {
		o.said.Store(true)
	}
}

// sendWaiting sends frame when there is room.
func (o *over) sendWaiting(ctx context.Context, frame []byte) error {
	o.sendMu.Lock()
	if err := o.why(); err != nil {
		o.sendMu.Unlock()
		return err
	}
	o.waiting.Add(1)
	o.blocked.Add(1)
	look := lookForFlag
	if o.flag != nil && o.watchFlag() {
		look = lookAnyway
	}
	o.sendMu.Unlock()
	defer o.waiting.Done()
	defer o.blocked.Add(-1)
	switch {
	case o.shape == shapeDuplex:
		o.hear()
	case o.flag != nil: // it may have changed before it was watched
		if o.lookForClose(); o.why() != nil {
			return o.why()
		}
	}
	o.sleeps.Add(1)
	err := o.sendJoined(ctx, frame, look)
	for o.flag != nil && errors.Is(err, context.DeadlineExceeded) && (ctx == nil || ctx.Err() == nil) {
		if o.lookForClose(); o.why() != nil {
			return o.why()
		}
		err = o.sendJoined(ctx, frame, look)
	}
	if err == nil {
		o.didSend()
	}
	return err
}

// How often a send that waits looks at the flag: where nothing tells of a change, and where
// something does.
const (
	lookForFlag = 10 * time.Millisecond
	lookAnyway  = time.Second // there are file systems that tell of their own changes only
)

// flagWatch is who watches the flag: nobody before the first send that waits, then the
// handle, until Detach.
type flagWatch struct {
	tried bool
	stop  func() // nil: nobody
}

// watchFlag says whether a change of the flag will end the sends that wait. sendMu is held.
func (o *over) watchFlag() bool {
	if !o.watched.tried {
		o.watched.tried = true
		if w, ok := o.flag.(watchedFlag); ok {
			o.watched.stop, _ = w.Watch(o.lookForClose)
		}
	}
	return o.watched.stop != nil
}

// sendJoined waits in conn until it has frame, or until a context ends. With a flag, that
// is after look at the latest.
func (o *over) sendJoined(ctx context.Context, frame []byte, look time.Duration) error {
	both, stop := joinContexts(o.open, ctx)
	defer stop()
	if o.flag != nil {
		var cancel context.CancelFunc
		both, cancel = context.WithTimeout(both, look)
		defer cancel()
	}
	if o.prio != nil {
		return o.prio.SendPriority(both, frame, priorityData)
	}
	return o.conn.Send(both, frame)
}

// joinContexts is a context that ends when either does; user may be nil.
func joinContexts(own, user context.Context) (context.Context, func()) {
	if user == nil || user.Done() == nil {
		return own, func() {}
	}
	both, cancel := context.WithCancel(user)
	stop := context.AfterFunc(own, cancel)
	return both, func() {
		stop()
		cancel()
	}
}

// sendError is the error of a send for one of the carrier.
func (o *over) sendError(ctx context.Context, err error) error {
	if ctx != nil && ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)) {
		return ctx.Err()
	}
	if errors.Is(err, syscall.EPIPE) {
		o.lookForClose() // it may have closed before it went
		o.end(endLost)
	}
	return o.errorOf(err)
}

// close is Close.
func (o *over) close() error {
	if o.k.detached.Load() {
		return ErrDetached
	}
	o.lookForClose()
	o.sendMu.Lock()
	news := o.end(endClosed)
	o.sendMu.Unlock()
	if !news {
		return ErrClosed
	}
	o.shut()
	o.waiting.Wait()
	if o.flag != nil {
		o.flag.CloseChannel()
	}
	if o.caps.Send {
		o.sendMark()
	} else {
		o.takeAll()
	}
	o.stirReceivers()
	return nil
}

// sendMark says that the channel is closed. Where there is no room it is said from the
// background, while somebody may make room.
func (o *over) sendMark() {
	o.sendMu.Lock()
	defer o.sendMu.Unlock()
	if o.pending != nil || o.k.detached.Load() {
		return
	}
	mark := o.begin(nil, frameClose)
	try := func() error {
		if o.prio != nil {
			return o.prio.TrySendPriority(mark, priorityMark)
		}
		return o.conn.TrySend(mark)
	}
	err := try()
	if errors.Is(err, fallback.ErrWouldBlock) && makeRoom(o.conn) {
		err = try()
	}
	if !errors.Is(err, fallback.ErrWouldBlock) {
		return // it is on its way, or there is nobody to be told
	}
	done := make(chan struct{})
	o.pending = done
	go func() {
		if o.prio != nil {
			_ = o.prio.SendPriority(o.life, mark, priorityMark)
		} else {
			_ = o.conn.Send(o.life, mark)
		}
		o.sendMu.Lock()
		o.pending = nil
		o.sendMu.Unlock()
		close(done)
	}()
}

// linger is how long Detach waits for a mark that is still to be sent.
const linger = 100 * time.Millisecond

// detach is Detach.
func (o *over) detach() error {
	k := o.k
	if !k.detached.CompareAndSwap(false, true) {
		return ErrDetached
	}
	close(k.gone)
	o.shut()
	o.stirReceivers()
	k.abortLoans()
	o.sendMu.Lock()
	pending, unwatch := o.pending, o.watched.stop
	o.sendMu.Unlock()
	if unwatch != nil {
		unwatch()
	}
	// With the flag the mark is needed by nobody: receivers look at it when they find
	// nothing, and who waits there did so before the carrier was full.
	if pending != nil && (o.flag == nil || !o.flag.ChannelClosed()) {
		t := time.NewTimer(linger)
		select {
		case <-pending:
		case <-t.C:
		}
		t.Stop()
	}
	o.die()
	err := o.conn.Close()
	o.waiters.wakeAll()
	o.mu.Lock()
	inEnd := o.inEnd
	o.inbox = nil
	o.mu.Unlock()
	if inEnd { // Close has done it
		return nil
	}
	return err
}
