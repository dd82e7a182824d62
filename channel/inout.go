package channel

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
)

// Go channels for a select statement. A goroutine stands between each and the shared
// channel:
//
//	In    takes a value from the Go channel, and sends it. It holds at most one. Close
//	      lets it finish: whatever it had taken is sent before the channel is closed.
//	Out   holds a message in its place (RecvFunc) until somebody takes it from the Go
//	      channel; only then is it taken from the shared one. So a message that nobody takes is not
//	      lost with this process: it is delivered again.
//
// Both end when the handle is detached, the channel is closed (Out: and drained), or the context ends.

// ports are the Go channels of a handle.
type ports struct {
	mu   sync.Mutex
	in   any          // chan T
	out  any          // chan T
	held atomic.Int32 // messages that Out holds

	inDone  chan struct{} // closed when In's goroutine has ended
	closing chan struct{} // closed by Close: In takes nothing more
	once    sync.Once
}

// In is a Go channel whose values are sent on c, in order, for a select statement:
//
//	select {
//	case ch.In() <- v:
//	case <-done:
//	}
//
// It is unbuffered, but one value that has been taken may still wait for room in c. Close sends that
// one before it closes c, waiting for room if need be. After Close, Detach, or when c is
// closed by others, nothing is taken any more: a send on it blocks for ever, as on a nil channel. (It is not
// closed, which would make senders panic.) What In had taken and could not send, because others closed
// or c was detached, is lost, and Err says why.
//
// Closing it (close(ch.In())) ends In, after what it has taken is sent, and nothing else: c stays open.
// Every call returns the same channel. The first call starts a goroutine, which ends with Close or Detach. A
// send costs as much as one on an unbuffered Go channel more than Send. On an SPSC channel In is the sender.
func (c *Chan[T]) In() chan<- T { return c.InContext(context.Background()) }

// InContext is In that takes nothing more when ctx ends; a value it has taken and that
// waits for room then is not sent, and Err says so. Only the first call's context, of In
// and InContext together, counts.
func (c *Chan[T]) InContext(ctx context.Context) chan<- T {
	p := c.ports()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.in == nil {
		in := make(chan T)
		p.in, p.inDone = in, make(chan struct{})
		go c.runIn(ctx, in, p)
	}
	return p.in.(chan T)
}

// runIn is the goroutine of In.
func (c *Chan[T]) runIn(ctx context.Context, in <-chan T, p *ports) {
	defer close(p.inDone)
	for {
		select {
		case v, ok := <-in:
			if !ok {
				return
			}
			if err := c.SendContext(ctx, v); err != nil {
				c.core.endErr.Store(&err)
				return
			}
		case <-p.closing:
			return
		case <-c.core.gone:
			return
		case <-ctx.Done():
			return
		}
	}
}

// flush lets In send what it has taken, and take nothing more.
func (p *ports) flush() {
	p.once.Do(func() { close(p.closing) })
	p.mu.Lock()
	done := p.inDone
	p.mu.Unlock()
	if done != nil {
		<-done
	}
}

// Out is a Go channel of what is received from c, in order, for a select statement:
//
//	select {
//	case v, ok := <-ch.Out():
//	case <-time.After(time.Second):
//	}
//
// It is unbuffered: one message at most is held for it, in its place in c (Stats.OutHeld says so, and Len counts it), and taken from
// c when somebody takes it from Out. If the process dies or detaches before that, the message is
// delivered again to other receivers. (On a rendezvous, where a sender whose context ends must not have
// to wait for that, it is taken as soon as Out holds it, and is lost with Out.)
//
// It is closed when c is closed and drained, or detached, or with HangUp the senders are gone; Err then
// says why. Every call returns the same channel. The first call starts a goroutine, which ends then. On an SPSC
// channel Out is the receiver. It costs more than Recv (a hold, and a Go channel): where speed
// counts, use Select, or Recv in a goroutine.
func (c *Chan[T]) Out() <-chan T { return c.OutContext(context.Background()) }

// OutContext is Out that is closed when ctx ends, too. Only the first call's context, of Out
// and OutContext together, counts.
func (c *Chan[T]) OutContext(ctx context.Context) <-chan T {
	p := c.ports()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.out == nil {
		out := make(chan T)
		p.out = out
		go c.runOut(ctx, out, p)
	}
	return p.out.(chan T)
}

var errNotTaken = errors.New("not taken from Out")

// runOut is the goroutine of Out.
func (c *Chan[T]) runOut(ctx context.Context, out chan<- T, p *ports) {
	defer close(out)
	pass := func(v *T) error { return c.passOut(ctx, out, p, v) }
	receive := func() error { return c.recvFunc(ctx, pass) }
	if c.core.kind.meeting() && c.core.over == nil {
		receive = func() error {
			v, err := c.RecvContext(ctx)
			if err != nil {
				return err
			}
			return c.passOut(ctx, out, p, &v)
		}
	}
	for {
		if err := receive(); err != nil {
			if errors.Is(err, errNotTaken) {
				if err = ctx.Err(); err == nil {
					err = ErrDetached
				}
				err = opError("receive", c.core.name, err)
			}
			c.ended(err)
			return
		}
	}
}

// passOut hands *v to whoever receives from out.
func (c *Chan[T]) passOut(ctx context.Context, out chan<- T, p *ports, v *T) error {
	own := c.ownCopy(v)
	p.held.Store(1)
	defer p.held.Store(0)
	select {
	case out <- own:
		return nil
	case <-c.core.gone:
		return errNotTaken
	case <-ctx.Done():
		return errNotTaken
	}
}

// ownCopy is *v in memory of its own.
func (c *Chan[T]) ownCopy(v *T) T {
	if !c.raw {
		return *v
	}
	var own T
	c.setRaw(&own, append([]byte{}, c.rawBytes(v)...))
	return own
}

func (c *Chan[T]) ports() *ports {
	if p := c.port.Load(); p != nil {
		return p
	}
	p := &ports{closing: make(chan struct{})}
	if !c.port.CompareAndSwap(nil, p) {
		p = c.port.Load()
	}
	return p
}
