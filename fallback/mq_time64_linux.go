//go:build 386 || arm || mips || mipsle

package fallback

import "golang.org/x/sys/unix"

// Where a long has 32 bits the calls with a 64-bit time (Linux 5.1) have numbers of their
// own, and a kernel without CONFIG_COMPAT_32BIT_TIME has no others. An older one says
// ENOSYS, and the old number is tried.
const (
	mqSysTimedSend    = unix.SYS_MQ_TIMEDSEND_TIME64
	mqSysTimedReceive = unix.SYS_MQ_TIMEDRECEIVE_TIME64
)
