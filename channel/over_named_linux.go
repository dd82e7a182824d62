package channel

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shmchan/shmchan/fallback"
	"github.com/shmchan/shmchan/shm"
)

// refusesShared: see plan.refused.
func refusesShared(err error) bool {
	switch {
	case errors.Is(err, unix.EROFS), errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EPERM):
		return true
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP):
		st, err := os.Stat(shm.DefaultDir)
		return err != nil || !st.IsDir()
	}
	return false
}

// sharedExists says whether there is something of that name where shared memory has its
// names.
func sharedExists(name string) bool {
	_, err := os.Lstat(filepath.Join(shm.DefaultDir, name))
	return err == nil
}

// hasObject is a Conn over an object of the file system or of the kernel's queues.
type hasObject interface {
	Object() (syscall.RawConn, error)
}

// statOf asks about the object under conn, and changes its mode if change is given.
func statOf(conn fallback.Conn, change func(mode uint32) uint32) (st unix.Stat_t, err error) {
	o, ok := conn.(hasObject)
	if !ok {
		return st, errors.ErrUnsupported
	}
	raw, err := o.Object()
	if err != nil {
		return st, err
	}
	ctl := raw.Control(func(fd uintptr) {
		if err = os.NewSyscallError("fstat", unix.Fstat(int(fd), &st)); err == nil && change != nil {
			err = os.NewSyscallError("fchmod", unix.Fchmod(int(fd), change(st.Mode&0o7777)))
		}
	})
	return st, errors.Join(ctl, err)
}

// mine says that the object under conn belongs to this process's user, or to root.
func mine(conn fallback.Conn) bool {
	st, err := statOf(conn, nil)
	return err == nil && (st.Uid == 0 || int(st.Uid) == os.Geteuid())
}

// none says that err means: no such mechanism here, or nothing of that name in it.
func none(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, errors.ErrUnsupported) ||
		errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENAMETOOLONG)
}

// findNamed looks for the channel's queue, then for its FIFO. nil, nil: neither is there.
func (p *plan[T]) findNamed() (fallback.Conn, error) {
	conn, err := p.findQueue()
	if err != nil && none(err) {
		conn, err = p.fifo(0)
	}
	if err != nil && none(err) {
		return nil, nil
	}
	return conn, err
}

// markWait is how long one waits for the mark of a queue that is perhaps just being made.
const markWait = 20

// findQueue opens the queue of that name if it is a channel's.
func (p *plan[T]) findQueue() (fallback.Conn, error) {
	for i := range markWait + 1 {
		q, err := fallback.OpenQueue(p.name, os.O_RDWR, 0, nil)
		if err != nil {
			return nil, err
		}
		conn, err := fallback.MQOver(q, q)
		if err != nil {
			_ = q.Close()
			return nil, err
		}
		st, err := statOf(conn, nil)
		if err == nil && st.Mode&unix.S_ISGID != 0 {
			err = p.compareQueue(q)
		} else if err == nil && i < markWait {
			_ = conn.Close()
			time.Sleep(time.Millisecond)
			continue
		} else if err == nil {
			err = fmt.Errorf("%w: a message queue that is no channel", ErrCorrupt)
		}
		if err != nil {
			_ = conn.Close()
			return nil, err
		}
		return conn, nil
	}
	return nil, ErrCorrupt // not reached
}

// compareQueue says what of the queue differs from what was asked for.
func (p *plan[T]) compareQueue(q *fallback.Queue) error {
	differs := func(what, want, have string) error {
		return &MismatchError{Name: p.name, What: what, Want: want, Have: have}
	}
	bytes := "a type whose messages have " + strconv.Itoa(q.MaxMessage()) + " bytes"
	switch want := p.messageSize(); {
	case !p.packed() && q.MaxMessage() != want:
		return differs("type", p.ti.description, bytes)
	case p.cfg.maxMessage != 0 && q.MaxMessage() != want:
		return differs("max message", strconv.Itoa(p.cfg.maxMessage), bytes)
	case p.capacity >= 0 && q.MaxMessages() > p.capacity: // fewer: the system did not allow more
		return differs("capacity", strconv.Itoa(p.capacity), strconv.Itoa(q.MaxMessages()))
	}
	return nil
}

