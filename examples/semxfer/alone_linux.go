package main

import (
	"os"

	"golang.org/x/sys/unix"
)

// alone reports that no other process has the object open or mapped for writing, as both
// ends have it, those in C too: only then the kernel grants a write lease (F_SETLEASE of
// fcntl(2)), which is given back at once. Who opens the object meanwhile waits as long, or
// has EAGAIN. False where it cannot be known: another user's object, kernels before 5.3.
func alone(f *os.File) bool {
	conn, err := f.SyscallConn()
	if err != nil {
		return false
	}
	granted := false
	err = conn.Control(func(fd uintptr) {
		if _, err := unix.FcntlInt(fd, unix.F_SETLEASE, unix.F_WRLCK); err == nil {
			granted = true
			_, _ = unix.FcntlInt(fd, unix.F_SETLEASE, unix.F_UNLCK)
		}
	})
	return err == nil && granted
}
