package main

import (
	"fmt"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/shmchan/shmchan/fallback"
)

// Shared memory as a Conn. What lies bare below it is a place for one message in each
// direction and futex(2).

func shmSubjects() []Subject {
	return []Subject{
		subject{
			Info{Carrier: "Shm", Form: formOurs, Sizes: bothSizes},
			prepareSocketpair(unix.SOCK_STREAM),
			func(g Given) (End, error) {
				c, err := unixConn(g.Files[0])
				if err != nil {
					return nil, err
				}
				s, err := fallback.Shm(forever, c, fallback.ShmOptions{})
				return connEnd(s, err)
			},
		},
		subject{
			Info{
				Carrier: "Shm", Form: formBlocking, Sizes: bothSizes,
				Note: "a place for one message in shared memory, FUTEX_WAIT and FUTEX_WAKE for each",
			}, prepareMailboxes, joinMailboxes,
		},
	}
}

const (
	mailboxHead = 64 // the word that says full or empty, and the length
	mailboxSize = mailboxHead + large
)

func prepareMailboxes(*Scene) (sides [2]Side, err error) {
	fd, err := unix.MemfdCreate("mailboxes", unix.MFD_CLOEXEC)
	if err != nil {
		return sides, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), "mailboxes")
	if err := f.Truncate(2 * mailboxSize); err != nil {
		return sides, err
	}
	for i := range sides {
		sides[i].Files = []*os.File{f}
	}
	return sides, nil
}

// mailboxes are one to send into and one to receive from.
type mailboxes struct {
	mem     []byte
	out, in mailbox
}

func joinMailboxes(g Given) (End, error) {
	defer g.Files[0].Close()
	mem, err := unix.Mmap(int(g.Files[0].Fd()), 0, 2*mailboxSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, os.NewSyscallError("mmap", err)
	}
	boxes := [2]mailbox{newMailbox(mem[:mailboxSize]), newMailbox(mem[mailboxSize:])}
	return newBytesEnd(mailboxes{mem, boxes[g.Side], boxes[1-g.Side]}), nil
}

func (c mailboxes) send(msg []byte) error {
	c.out.await(0)
	copy(c.out.data, msg)
	c.out.length.Store(uint32(len(msg)))
	c.out.turn(1)
	return nil
}

func (c mailboxes) receive(buf []byte) ([]byte, error) {
	c.in.await(1)
	n := int(c.in.length.Load())
	if n > len(buf) {
		return nil, fmt.Errorf("%d bytes came instead of %d", n, len(buf))
	}
	n = copy(buf, c.in.data[:n])
	c.in.turn(0)
	return buf[:n], nil
}

func (c mailboxes) close() error { return unix.Munmap(c.mem) }

type mailbox struct {
	full, length *atomic.Uint32
	data         []byte
}

func newMailbox(mem []byte) mailbox {
	return mailbox{wordAt(mem), wordAt(mem[8:]), mem[mailboxHead:]}
}

func (b mailbox) await(full uint32) {
	for b.full.Load() != full {
		futexWait(b.full, 1-full)
	}
}

func (b mailbox) turn(full uint32) {
	b.full.Store(full)
	futexWake(b.full)
}
