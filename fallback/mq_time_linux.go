//go:build !(386 || arm || mips || mipsle)

package fallback

import "golang.org/x/sys/unix"

const (
	mqSysTimedSend    = unix.SYS_MQ_TIMEDSEND
	mqSysTimedReceive = unix.SYS_MQ_TIMEDRECEIVE
)
