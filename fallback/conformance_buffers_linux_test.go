package fallback

import (
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func init() {
	checks = append(checks,
		check{name: "small kernel buffers: short reads and writes", run: checkSmallBuffers, needs: needsOpen},
	)
}

// shrink makes the kernel's buffer behind c as small as it can be, if there is one.
func shrink(c Conn) bool {
	s, ok := c.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return false
	}
	small := false
	err = raw.Control(func(fd uintptr) {
		for _, option := range []int{unix.SO_SNDBUF, unix.SO_RCVBUF} {
			if unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, option, 1) == nil {
				small = true
			}
		}
		if _, err := unix.FcntlInt(fd, unix.F_SETPIPE_SZ, 4096); err == nil {
			small = true
		}
	})
	return small && err == nil
}

func checkSmallBuffers(t testing.TB, c carrier) {
	eachWay(t, c, func(t testing.TB, from, to Conn) {
		if from.Capabilities().Boundaries || !from.Capabilities().Reliable {
			t.Skip("a small buffer makes the largest message smaller")
		}
		one, other := shrink(from), shrink(to)
		if !one && !other {
			t.Skip("no buffer to shrink")
		}
		transfer(t, from, to, 2, 2, rounds(100))
	})
}
