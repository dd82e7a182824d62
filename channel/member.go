package channel

import (
	"fmt"
	"os"

	"github.com/shmchan/shmchan/ring"
)

// Alive implements ring.Env: the kernel's answer, not a guess. A lock that cannot
// be asked for counts as held.
func (k *core) Alive(seat int) bool {
	held, err := k.obj.Held(seat)
	return held || err != nil
}

// Pause implements ring.Env.
func (k *core) Pause(attempt int) { pause(attempt) }

// sweep clears up after the dead and wakes everybody, if there are any.
func (k *core) sweep() bool {
	if k.q.Sweep() == 0 {
		return false
	}
	k.stirAll()
	return true
}

// join takes a seat: whoever holds the kernel's lock on its byte has it.
func (k *core) join() error {
	id := identity()
	taken := make(map[int]bool)
	for _, m := range k.q.Members() {
		taken[m.Seat] = true
	}
	// Free seats first; then those whose holders may be dead.
	for _, again := range [...]bool{false, true} {
		for seat := range ring.Seats {
			if taken[seat] != again {
				continue
			}
			ok, err := k.obj.TryLock(seat)
			if err != nil {
				return fmt.Errorf("lock of a seat: %w", err)
			}
			if !ok {
				continue
			}
			if k.q.Join(seat, uint32(os.Getpid()), id.start, id.ns) {
				k.stirAll() // let those who sleep watch us too
				return nil
			}
			_ = k.obj.Unlock(seat)
		}
	}
	return fmt.Errorf("all %d seats are taken: %w", ring.Seats, ErrBusy)
}
