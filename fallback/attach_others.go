//go:build !linux

package fallback

import (
	"errors"
	"fmt"
)

var errNoAttach = fmt.Errorf("cross-memory attach: %w", errors.ErrUnsupported)

// ReadProcess copies from another process's memory. Not on this system: errors.ErrUnsupported.
func ReadProcess(pid int, dst []byte, addr uintptr) (n int, err error) { return 0, errNoAttach }

// WriteProcess copies to another process's memory. Not on this system: errors.ErrUnsupported.
func WriteProcess(pid int, addr uintptr, src []byte) (n int, err error) { return 0, errNoAttach }

// ReadProcessVec copies several ranges. Not on this system: errors.ErrUnsupported.
func ReadProcessVec(pid int, local [][]byte, remote []RemoteRange) (n int, err error) {
	return 0, errNoAttach
}

// WriteProcessVec copies several ranges. Not on this system: errors.ErrUnsupported.
func WriteProcessVec(pid int, local [][]byte, remote []RemoteRange) (n int, err error) {
	return 0, errNoAttach
}

// A Process is a process held by a pidfd; Linux alone has it.
type Process struct{}

// OpenProcess holds a process. Not on this system: errors.ErrUnsupported.
func OpenProcess(pid int) (*Process, error) { return nil, errNoAttach }

// PID is the process's number.
func (p *Process) PID() int { return 0 }

// Alive says whether the process runs still.
func (p *Process) Alive() bool { return false }

// Read copies from the process. Not on this system.
func (p *Process) Read(dst []byte, addr uintptr) (n int, err error) { return 0, errNoAttach }

// Write copies to the process. Not on this system.
func (p *Process) Write(addr uintptr, src []byte) (n int, err error) { return 0, errNoAttach }

// ReadVec copies several ranges. Not on this system.
func (p *Process) ReadVec(local [][]byte, remote []RemoteRange) (n int, err error) {
	return 0, errNoAttach
}

// WriteVec copies several ranges. Not on this system.
func (p *Process) WriteVec(local [][]byte, remote []RemoteRange) (n int, err error) {
	return 0, errNoAttach
}

// Close lets go. Not on this system.
func (p *Process) Close() error { return errNoAttach }
