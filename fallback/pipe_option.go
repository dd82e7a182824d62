package fallback

import "io/fs"

// PipeBuf is PIPE_BUF on Linux, in bytes (pipe(7)): a write of at most so many into a
// pipe or FIFO is atomic. Several processes may write into one pipe at once, and what
// each wrote in one call stays together; a longer write may be torn by others'. On a
// non-blocking descriptor such a write happens whole or, with EAGAIN, not at all.
const PipeBuf = 4096

const (
	// pipeMaxMessage is MaxMessage in bytes where no option says otherwise.
	pipeMaxMessage = 64 << 10
	// pipeMaxMessageLimit keeps lengths far from what overflows an int32.
	pipeMaxMessageLimit = 1 << 30
)

// A PipeOption chooses how a Conn over a pipe or a FIFO works.
type PipeOption func(*pipeConfig)

type pipeConfig struct {
	max   int
	many  bool // several writers: only atomic writes
	await bool // a FIFO's reader waits for the next writer
	exact bool // no reading ahead
	perm  fs.FileMode
}

func pipeConfigOf(many bool, opts []PipeOption) pipeConfig {
	c := pipeConfig{max: pipeMaxMessage, many: many, perm: 0o600}
	for _, o := range opts {
		o(&c)
	}
	return c
}

// PipeMaxMessage is the longest message in bytes, from 1 to 1 GiB, which both sides
// should set alike: a receiver takes a longer one for no frame (ErrFrame). Without it, 64 KiB.
//
// The pipe is made large enough for two such messages where the system allows it
// (SetPipeCapacity). Where it does not, Send waits for the receiver to make room
// for the rest; TrySend never succeeds with a message over the capacity.
func PipeMaxMessage(bytes int) PipeOption { return func(c *pipeConfig) { c.max = bytes } }

// PipeManyWriters lets several processes, or several Conns, write into one pipe.
// Messages over PipeBuf go in pieces that are put together by the receiver. It is
// how FIFO works by itself.
func PipeManyWriters() PipeOption { return func(c *pipeConfig) { c.many = true } }

// PipeSoleWriter promises that no other Conn writes into this pipe or FIFO. A
// message of any length then takes one system call, if there is room for it. It is
// how Pipe and PipeConn work by themselves.
//
// On a FIFO, a sole writer that is killed in mid-message and followed by another
// before the receiver has seen the end of file leaves a stream that the receiver
// refuses with ErrFrame. With PipeManyWriters that does not happen.
func PipeSoleWriter() PipeOption { return func(c *pipeConfig) { c.many = false } }

// PipePollable lets the receiving end read no further than the message that it delivers, so
// that its descriptor is readable whenever something is there to receive (capability
// Pollable; it may be readable for the first part of a message too), and so that a
// receiver that is killed takes no message along but the one that it was at. The price
// is two system calls for each message instead of one for many.
func PipePollable() PipeOption { return func(c *pipeConfig) { c.exact = true } }

// FIFOAwaitWriters lets the reading end of a FIFO wait for the next writer when the last one
// has gone, instead of returning io.EOF. It needs the permission to write to the FIFO: the
// Conn holds a writing end itself.
func FIFOAwaitWriters() PipeOption { return func(c *pipeConfig) { c.await = true } }

// FIFOPerm is the mode of a FIFO that the call makes, exactly, whatever the
// umask. Without it, 0600.
func FIFOPerm(perm fs.FileMode) PipeOption { return func(c *pipeConfig) { c.perm = perm } }
