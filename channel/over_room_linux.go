package channel

import (
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/shmchan/shmchan/fallback"
)

// makeRoom enlarges a pipe or a socket's buffer that is full, so that the mark of a Close goes
// into it at once, and the process may end. False: the limits do not permit it, or the
// mechanism has no such thing.
func makeRoom(conn fallback.Conn) bool {
	c, ok := conn.(syscall.Conn)
	if !ok {
		return false
	}
	switch conn.Kind() {
	case fallback.KindPipe:
		n, err := fallback.PipeCapacity(c)
		if err == nil {
			_, err = fallback.SetPipeCapacity(c, 2*n)
		}
		return err == nil
	case fallback.KindUnixStream, fallback.KindUnixSeqpacket, fallback.KindUnixDatagram, fallback.KindTCP:
		raw, err := c.SyscallConn()
		if err != nil {
			return false
		}
		ctl := raw.Control(func(fd uintptr) { err = growSendBuffer(int(fd)) })
		return ctl == nil && err == nil
	}
	return false
}

// growSendBuffer asks for twice of what the socket has, socket(7): the kernel holds the
// value to net.core.wmem_max without an error, and then doubles it for its own needs.
func growSendBuffer(fd int) error {
	n, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF)
	if err == nil {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, n)
	}
	return err
}
