//go:build race

package channel

import (
	"runtime"
	"unsafe"
)

// overSyncs tell the race detector that a message's sending comes before its
// receiving, which for a Conn it cannot see. Handles of one process on two ends of one
// carrier have no more in common than T, so all channels of a T share one.
var overSyncs [256]byte

func raceOverSend(fingerprint uint64) {
	runtime.RaceReleaseMerge(unsafe.Pointer(&overSyncs[fingerprint%256]))
}

func raceOverRecv(fingerprint uint64) {
	runtime.RaceAcquire(unsafe.Pointer(&overSyncs[fingerprint%256]))
}
