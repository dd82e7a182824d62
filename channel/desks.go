package channel

import "github.com/shmchan/shmchan/ring"

// Desks. A handle opens one desk for sending and one for receiving, and more when
// goroutines meet at them, up to maxDesks. A desk's lock is held for the few
// instructions of one attempt, never over a sleep (except in a rendezvous, where
// the value waits in the desk).
const maxDesks = 8

// sendDesk locks a desk to send from. nil with OK: try again; Closed: detached.
func (k *core) sendDesk() (*ring.Desk, ring.Status) {
	if d := k.sendDesk0.Load(); d != nil && d.TryLock() {
		return d, ring.OK
	}
	return k.deskSlow(&k.sendDesks, ring.SeatSender, true)
}

// recvDesk locks a desk to receive at.
func (k *core) recvDesk() (*ring.Desk, ring.Status) {
	if d := k.recvDesk0.Load(); d != nil && d.TryLock() {
		return d, ring.OK
	}
	return k.deskSlow(&k.recvDesks, ring.SeatReceiver, k.kind == kindPacked)
}

// deskSlow finds another desk, or makes one, or waits for one.
func (k *core) deskSlow(list *[]*ring.Desk, flag uint64, shared bool) (*ring.Desk, ring.Status) {
	for n := 0; ; n++ {
		if k.detached.Load() {
			return nil, statusDetached
		}
		if d, st := k.deskOnce(list, flag, shared); d != nil || st != ring.OK {
			return d, st
		}
		pause(n)
	}
}

func (k *core) deskOnce(list *[]*ring.Desk, flag uint64, shared bool) (*ring.Desk, ring.Status) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.detached.Load() {
		return nil, statusDetached
	}
	for _, d := range *list {
		if d.TryLock() {
			return d, ring.OK
		}
	}
	limit := maxDesks
	if k.kind.meeting() {
		limit = ring.MeetingSlots
	}
	if len(*list) >= limit {
		return nil, ring.OK
	}
	k.becomeLocked(flag)
	d := k.q.NewDesk()
	d.TryLock()
	if shared {
		switch d.Open() {
		case ring.Corrupt:
			return nil, ring.Corrupt
		case ring.Full:
			// Every shared desk is at work; the dead's come back by a sweep.
			if k.q.Sweep() > 0 {
				k.stirAll()
			}
			return nil, ring.OK
		}
	}
	if shared && k.q.Scarce() {
		// The last quarter of the shared desks goes to whoever needs one for the
		// moment, so that idle handles cannot keep the others out.
		d.Once()
		return d, ring.OK
	}
	*list = append(*list, d)
	if len(*list) == 1 && !k.kind.meeting() {
		if flag == ring.SeatSender {
			k.sendDesk0.Store(d)
		} else {
			k.recvDesk0.Store(d)
		}
	}
	return d, ring.OK
}

// statuses of this package, beside those of ring.
const (
	statusDetached ring.Status = 100 + iota
	statusPeerLost
	statusTooLarge
	statusDecode // taken, but the codec failed: decodeError
	statusLook   // members came or went: hungUp
	statusAgain  // nothing happened: try again at once
)

// failure turns a status that is not OK into the error for it.
func failure(st ring.Status, full, empty error) error {
	switch st {
	case ring.Full, ring.NoSpace:
		return full
	case ring.Empty:
		return empty
	case ring.Closed:
		return ErrClosed
	case ring.Busy:
		return ErrBusy
	case statusDetached:
		return ErrDetached
	case statusPeerLost:
		return ErrPeerLost
	case statusTooLarge:
		return ErrTooLarge
	}
	return ErrCorrupt
}
