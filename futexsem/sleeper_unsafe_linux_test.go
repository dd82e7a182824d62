package futexsem

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// wordAt is the word at an offset, a multiple of 4, of mapped memory.
func wordAt(mem []byte, at int) *uint32 {
	return (*uint32)(unsafe.Add(unsafe.Pointer(unsafe.SliceData(mem)), at))
}

// installFilter is seccomp(2), SECCOMP_SET_MODE_FILTER, for all threads.
func installFilter(filter []unix.SockFilter) error {
	runtime.LockOSThread() // no_new_privs is the thread's, until TSYNC has given it to all
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC,
		uintptr(unsafe.Pointer(&prog)))
	if errno != 0 {
		return errno
	}
	return nil
}
