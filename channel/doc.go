// Package channel is a typed Go channel that processes share.
//
// A channel lies in POSIX shared memory. Sending and receiving touch user memory
// only, until somebody has to sleep; then a futex puts them to sleep and wakes
// them. There is no server and no cgo.
//
//	type Tick struct {
//		Symbol [8]byte
//		Price  float64
//	}
//
//	// in one process
//	out, err := channel.Open[Tick]("ticks", 4096)
//	if err != nil { … }
//	defer out.Detach()
//	err = out.Send(Tick{Price: 1.5})
//	err = out.Close()
//
//	// in another, started before or after
//	in, err := channel.Open[Tick]("ticks", 4096)
//	if err != nil { … }
//	defer in.Detach()
//	for tick := range in.All() {
//		…
//	}
//	err = in.Err() // nil: closed and drained
//
// A [Chan] is a handle. A process may have several on one channel, each a member of
// its own. Any number of goroutines may use one, but for [SPSC].
//
// # What is as in Go, and what is not
//
// Capacity counts messages, exactly, as in make(chan T, n), from 0 to 1<<24. 0 is a
// rendezvous: Send returns when a receiver has the value (Scherer and Scott,
// "Nonblocking Concurrent Data Structures with Condition Synchronization", DISC
// 2004, is the protocol).
//
// What is sent by one sender is received in that order, and the channel has one order.
// A message that comes back, because its receiver died or its RecvFunc failed, is
// late; it goes before all that wait then.
//
// Sent means published: when Send has returned nil, the message is there for any
// receiver and stays when the sender dies. One that a dying sender was sending comes
// whole or not at all. With an error nothing was sent; the one exception is
// Detach while a receiver on a rendezvous has the value in hand: ErrDetached does
// not say then whether it took it.
//
// Taken means that its place was freed: a receiver that dies before that instruction
// leaves the message to the others, after it the message is gone with it. For
// [Chan.RecvFunc] the instruction comes after f has returned nil.
//
// TrySend, TryRecv and Len are exact as of some instant of the call. A place that is
// out, on loan or in RecvFunc, is not free, and a message in RecvFunc does not wait.
// On a rendezvous TrySend gives the value to a receiver that waits, and waits
// up to 100 ms for it to take it; if it does not, that is ErrFull.
//
// Close closes the channel for everyone, in every process, also for those who come
// later. Nothing panics: sends and a second Close fail with ErrClosed, receivers
// drain what is there and then end (ok is false, [Chan.Err] is nil; calls that return an
// error return ErrClosed). Close does not free anything; Detach does, for this handle.
//
// After Detach every call on the handle fails with ErrDetached, and those blocked in
// it return with that. The channel lives on for the others.
//
// A channel with a name outlives its processes, with the messages in it: a receiver
// without a sender waits for one to come. With [HangUp] it is as with a pipe: when there
// have been senders and the last is gone, receivers drain and then get ErrPeerLost,
// and senders when the last receiver is gone. A handle counts as a sender from its
// first sending call, as a receiver from its first receiving one.
//
// [SPSC] is the fastest kind: one handle sends, one receives, each from one goroutine at
// a time, which is the caller's duty (the race detector sees a breach). Another handle
// gets ErrBusy at its first Send or Recv, until the seat's holder detaches or dies.
// With an SPSC loan out, or in its RecvFunc, the same direction of that handle is
// ErrBusy as well.
//
// A loan ([Chan.Reserve]) takes its place in the order when it is committed. It uses up
// one place of the capacity and holds up nobody. Loans of a dead process are taken
// back, Detach aborts. Where the capacity is over 1024, at most 1023 places can be out
// at once, on loan or held by RecvFunc when senders have come around to them.
//
// # Select
//
// [Select] waits for one of several cases: channels of this package, of any type, capacity and
// carrier, to send and to receive, beside ordinary Go channels ([GoRecvCase], [GoSendCase]),
// and with a context. [Chan.In] and [Chan.Out] are real Go channels for a real select
// statement.
//
// A deadline is a context: RecvContext with context.WithTimeout is what SetDeadline and Read
// are on a net.Conn, and GoRecvCase(time.After(d), nil, nil) is the timeout case in a Select. Only monotonic
// time counts.
//
// A blocked call of any kind costs no CPU. The first few of a process sleep in the kernel with a
// thread each; past these, a hundred and more of them share one.
//
// # Which T, and how it crosses
//
// A T without pointers lies in shared memory as it does in Go's: nothing is encoded or
// allocated. []byte and string, and types of these kinds, cross as their bytes. Any
// other T crosses by its MarshalBinary and UnmarshalBinary if *T has both, else as CBOR
// (RFC 8949): exported fields, as with encoding/json. [WithCodec] replaces that. A T
// that holds a chan, a func, an unsafe.Pointer or a uintptr is refused with a
// *[TypeError], unless it encodes itself.
//
// Everybody who joins must mean the same T: field names, kinds, offsets and sizes are
// compared, names of types are not. So are capacity and mode, and MaxMessage and Space where
// the option is given. A difference is a *[MismatchError] that says what it is. A
// program of 32 bits and one of 64 do not meet over an int. Codecs are compared by the
// name of their Go type.
//
// MaxMessage is the largest encoded message in bytes: 1 to 1<<30, by default 64 KiB; more
// is ErrTooLarge, and nothing is sent. Space is how many bytes the encoded
// messages of a channel share, by default about capacity × MaxMessage, held to 16 MiB or
// 4 × MaxMessage, whichever is more; Send waits while either the places or the bytes are
// full. A message lies in one piece, so the free bytes may be too scattered for a large
// one while others are held between them. A T without pointers may have up to 1<<31-1
// bytes. The memory is reserved when the channel is created and does not grow.
//
// # Errors
//
// Test with errors.Is; the text has the operation and the name.
//
//	ErrClosed      closed; for receivers: and drained
//	ErrFull        TrySend only
//	ErrEmpty       TryRecv only
//	ErrDetached    this handle was detached; os.ErrClosed too
//	ErrPeerLost    HangUp: the other side has been, and is gone
//	ErrBusy        SPSC: the seat is another's, or a loan is out; or all 256 seats are taken
//	ErrTooLarge    over MaxMessage
//	ErrCorrupt     not a channel, or memory that no sound program writes
//	ErrLoanEnded   a second Commit or Abort; fs.ErrInvalid too
//
// and from elsewhere fs.ErrExist, fs.ErrNotExist, fs.ErrPermission, fs.ErrInvalid (a bad
// name, capacity, size or option), context errors, system errors such as
// syscall.ENOSPC and syscall.ENOMEM when the memory cannot be had, and errors.ErrUnsupported: a T
// that cannot cross, or a system other than Linux. [MismatchError] and [TypeError]
// are found with errors.As.
//
// # Processes that die, stop or lie
//
// A process may be killed at any instruction. What it held comes back: a message that it
// was taking, a place on loan, a seat. It counts as dead only when the kernel has
// released its lock on the object (an open file description lock, fcntl_locking(2)), so
// a process that is stopped, swapped out or debugged may go on whenever it likes. One
// that is stopped in the few instructions that move a loan or a held message holds
// up those who need the same lock.
//
// The dead are looked for by calls that sleep, within some milliseconds, by handles
// with HangUp, and by calls that find nothing, at most once in 100 µs.
//
// What other processes wrote is checked before it is used; what cannot be right is
// ErrCorrupt. They can still put wrong messages in, and [Chan.RecvFunc] shows memory that
// they can change under its eyes. A named object can also be truncated, by whoever may
// write to it, and the next access is SIGBUS: the mode, by default 0600, is the fence.
// Channels made by [New] are sealed against that.
//
// # Names
//
// A name is 1 to 255 bytes without a slash or NUL, not "." or ".."; one leading slash is
// dropped. It is a file in /dev/shm, or in [Dir], and stays until [Unlink] (or
// "shmchan rm", or rm) removes it. With Unlink those who have the channel go on with it, the
// next Open makes another one. In a directory on a disk a channel outlives a reboot. A
// channel from New has no name: pass its [Chan.File] on, and nothing is left behind.
//
// # Who should not use it
//
// Goroutines of one process have Go's channels, which work with select. Machines need a
// network. Programs that must not lose messages when a receiver dies need
// acknowledgements of their own, or RecvFunc.
//
// Linux only, little-endian; elsewhere everything compiles and returns
// errors.ErrUnsupported. See futex(2), membarrier(2), pidfd_open(2), fcntl_locking(2), memfd_create(2)
// and shm_overview(7). The layout of the memory is in LAYOUT.md, the map of the code in
// ARCHITECTURE.md.
package channel
