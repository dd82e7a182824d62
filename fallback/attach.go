package fallback

import (
	"fmt"
	"strconv"
)

// A RemoteRange is a piece of another process's memory.
type RemoteRange struct {
	Addr uintptr
	Len  int
}

// An AttachError says why another process's memory could not be reached, in words: Reason
// has what this system's settings and the two processes' users have to do with it. Unwrap
// is the kernel's errno: syscall.EPERM, EFAULT, ESRCH, ENOSYS, which errors.Is matches.
type AttachError struct {
	Call   string // process_vm_readv or process_vm_writev
	PID    int
	Err    error
	Reason string // "" when the errno says all
}

func (e *AttachError) Error() string {
	s := e.Call + " of process " + strconv.Itoa(e.PID) + ": " + e.Err.Error()
	if e.Reason != "" {
		s += fmt.Sprintf(" (%s)", e.Reason)
	}
	return s
}

// Unwrap is the errno.
func (e *AttachError) Unwrap() error { return e.Err }
