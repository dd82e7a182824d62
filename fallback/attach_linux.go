package fallback

import (
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/sys/unix"
)

// Cross-memory attach, process_vm_readv(2), Linux 3.2: the kernel copies between two
// processes' memories, once, without a buffer of its own and without the other one's
// help, or notice. It needs the right to trace the other process (PTRACE_MODE_ATTACH,
// ptrace(2)): the same user, no capabilities that this process lacks, not "not dumpable",
// and what Yama's ptrace_scope adds; or CAP_SYS_PTRACE over it.
//
// The kernel promises no order and no atomicity: what the other process writes during
// the copy may be seen in part.

// attachBatch is how many ranges of either side go into one call: IOV_MAX, readv(2).
const attachBatch = 1024

// ReadProcess copies len(dst) bytes from the address in process pid into dst. It does not
// block, but for pages that have to be read from a disk. It goes on after partial
// transfers: n < len(dst) only beside an error. Then the n bytes are sound, and n says
// what the kernel reported, which tells of whole ranges: it may stop before the very page
// that is missing.
//
// The error is an *AttachError: syscall.EPERM, EFAULT where the process has no
// memory at (part of) the address, ESRCH when there is no such process.
//
// A pid says who was meant only as long as that process is not gone and its number
// used again. Whoever did not start the process, and so knows when it is waited for, uses
// OpenProcess.
func ReadProcess(pid int, dst []byte, addr uintptr) (n int, err error) {
	return attachOne(pid, dst, addr, false)
}

// WriteProcess copies src to the address in process pid, likewise. What the pages' own
// protection forbids is EFAULT.
func WriteProcess(pid int, addr uintptr, src []byte) (n int, err error) {
	return attachOne(pid, src, addr, true)
}

// ReadProcessVec copies the remote ranges, one behind the other, into the local
// ones, one behind the other, as many as there are of either. The sums of both
// lengths must agree: fs.ErrInvalid. n and the error are as for ReadProcess.
func ReadProcessVec(pid int, local [][]byte, remote []RemoteRange) (n int, err error) {
	return attachVec(pid, local, remote, false)
}

// WriteProcessVec copies the local ranges into the remote ones, likewise.
func WriteProcessVec(pid int, local [][]byte, remote []RemoteRange) (n int, err error) {
	return attachVec(pid, local, remote, true)
}

func attachOne(pid int, local []byte, addr uintptr, write bool) (n int, err error) {
	for n < len(local) {
		m, errno := attachCall(pid, local[n:], addr+uintptr(n), write)
		if errno != 0 {
			return n, attachError(pid, errno, write)
		}
		n += m
	}
	return n, nil
}

// attachCall is one call for one range. It moves at least one byte, or fails.
func attachCall(pid int, local []byte, addr uintptr, write bool) (int, unix.Errno) {
	iov := [1]unix.Iovec{{Base: &local[0]}}
	iov[0].SetLen(len(local))
	remote := [1]unix.RemoteIovec{{Base: addr, Len: len(local)}}
	return attachIovecs(pid, iov[:], remote[:], write)
}

func attachIovecs(pid int, local []unix.Iovec, remote []unix.RemoteIovec, write bool) (int, unix.Errno) {
	for {
		var n int
		var err error
		if write {
			n, err = unix.ProcessVMWritev(pid, local, remote, 0)
		} else {
			n, err = unix.ProcessVMReadv(pid, local, remote, 0)
		}
		if err == nil && n > 0 {
			return n, 0
		}
		if err == nil { // nothing was asked for: attachVec asks for bytes only
			return 0, unix.EFAULT
		}
		var errno unix.Errno
		if !errors.As(err, &errno) {
			errno = unix.EIO
		}
		if errno != unix.EINTR {
			return 0, errno
		}
	}
}

func attachVec(pid int, local [][]byte, remote []RemoteRange, write bool) (n int, err error) {
	if err := attachBalance(local, remote); err != nil {
		return 0, err
	}
	var (
		liov       []unix.Iovec
		riov       []unix.RemoteIovec
		li, ri     int // the ranges to go on with,
		lOff, rOff int // and how far into them
	)
	for {
		for li < len(local) && lOff == len(local[li]) {
			li, lOff = li+1, 0
		}
		for ri < len(remote) && rOff == remote[ri].Len {
			ri, rOff = ri+1, 0
		}
		if li == len(local) || ri == len(remote) {
			return n, nil
		}
		liov, riov = liov[:0], riov[:0]
		for i, off := li, lOff; i < len(local) && len(liov) < attachBatch; i, off = i+1, 0 {
			if b := local[i][off:]; len(b) > 0 {
				v := unix.Iovec{Base: &b[0]}
				v.SetLen(len(b))
				liov = append(liov, v)
			}
		}
		for i, off := ri, rOff; i < len(remote) && len(riov) < attachBatch; i, off = i+1, 0 {
			if r := remote[i]; r.Len > off {
				riov = append(riov, unix.RemoteIovec{Base: r.Addr + uintptr(off), Len: r.Len - off})
			}
		}
		m, errno := attachIovecs(pid, liov, riov, write)
		if errno != 0 {
			return n, attachError(pid, errno, write)
		}
		n += m
		for left := m; left > 0; {
			step := min(left, len(local[li])-lOff)
			if lOff, left = lOff+step, left-step; left > 0 {
				li, lOff = li+1, 0
			}
		}
		for left := m; left > 0; {
			step := min(left, remote[ri].Len-rOff)
			if rOff, left = rOff+step, left-step; left > 0 {
				ri, rOff = ri+1, 0
			}
		}
	}
}

// attachBalance refuses lengths that do not fit each other.
func attachBalance(local [][]byte, remote []RemoteRange) error {
	have, want := 0, 0
	for _, b := range local {
		have += len(b)
	}
	for _, r := range remote {
		if r.Len < 0 || want+r.Len < want {
			return fmt.Errorf("remote ranges: length %d: %w", r.Len, fs.ErrInvalid)
		}
		want += r.Len
	}
	if have != want {
		return fmt.Errorf("%d bytes in local ranges, %d in remote ones: %w", have, want, fs.ErrInvalid)
	}
	return nil
}

func attachError(pid int, errno unix.Errno, write bool) error {
	call := "process_vm_readv"
	if write {
		call = "process_vm_writev"
	}
	return &AttachError{Call: call, PID: pid, Err: errno, Reason: attachReason(pid, errno)}
}
