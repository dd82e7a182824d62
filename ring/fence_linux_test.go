package ring

import (
	"sync"

	"golang.org/x/sys/unix"
)

// membarrier(2), for the threads of this process alone.
const (
	membarrierPrivateExpedited         = 1 << 3
	membarrierRegisterPrivateExpedited = 1 << 4
)

var registered = sync.OnceFunc(func() {
	if _, _, e := unix.Syscall(unix.SYS_MEMBARRIER, membarrierRegisterPrivateExpedited, 0, 0); e != 0 {
		panic("membarrier: " + e.Error())
	}
})

func fence() {
	registered()
	if _, _, e := unix.Syscall(unix.SYS_MEMBARRIER, membarrierPrivateExpedited, 0, 0); e != 0 {
		panic("membarrier: " + e.Error())
	}
}
