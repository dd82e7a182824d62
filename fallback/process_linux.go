package fallback

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// A Process is a process whose memory can be read and written without taking another one
// for it that has been given the same number since: it is held by a pidfd, pidfd_open(2),
// Linux 5.3.
//
// The kernel has no form of process_vm_readv that takes the pidfd. So each call asks the
// pidfd before and after: a Read that succeeds has read that process's memory. A Write
// asks before; between that and the kernel's own look-up of the number lies a moment in
// which the process could die, be waited for, and its number come round. It is short, and
// numbers come round slowly; but who cannot accept it is the parent, and does not wait.
//
// Any number of goroutines may call any method at once. After Close they return
// os.ErrClosed.
type Process struct {
	mu    sync.RWMutex
	pid   int
	pidfd int // -1 once closed
}

// OpenProcess holds the process that has the number now. The error errors.Is syscall.ESRCH
// when there is none, errors.ErrUnsupported on a kernel that has no pidfds. That one may
// hold it does not mean that one may read it.
func OpenProcess(pid int) (*Process, error) {
	fd, err := unix.PidfdOpen(pid, 0) // close-on-exec always
	if err != nil {
		return nil, fmt.Errorf("process %d: %w", pid, os.NewSyscallError("pidfd_open", err))
	}
	return &Process{pid: pid, pidfd: fd}, nil
}

// PID is the process's number.
func (p *Process) PID() int { return p.pid }

// Alive says whether the process runs still; false also when it has ended and is not
// waited for yet, and after Close.
func (p *Process) Alive() bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.alive()
}

// alive: a pidfd polls readable when its process has ended.
func (p *Process) alive() bool {
	if p.pidfd < 0 {
		return false
	}
	fds := [1]unix.PollFd{{Fd: int32(p.pidfd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds[:], 0)
		if err != unix.EINTR {
			return err == nil && n == 0
		}
	}
}

// Read copies len(dst) bytes from the address there: ReadProcess, guarded. When the
// process has ended the error errors.Is syscall.ESRCH, n is 0, and dst may have been
// written to.
func (p *Process) Read(dst []byte, addr uintptr) (n int, err error) {
	return p.guarded(false, func() (int, error) { return ReadProcess(p.pid, dst, addr) })
}

// Write copies src to the address there: WriteProcess, guarded as far as that goes.
func (p *Process) Write(addr uintptr, src []byte) (n int, err error) {
	return p.guarded(true, func() (int, error) { return WriteProcess(p.pid, addr, src) })
}

// ReadVec is ReadProcessVec, guarded.
func (p *Process) ReadVec(local [][]byte, remote []RemoteRange) (n int, err error) {
	return p.guarded(false, func() (int, error) { return ReadProcessVec(p.pid, local, remote) })
}

// WriteVec is WriteProcessVec, guarded as far as that goes.
func (p *Process) WriteVec(local [][]byte, remote []RemoteRange) (n int, err error) {
	return p.guarded(true, func() (int, error) { return WriteProcessVec(p.pid, local, remote) })
}

func (p *Process) guarded(write bool, do func() (int, error)) (int, error) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if p.pidfd < 0 {
		return 0, fmt.Errorf("process %d: %w", p.pid, os.ErrClosed)
	}
	if !p.alive() {
		return 0, attachError(p.pid, unix.ESRCH, write)
	}
	n, err := do()
	if !write && !p.alive() || err != nil && !errors.Is(err, unix.ESRCH) && !p.alive() {
		return 0, attachError(p.pid, unix.ESRCH, write)
	}
	return n, err
}

// Close lets go of the process. A second Close is os.ErrClosed.
func (p *Process) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pidfd < 0 {
		return fmt.Errorf("process %d: close: %w", p.pid, os.ErrClosed)
	}
	err := unix.Close(p.pidfd)
	p.pidfd = -1
	return os.NewSyscallError("close", err)
}
