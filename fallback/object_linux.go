package fallback

import "syscall"

// What package channel asks a Conn over an object with a name for, beside Conn.

// Name is the queue's name with a leading slash; of two queues, that of the one which is
// sent to.
func (c *mqConn) Name() string { return c.any().name }

// Capacity is how many messages the queue holds.
func (c *mqConn) Capacity() int { return c.any().maxMessages }

// any is the queue that is sent to, or else the only one.
func (c *mqConn) any() *Queue {
	if c.out != nil {
		return c.out
	}
	return c.in
}

// Queued is how many messages wait in the queue that is received from.
func (c *mqConn) Queued() (int, bool) {
	if c.in == nil {
		return 0, false
	}
	a, err := c.in.Attr()
	return a.Messages, err == nil
}

// Shared says that others receive what this end could, or itself what it sends: not so with
// one queue for each direction.
func (c *mqConn) Shared() bool { return c.out == nil || c.in == nil || c.out == c.in }

// Object is a descriptor of the queue, to ask for and change its mode.
func (c *mqConn) Object() (syscall.RawConn, error) { return c.any().SyscallConn() }

// TrySendPriority is SendPriority that does not wait: ErrWouldBlock.
func (c *mqConn) TrySendPriority(msg []byte, priority uint) error {
	return c.send(forever, mqTry, msg, priority)
}

// Name is the path of a FIFO, "" of a pipe.
func (p *pipeConn) Name() string { return p.name }

// Shared says that this end may receive what it has sent itself.
func (p *pipeConn) Shared() bool { return p.kind == KindFIFO && p.r != nil && p.w != nil }

// Object is a descriptor of the pipe or FIFO, to ask for and change its mode.
func (p *pipeConn) Object() (syscall.RawConn, error) { return p.SyscallConn() }
