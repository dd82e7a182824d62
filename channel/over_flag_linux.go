package channel

import (
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/shmchan/shmchan/fallback"
)

// stickyBit is a closedFlag: S_ISVTX in the mode of a message queue or FIFO, where it
// means nothing to Linux (inode(7)). Its owner, or CAP_FOWNER, may set it.
type stickyBit struct {
	mu   sync.Mutex
	raw  syscall.RawConn
	st   unix.Stat_t
	err  error
	look func(fd uintptr) // made once: a closure for each look would be garbage
}

func newClosedFlag(conn fallback.Conn) closedFlag {
	if k := conn.Kind(); k != fallback.KindMQ && k != fallback.KindFIFO {
		return nil
	}
	o, ok := conn.(interface {
		Object() (syscall.RawConn, error)
	})
	if !ok {
		return nil
	}
	raw, err := o.Object()
	if err != nil {
		return nil
	}
	b := &stickyBit{raw: raw}
	b.look = func(fd uintptr) { b.err = unix.Fstat(int(fd), &b.st) }
	return b
}

func (b *stickyBit) ChannelClosed() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	err := b.raw.Control(b.look)
	return err == nil && b.err == nil && b.st.Mode&unix.S_ISVTX != 0
}

func (b *stickyBit) CloseChannel() {
	if b.ChannelClosed() {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	_ = b.raw.Control(func(fd uintptr) { _ = unix.Fchmod(int(fd), b.st.Mode&0o7777|unix.S_ISVTX) })
}
