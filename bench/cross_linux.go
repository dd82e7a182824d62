package main

import (
	"encoding/binary"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/shmchan/shmchan/fallback"
)

// Cross-memory attach. What lies bare below it: small messages through a seqpacket socket, of
// large ones the address, then process_vm_readv(2) by the receiver, and its word that
// the memory may be used again.

func crossSubjects() []Subject {
	all := []Subject{
		subject{
			Info{Carrier: "CrossMemory", Form: formOurs, Sizes: bothSizes},
			prepareSocketpair(unix.SOCK_SEQPACKET),
			func(g Given) (End, error) {
				c, err := unixConn(g.Files[0])
				if err != nil {
					return nil, err
				}
				m, err := fallback.CrossMemory(forever, c, fallback.CrossMemoryOptions{AllowPeer: true})
				return connEnd(m, err)
			},
		},
	}
	for _, form := range []string{formBlocking, formPolled} {
		info := Info{
			Carrier: "CrossMemory", Form: form, Sizes: bothSizes,
			Note: "up to 32 KiB through a seqpacket socket, else process_vm_readv and an acknowledgement",
		}
		all = append(all, subject{
			info, prepareSocketpair(unix.SOCK_SEQPACKET),
			func(g Given) (End, error) { return joinCross(g, form) },
		})
	}
	return all
}

const (
	crossInline = 32 << 10 // as CrossMemory does
	crossHead   = 24       // process, address, length: what is no inline message is this long
)

type cross struct {
	carrier   // the socket
	head, ack []byte
}

func joinCross(g Given, form string) (End, error) {
	socket, err := raw(g, form, false, 0)
	if err != nil {
		return nil, err
	}
	// Where Yama is not, there is nothing to be allowed.
	if err := unix.Prctl(unix.PR_SET_PTRACER, ^uintptr(0), 0, 0, 0); err != nil && err != unix.EINVAL {
		return nil, os.NewSyscallError("prctl", err)
	}
	return newBytesEnd(&cross{socket, make([]byte, crossHead), make([]byte, crossHead)}), nil
}

func (c *cross) send(msg []byte) error {
	if len(msg) <= crossInline {
		return c.carrier.send(msg)
	}
	binary.NativeEndian.PutUint64(c.head, uint64(os.Getpid()))
	binary.NativeEndian.PutUint64(c.head[8:], uint64(addressOf(msg)))
	binary.NativeEndian.PutUint64(c.head[16:], uint64(len(msg)))
	if err := c.carrier.send(c.head); err != nil {
		return err
	}
	ack, err := c.carrier.receive(c.ack)
	if err == nil && len(ack) != 1 {
		err = fmt.Errorf("%d bytes instead of an acknowledgement", len(ack))
	}
	return err
}

func (c *cross) receive(buf []byte) ([]byte, error) {
	if len(buf) <= crossInline {
		return c.carrier.receive(buf)
	}
	head, err := c.carrier.receive(c.ack)
	if err != nil {
		return nil, err
	}
	if len(head) != crossHead || binary.NativeEndian.Uint64(head[16:]) != uint64(len(buf)) {
		return nil, fmt.Errorf("%d bytes that announce no message of %d", len(head), len(buf))
	}
	local := [1]unix.Iovec{{Base: &buf[0]}}
	local[0].SetLen(len(buf))
	remote := [1]unix.RemoteIovec{{Base: uintptr(binary.NativeEndian.Uint64(head[8:])), Len: len(buf)}}
	n, err := unix.ProcessVMReadv(int(binary.NativeEndian.Uint64(head)), local[:], remote[:], 0)
	if err != nil {
		return nil, os.NewSyscallError("process_vm_readv", err)
	}
	return buf[:n], c.carrier.send(c.ack[:1])
}
