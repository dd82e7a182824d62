package fallback

import (
	"context"
	"os"
	"syscall"
)

// A Conn carries framed messages between processes over one kernel mechanism: a
// message that is sent arrives whole or not at all, and once. What else it
// can do is in its Capabilities; what it cannot, it refuses with an error that
// errors.Is errors.ErrUnsupported and names both the mechanism and the ability.
//
// Any number of goroutines may call any method at once. Whether several processes may
// share one end is a capability (ManySenders, ManyReceivers).
//
// Errors, tested with errors.Is:
//
//	io.EOF           Receive: the other side has closed or died and all that it had
//	                 sent is received
//	syscall.EPIPE    Send: nobody can receive any more
//	os.ErrClosed     this Conn, or this direction of it, was closed here
//	ErrWouldBlock    TrySend, TryReceive: not without waiting
//	ErrTooLarge      Send: longer than MaxMessage; nothing was sent
//	ErrFrame         Receive: the other side sent what is no frame; the Conn is
//	                 broken from there on (datagram carriers drop it and go on)
//	ErrUnsupported   errors.ErrUnsupported, see RefusedError
//	context errors   ctx has ended: nothing was sent, or nothing was taken
type Conn interface {
	// Send sends one message, waiting while there is no room. It returns when the
	// kernel, or the shared memory, has the message; unless the error is nil the
	// message does not arrive. msg is not kept. ctx may be nil: never ends.
	Send(ctx context.Context, msg []byte) error

	// TrySend is Send that does not wait: ErrWouldBlock.
	TrySend(msg []byte) error

	// Receive waits for one message and appends it to dst, like append: with enough
	// capacity in dst nothing is allocated. An empty message is one. ctx may be nil.
	Receive(ctx context.Context, dst []byte) ([]byte, error)

	// TryReceive is Receive that does not wait: ErrWouldBlock.
	TryReceive(dst []byte) ([]byte, error)

	// CloseSend says that this side sends no more: the other one receives what
	// was sent, then io.EOF. Refused where the mechanism has no end of file.
	CloseSend() error

	// Close lets go of both directions; calls that are blocked in this Conn return
	// with os.ErrClosed at once. What was sent stays receivable. A second Close
	// is os.ErrClosed. Names in the file system stay, unless the constructor's
	// comment says otherwise.
	Close() error

	// MaxMessage is the longest message in bytes that Send takes.
	MaxMessage() int

	// Kind is the mechanism.
	Kind() Kind

	// Capabilities is what this Conn can do; it does not change.
	Capabilities() Capabilities

	// Peer is who is at the other end, as the kernel says. Refused where it does not.
	Peer() (Credentials, error)
}

// Credentials say who is at the other end, when it connected or made the object.
type Credentials struct {
	PID int // 0: unknown, or not visible from this PID namespace
	UID int
	GID int
}

// Capabilities are the abilities in which mechanisms differ.
type Capabilities struct {
	Send          bool // this end can send
	Receive       bool // this end can receive
	Ordered       bool // what one sender sends is received in that order
	Reliable      bool // nothing is lost or doubled while both sides live
	ManySenders   bool // several processes may send into one end
	ManyReceivers bool // several processes may receive from one end, each message goes to one
	Priorities    bool // SendPriority: higher ones overtake
	Boundaries    bool // the kernel itself keeps messages apart (else this package frames them)
	Network       bool // crosses machines
	Outlives      bool // messages stay when all processes are gone
	Pollable      bool // SyscallConn gives a descriptor that polls readable for a message
	Descriptors   bool // SendFiles, ReceiveFiles
	Permission    bool // needs rights over the other process, not just over an object
	HalfClose     bool // CloseSend
	EndOfFile     bool // the other side's end is noticed: io.EOF, EPIPE
	Credentials   bool // Peer
}

// Optional abilities; the functions below use them.
type (
	prioritySender interface {
		SendPriority(ctx context.Context, msg []byte, priority uint) error
		ReceivePriority(ctx context.Context, dst []byte) (msg []byte, priority uint, err error)
	}
	fileSender interface {
		SendFiles(ctx context.Context, msg []byte, files ...*os.File) error
		ReceiveFiles(ctx context.Context, dst []byte) (msg []byte, files []*os.File, err error)
	}
)

// SendPriority is c.Send with a priority; higher ones are received first. It is
// refused unless c has the capability Priorities.
func SendPriority(ctx context.Context, c Conn, msg []byte, priority uint) error {
	if p, ok := c.(prioritySender); ok {
		return p.SendPriority(ctx, msg, priority)
	}
	return Refuse(c.Kind(), "priorities")
}

// ReceivePriority is c.Receive that also tells the message's priority.
func ReceivePriority(ctx context.Context, c Conn, dst []byte) (msg []byte, priority uint, err error) {
	if p, ok := c.(prioritySender); ok {
		return p.ReceivePriority(ctx, dst)
	}
	return dst, 0, Refuse(c.Kind(), "priorities")
}

// SendFiles is c.Send with open files, which the receiver gets as descriptors of its
// own; the caller keeps and closes its own. Refused without the capability Descriptors.
func SendFiles(ctx context.Context, c Conn, msg []byte, files ...*os.File) error {
	if p, ok := c.(fileSender); ok {
		return p.SendFiles(ctx, msg, files...)
	}
	return Refuse(c.Kind(), "passing descriptors")
}

// ReceiveFiles is c.Receive that also takes the files that came with the message. The
// caller closes them. (Plain Receive closes what comes along.)
func ReceiveFiles(ctx context.Context, c Conn, dst []byte) (msg []byte, files []*os.File, err error) {
	if p, ok := c.(fileSender); ok {
		return p.ReceiveFiles(ctx, dst)
	}
	return dst, nil, Refuse(c.Kind(), "passing descriptors")
}

// RawConn gives the descriptor of c, for a poll or select loop of one's own. Refused
// without the capability Pollable.
func RawConn(c Conn) (syscall.RawConn, error) {
	if s, ok := c.(syscall.Conn); ok && c.Capabilities().Pollable {
		return s.SyscallConn()
	}
	return nil, Refuse(c.Kind(), "polling")
}

// forever is the context of calls that have none. It is nil, which a literal in their
// place would say too, but not to linters.
var forever context.Context
