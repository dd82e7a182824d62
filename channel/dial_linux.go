package channel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/shmchan/shmchan/fallback"
	"github.com/shmchan/shmchan/shm"
)

// Dial joins the channel that a Listener at path gives: see Listen. Capacity and mode are the
// listener's; SPSC, MPMC, MaxMessage, Space and WantCapacity insist on theirs: a
// difference, as one in T, is a *MismatchError (errors.As), which the listener is told as
// well. CheckPeer looks at who listens, before anything is sent.
//
// It blocks until the handshake is done, and no longer than ctx and HandshakeTimeout
// last. The listener need not have called Accept. Nothing is taken but memory that is
// sealed against shrinking, since its owner could else end this process: another is
// ErrCorrupt. Neither side needs a /dev/shm, nor this one a /proc.
//
// Errors: fs.ErrNotExist, syscall.ECONNREFUSED (nobody listens there), fs.ErrPermission
// (the socket's mode, or the listener's CheckPeer), this side's CheckPeer's own,
// os.ErrDeadlineExceeded (no answer in time), ctx's, ErrCorrupt (what answers is no Listener),
// ErrPeerLost (it went away in the middle), and those of FromFile.
func Dial[T any](ctx context.Context, path string, opts ...Option) (*Chan[T], error) {
	const op = "dial"
	p, err := prepare[T](op, path, -1, opts, false)
	if err != nil {
		return nil, err
	}
	p.name = ""
	if p.cfg.setup.exact {
		p.capacity = p.cfg.setup.capacity
	}
	if err := ctx.Err(); err != nil {
		return nil, opError(op, path, err)
	}
	limited, cancel := context.WithTimeout(ctx, p.cfg.setup.limit())
	defer cancel()
	c, err := p.dial(limited, path)
	switch {
	case err == nil:
		return c, nil
	case ctx.Err() != nil && errors.Is(err, context.DeadlineExceeded):
		err = ctx.Err()
	default:
		err = late(limited, err)
	}
	return nil, opError(op, path, err)
}

func (p *plan[T]) dial(ctx context.Context, path string) (*Chan[T], error) {
	conn, err := fallback.DialUnixSeqpacket(ctx, path, fallback.PacketMaxMessage(maxSetup))
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	if check := p.cfg.setup.checkPeer; check != nil {
		peer, err := conn.Peer()
		if err == nil {
			err = check(peer)
		}
		if err != nil {
			return nil, err
		}
	}
	// The listener may have said why not and left before it read this.
	sendErr := conn.Send(ctx, p.hello().encode())
	c, err := p.answered(ctx, conn)
	if err != nil && sendErr != nil && errors.Is(err, ErrPeerLost) {
		err = fmt.Errorf("%w: %w", ErrPeerLost, sendErr)
	}
	return c, err
}

// answered takes the channel out of the listener's answer, and tells it how that went.
func (p *plan[T]) answered(ctx context.Context, conn *fallback.SeqpacketConn) (*Chan[T], error) {
	var files []*os.File
	msg, err := receiveSetup(ctx, conn, &files)
	defer func() { closeFiles(files) }()
	if err != nil {
		return nil, setupLost(err)
	}
	v, err := decodeVerdict(msg, kindAnswer)
	switch {
	case err != nil:
		return nil, setupLost(err)
	case v.err() != nil:
		return nil, v.err()
	case len(files) != 2:
		return nil, setupLost(fmt.Errorf("%w: %d descriptors came, not 2", fallback.ErrFrame, len(files)))
	}
	c, err := p.take(files[0], files[1])
	say := verdict{}
	var differs *MismatchError
	switch {
	case errors.As(err, &differs):
		say = verdict{outcome: outcomeDiffers, what: differs.What, want: differs.Have, have: differs.Want}
	case err != nil:
		say = verdict{outcome: outcomeFailed, text: "it could not join the channel"}
	}
	if e := conn.Send(ctx, say.encode(kindDone)); e != nil && err == nil {
		// It would be dropped at the other end.
		_ = c.Detach()
		return nil, setupLost(e)
	}
	return c, err
}

// setupLost is the error for a listener that left, or is none.
func setupLost(err error) error {
	switch {
	case errors.Is(err, fallback.ErrFrame):
		return fmt.Errorf("what answers is no listener: %w: %w", ErrCorrupt, err)
	case errors.Is(err, io.EOF), errors.Is(err, unix.EPIPE), errors.Is(err, unix.ECONNRESET):
		return fmt.Errorf("the listener went away: %w", ErrPeerLost)
	}
	return err
}

// take joins the channel that two descriptors are of.
func (p *plan[T]) take(mem, lock *os.File) (*Chan[T], error) {
	obj, err := shm.FromPair(mem, lock, 1)
	if err != nil {
		return nil, notAnObject(err)
	}
	c, err := p.join(obj)
	if err != nil {
		_ = obj.Close()
	}
	return c, err
}
