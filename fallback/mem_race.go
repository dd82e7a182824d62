//go:build race

package fallback

import (
	"runtime"
	"unsafe"
)

// memSync stands for the order that messages bring, which the race detector does not see
// in system calls of our own and in mapped memory. One for all errs on the quiet side.
var memSync [1]byte

func memRaceSend()    { runtime.RaceReleaseMerge(unsafe.Pointer(&memSync[0])) }
func memRaceReceive() { runtime.RaceAcquire(unsafe.Pointer(&memSync[0])) }
