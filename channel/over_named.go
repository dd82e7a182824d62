package channel

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/shmchan/shmchan/fallback"
)

// Where shared memory is refused, a channel with a name runs over the next mechanism
// that has names: a POSIX message queue, and where that cannot be had, or is too small for a
// message, a FIFO. Everybody looks for them in this order, what is there before what can
// be made; so all who are refused shared memory meet. So does one who is not, if there
// is no shared memory of that name and somebody was there before: it finds the
// queue or FIFO before it makes an object.
//
// A queue has the channel's own name, as mq_open(3) takes it, and the bit S_ISGID in its
// mode, which says that it is a channel: others are left alone. It holds as many
// messages as was asked for, or as the system allows, if that is less (Cap). Its messages
// have the length that T needs, with T's description.
//
// A FIFO is named "/tmp/shmchan." and the name. It holds bytes, as many as a pipe
// does, and loses them when nobody has it open; one handle at a time may receive (the
// first that does, until it detaches or dies; others get ErrBusy).
//
// Neither has a rendezvous, so a capacity of 0 is refused.

// opening is which of finding and making a constructor wants.
type opening uint8

const (
	openExisting opening = 1 << iota
	openNew
)

// refused says that shared memory cannot be had on this system, whatever the name: its directory
// is not there, or is read-only, or a system call was refused to the process. A name
// that is taken, lacking permission (EACCES), lacking room are no such reason.
func (p *plan[T]) refused(err error) bool {
	return err != nil && p.mayFallBack() && refusesShared(err)
}

// mayFallBack: with a Dir the user has chosen the file.
func (p *plan[T]) mayFallBack() bool { return !p.cfg.noFallback && p.cfg.dir == "" }

// elsewhere opens the channel over another carrier. because is why it is not shared memory.
func (p *plan[T]) elsewhere(op string, how opening, because error) (*Chan[T], error) {
	if how&openNew != 0 && p.capacity == 0 {
		return nil, fmt.Errorf("%w (and a rendezvous needs shared memory)", because)
	}
	for range 100 {
		c, err := p.found(op)
		switch {
		case err != nil:
			return nil, err
		case c != nil && how&openExisting == 0:
			return nil, p.taken(op, c)
		case c != nil:
			return c, nil
		case how&openNew == 0:
			return nil, fmt.Errorf("%w (and no queue or FIFO has the name: %w)", because, fs.ErrNotExist)
		}
		conn, err := p.makeNamed()
		if errors.Is(err, fs.ErrExist) {
			if how&openExisting == 0 {
				return nil, opError(op, p.name, err)
			}
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%w (and without shared memory: %w)", because, err)
		}
		return p.overNamed(op, conn)
	}
	return nil, opError(op, p.name, fmt.Errorf("the name comes and goes: %w", ErrBusy))
}

// found joins the channel if it runs over another carrier. nil, nil: there is none.
func (p *plan[T]) found(op string) (*Chan[T], error) {
	if !p.mayFallBack() {
		return nil, nil
	}
	conn, err := p.findNamed()
	if err != nil {
		var differs *MismatchError
		if errors.As(err, &differs) {
			return nil, fmt.Errorf("channel: %s: %w", op, err)
		}
		return nil, opError(op, p.name, err)
	}
	if conn == nil {
		return nil, nil
	}
	return p.overNamed(op, conn)
}

// moved is found for one who has shared memory, to whom queues that are no channels, or
// cannot be opened, or are another user's, mean nothing.
func (p *plan[T]) moved(op string) (*Chan[T], error) {
	c, err := p.found(op)
	var differs *MismatchError
	switch {
	case errors.As(err, &differs):
		return nil, err
	case err != nil:
		return nil, nil
	case c != nil && !mine(c.core.over.conn):
		_ = c.Detach()
		return nil, nil
	}
	return c, nil
}

// taken lets go of c, which was in the way.
func (p *plan[T]) taken(op string, c *Chan[T]) error {
	kind := c.Carrier()
	_ = c.Detach()
	return opError(op, p.name, fmt.Errorf("a %s has the name: %w", kind, fs.ErrExist))
}

// overNamed makes the handle, or closes conn.
func (p *plan[T]) overNamed(op string, conn fallback.Conn) (*Chan[T], error) {
	c, err := p.over(conn)
	if err != nil {
		_ = conn.Close()
		return nil, opError(op, p.name, err)
	}
	if conn.Kind() == fallback.KindFIFO {
		c.core.over.seat = newSeat(conn)
	}
	return c, nil
}

// payloadMost is the longest payload of a message.
func (p *plan[T]) payloadMost() int {
	if p.packed() {
		return int(p.maxMessage())
	}
	return int(p.ti.size)
}

// messageSize is how long a queue's messages are: with T's description, as far as a
// usual queue's limit leaves room.
func (p *plan[T]) messageSize() int {
	const usual = 8192 // msgsize_max by default, mq_overview(7)
	n := frameHeader + p.payloadMost()
	return n + min(max(usual-n, 0), len(p.ti.description))
}
