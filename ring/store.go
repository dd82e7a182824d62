package ring

// StoreRelease32 stores v such that what was written before is visible to whoever
// loads v. Unlike atomic.StoreUint32 it is no full fence on amd64.
func StoreRelease32(p *uint32, v uint32) { storeRelease32(p, v) }

// Sent64 is the position of the sender's next message; for its own goroutine.
func (s *Sender) Sent64() uint64 { return s.tail }

// Taken64 is the position of the receiver's next message; for its own goroutine.
func (r *Recver) Taken64() uint64 { return r.head }

// Sent32 counts what was sent from the desk, modulo 2³². The caller has the desk.
func (d *Desk) Sent32() uint32 { return d.sent }

// Got32 counts what was received at the desk, likewise.
func (d *Desk) Got32() uint32 { return d.got }
