package channel

import "github.com/shmchan/shmchan/ring"

// cameEmpty is called by a receive that returns because there was nothing: who polls
// the descriptor of WaitFD shall be told of the next message.
func (k *core) cameEmpty() {
	if s := k.signal.Load(); s != nil {
		s.arm()
	}
}

// glance says whether a receive would find something, without taking it: Empty, or what
// there is: a message, the end, a fault. The desk is the caller's.
func (k *core) glance(d *ring.Desk) ring.Status {
	var st ring.Status
	switch {
	case k.kind.spsc():
		st = k.q.LookSPSC()
	case k.kind.meeting():
		st = d.LookMeeting()
	default:
		st = d.Look()
	}
	if st == ring.Empty && k.hangUp && k.peersLost(ring.SeatSender) && !k.q.Holds() {
		return statusPeerLost
	}
	return st
}
