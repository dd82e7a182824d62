// Package ring moves records through a byte slice that several processes see.
//
// It is the protocol of a shmchan channel and nothing else: no syscalls, no
// memory of its own, no goroutines, no waiting. Every method is one step that
// returns at once with a Status; package channel sleeps and wakes around them.
// Use package channel unless you bring your own memory and your own waiting.
//
// There are three rings, which share the layout (layout.go, LAYOUT.md), the
// members (member.go) and the event words (event.go):
//
//   - mpmc.go: any number of senders and receivers; one CAS to send, one to take.
//     hold.go, loan.go and lock.go are what loans, RecvFunc and dead receivers need.
//   - spsc.go: one sender, one receiver; no locked instruction at all on amd64.
//   - meeting.go: capacity 0.
//
// Elements without pointers lie in blocks; packed messages in extents of Space
// (space.go).
//
// A death at any instruction leaves the memory such that Queue.Sweep, called by any
// survivor, makes it whole. A process that stops is never taken for dead: Env.Alive
// asks the kernel. Whatever another process writes into the memory, the steps
// return Corrupt or a wrong message, but never read or write outside the memory,
// never panic and never loop without end.
package ring