// makeNamed makes a queue, or if none can be had a FIFO. fs.ErrExist: somebody else has.
func (p *plan[T]) makeNamed() (fallback.Conn, error) {
	conn, err := p.makeQueue()
	if err == nil || errors.Is(err, fs.ErrExist) {
		return conn, err
	}
	conn, fifoErr := p.fifo(os.O_CREATE | os.O_EXCL)
	if fifoErr != nil && !errors.Is(fifoErr, fs.ErrExist) {
		return nil, fmt.Errorf("%w; %w", err, fifoErr)
	}
	return conn, fifoErr
}

// makeQueue makes the queue as large as is allowed.
func (p *plan[T]) makeQueue() (fallback.Conn, error) {
	attr := fallback.QueueAttr{MaxMessages: p.capacity, MessageSize: p.messageSize()}
	for {
		conn, err := fallback.MQ(p.name, os.O_RDWR|os.O_CREATE|os.O_EXCL, p.cfg.perm, &attr)
		if err == nil {
			_, err = statOf(conn, func(mode uint32) uint32 { return mode | unix.S_ISGID })
			if err != nil {
				_ = conn.Close()
				_ = fallback.UnlinkQueue(p.name)
			}
			return conn, err
		}
		var limit *fallback.QueueLimitError
		if !errors.As(err, &limit) || attr.MaxMessages < 2 {
			return nil, err
		}
		switch {
		case limit.Limit == "msg_max" && limit.Value > 0 && limit.Value < uint64(attr.MaxMessages):
			attr.MaxMessages = int(limit.Value)
		case limit.Limit == "RLIMIT_MSGQUEUE":
			attr.MaxMessages /= 2
		default:
			return nil, err
		}
	}
}

// fifoPath is where the channel's FIFO is.
func (p *plan[T]) fifoPath() string { return fifoPrefix + p.name }

const fifoPrefix = "/tmp/shmchan."

// fifo opens the channel's FIFO, or with os.O_CREATE makes it.
func (p *plan[T]) fifo(flags int) (fallback.Conn, error) {
	return fallback.FIFO(never, p.fifoPath(), os.O_RDWR|flags, fallback.FIFOPerm(p.cfg.perm), fallback.PipePollable(),
		fallback.PipeMaxMessage(frameHeader+p.payloadMost()+maxDescription))
}

// unlinkElsewhere removes the queue and the FIFO of a channel of that name. found: there
// was one.
func unlinkElsewhere(name string) (found bool, err error) {
	p := &plan[struct{}]{name: name}
	q, err := fallback.MQ(name, os.O_RDONLY, 0, nil)
	if err == nil {
		st, statErr := statOf(q, nil)
		_ = q.Close()
		switch {
		case statErr != nil:
			err = statErr
		case st.Mode&unix.S_ISGID != 0:
			err, found = fallback.UnlinkQueue(name), true
		}
	}
	if err != nil && none(err) {
		err = nil
	}
	var st unix.Stat_t
	if unix.Lstat(p.fifoPath(), &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFIFO {
		found = true
		if e := unix.Unlink(p.fifoPath()); e != nil {
			err = errors.Join(err, &fs.PathError{Op: "unlink", Path: p.fifoPath(), Err: e})
		}
	}
	return found, err
}

// newSeat is the right to receive from a FIFO, which one handle has at a time: flock(2) on
// the handle's own description of it, so it is free again when that is closed.
func newSeat(conn fallback.Conn) func() error {
	return func() error {
		o, ok := conn.(hasObject)
		if !ok {
			return nil
		}
		raw, err := o.Object()
		if err != nil {
			return err
		}
		ctl := raw.Control(func(fd uintptr) {
			for err = unix.EINTR; err == unix.EINTR; {
				err = unix.Flock(int(fd), unix.LOCK_EX|unix.LOCK_NB)
			}
		})
		switch {
		case ctl != nil:
			return ctl
		case err == unix.EWOULDBLOCK:
			return fmt.Errorf("%w: another handle receives from the FIFO", ErrBusy)
		}
		return os.NewSyscallError("flock", err)
	}
}
