package fallback

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// StreamBufferSizes tells how large the kernel's buffers of a socket are (SO_SNDBUF,
// SO_RCVBUF, socket(7)), in bytes as the kernel counts: it counts its own bookkeeping, too,
// so many small messages need several times their length. A UNIX socket's messages count
// in their sender's buffer, and its receive buffer means nothing. It does not block.
func StreamBufferSizes(c syscall.Conn) (send, receive int, err error) {
	err = controlSocket(socketOf(c), func(fd int) (err error) {
		if send, err = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF); err == nil {
			receive, err = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF)
		}
		return os.NewSyscallError("getsockopt", err)
	})
	return send, receive, closedError(err)
}

// SetStreamBuffers asks for buffers of so many bytes of messages, 0: as it is. The kernel takes
// twice the number, for its bookkeeping, cuts it to net.core.wmem_max and rmem_max, and has a
// minimum of some KiB: what became of it is in StreamBufferSizes. It does not block.
func SetStreamBuffers(c syscall.Conn, send, receive int) error {
	return closedError(controlSocket(socketOf(c), func(fd int) error {
		for _, b := range []struct{ option, bytes int }{{unix.SO_SNDBUF, send}, {unix.SO_RCVBUF, receive}} {
			if b.bytes == 0 {
				continue
			}
			if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, b.option, b.bytes); err != nil {
				return os.NewSyscallError("setsockopt", err)
			}
		}
		return nil
	}))
}

// socketOf is the socket behind a Conn, so that to ask it something does not end its reading
// ahead, as streamConn.SyscallConn does.
func socketOf(c syscall.Conn) syscall.Conn {
	if s, ok := c.(*streamConn); ok {
		return s.sock.file
	}
	return c
}
