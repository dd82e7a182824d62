//go:build race && linux

package fallback

import (
	"runtime"
	"unsafe"
)

// The race detector does not see that a message that was received comes after its sending
// in this same process, nor what the kernel reads and writes.
var packetToken byte

// packetRaced says that the race detector is on.
const packetRaced = true

func packetGoes(b []byte) {
	if len(b) > 0 {
		runtime.RaceReadRange(unsafe.Pointer(unsafe.SliceData(b)), len(b))
	}
	runtime.RaceReleaseMerge(unsafe.Pointer(&packetToken))
}

func packetCame(b []byte) {
	runtime.RaceAcquire(unsafe.Pointer(&packetToken))
	if len(b) > 0 {
		runtime.RaceWriteRange(unsafe.Pointer(unsafe.SliceData(b)), len(b))
	}
}
