//go:build race

package ring

import (
	"runtime"
	"unsafe"
)

// RaceEnabled says that this is a race build.
const RaceEnabled = true

// RaceSync carries a channel's happens-before edges to the race detector, which
// does not see mapped memory. All views of one object in one process share one.
// The k-th receive from a slot also happens before the next send into it
// completes, as with Go's buffered channels.
type RaceSync struct {
	full, free []byte
	end        [1]byte
}

// NewRaceSync makes one for a channel of that geometry.
func NewRaceSync(g *Geometry) *RaceSync {
	n := max(1, g.slots)
	return &RaceSync{full: make([]byte, n), free: make([]byte, n)}
}

func (r *RaceSync) sending(i uint64) {
	if r != nil {
		runtime.RaceAcquire(unsafe.Pointer(&r.free[i]))
		runtime.RaceReleaseMerge(unsafe.Pointer(&r.full[i]))
	}
}

// given is what a sender learns that has seen the slot freed.
func (r *RaceSync) given(i uint64) {
	if r != nil {
		runtime.RaceAcquire(unsafe.Pointer(&r.free[i]))
	}
}

func (r *RaceSync) received(i uint64) {
	if r != nil {
		runtime.RaceAcquire(unsafe.Pointer(&r.full[i]))
	}
}

func (r *RaceSync) freeing(i uint64) {
	if r != nil {
		runtime.RaceReleaseMerge(unsafe.Pointer(&r.free[i]))
	}
}

func (r *RaceSync) closing() {
	if r != nil {
		runtime.RaceReleaseMerge(unsafe.Pointer(&r.end[0]))
	}
}

func (r *RaceSync) ended() {
	if r != nil {
		runtime.RaceAcquire(unsafe.Pointer(&r.end[0]))
	}
}
