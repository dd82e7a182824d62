//go:build race && linux

package futexsem

import (
	"runtime"
	"unsafe"
)

// The race detector does not see mapped memory, so it would report what a
// semaphore does put in order. In race builds each Post and Wait therefore also
// tell it, by an address of Go's own that stands for the semaphore. Two semaphores
// that share an address by chance hide a race, at worst; none is invented,
// except where one process maps the same unnamed semaphore twice.
var raceTokens [1024]byte

// raceToken chooses the address that stands for the semaphore with this key.
func raceToken(key uint64) int {
	return int(key * 0x9e3779b97f4a7c15 >> 54) // 2^64 divided by the golden ratio; the top 10 bits
}

func raceRelease(token int) { runtime.RaceReleaseMerge(unsafe.Pointer(&raceTokens[token])) }
func raceAcquire(token int) { runtime.RaceAcquire(unsafe.Pointer(&raceTokens[token])) }
