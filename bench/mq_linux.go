package main

import (
	"errors"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/shmchan/shmchan/fallback"
)

// POSIX message queues, one for each direction, as descriptors: their names are gone before
// the children start.

func mqSubjects() []Subject {
	queues := queueMaker{mqOrdinary()}
	all := queues.subjects("MQ", []int{small, queues.bytes})
	// The same by one process that receives what it has sent: the calls, and no waiting.
	for _, s := range all {
		info := s.Info()
		info.Carrier, info.Alone = "MQ, one process", true
		if info.Form == formOurs {
			info.Note = "one process sends and receives its own message, so that nobody ever waits; a round trip is one message"
		}
		if _, ok := s.(nativeQueues); ok {
			all = append(all, nativeQueues{queues.one, info})
			continue
		}
		all = append(all, subject{info, queues.one, func(g Given) (End, error) {
			if g.Side == 1 {
				return idle{}, nil
			}
			return s.Join(g)
		}})
	}
	// With privileges messages may be longer than the system's limit. A queue of its own, since
	// receivers must have room for the longest message of a queue, whatever they get.
	if mqMayBeLarge() {
		all = append(all, queueMaker{large}.subjects("MQ, 64 KiB", []int{large})...)
	}
	return all
}

// A queueMaker makes queues for messages of so many bytes.
type queueMaker struct{ bytes int }

func (m queueMaker) subjects(carrier string, sizes []int) []Subject {
	return []Subject{
		subject{Info{Carrier: carrier, Form: formOurs, Sizes: sizes}, m.pair, func(g Given) (End, error) {
			in, err := fallback.QueueFromFile(g.Files[0])
			if err != nil {
				return nil, err
			}
			out, err := fallback.QueueFromFile(g.Files[1])
			if err != nil {
				return nil, err
			}
			return connEnd(fallback.MQOver(out, in))
		}},
		subject{Info{Carrier: carrier, Form: formBlocking, Sizes: sizes}, m.pair, joinBlockingQueues},
		subject{Info{Carrier: carrier, Form: formPolled, Sizes: sizes}, m.pair, joinPolledQueues},
		nativeQueues{m.pair, Info{
			Carrier: carrier, Form: "C program", Sizes: sizes,
			Note: "native/mq.c: mq_send and mq_receive, blocking",
		}},
	}
}

// mqOrdinary is what a queue may hold in one message here without privileges: 8 KiB unless
// somebody has changed it.
func mqOrdinary() int {
	l, err := fallback.ReadQueueLimits()
	if err != nil {
		return 8 << 10
	}
	return min(large, l.MaxMessageSize)
}

// mqMayBeLarge says whether this process may make queues for messages of 64 KiB, where the
// ordinary ones are shorter.
var mqMayBeLarge = sync.OnceValue(func() bool {
	if mqOrdinary() >= large {
		return false
	}
	files, err := queueMaker{large}.make(&Scene{})
	for _, f := range files {
		f.Close()
	}
	return err == nil
})

// pair makes a queue for each direction; each side reads from its first file.
func (m queueMaker) pair(s *Scene) (sides [2]Side, err error) {
	for i := range sides {
		files, err := m.make(s)
		if err != nil {
			return sides, err
		}
		sides[i].Files = append([]*os.File{files[0]}, sides[i].Files...)
		sides[1-i].Files = append(sides[1-i].Files, files[1])
	}
	return sides, nil
}

// one gives side 0 a queue that leads to itself.
func (m queueMaker) one(s *Scene) (sides [2]Side, err error) {
	sides[0].Files, err = m.make(s)
	return sides, err
}

// make makes a queue, and gives it to read from and to write into: each an open
// file description of its own, as mq_open would give.
func (m queueMaker) make(s *Scene) (files []*os.File, err error) {
	name := "/" + s.Name()
	q, err := fallback.OpenQueue(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600,
		&fallback.QueueAttr{MaxMessages: m.messages(), MessageSize: m.bytes})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, q.Close(), fallback.UnlinkQueue(name)) }()
	for _, flag := range []int{os.O_RDONLY, os.O_WRONLY} {
		f, err := openQueue(name, flag)
		if err != nil {
			return files, err
		}
		files = append(files, f)
	}
	return files, nil
}

// messages is how many a queue may hold so that those of all four forms, which are open at
// once, are within RLIMIT_MSGQUEUE.
func (m queueMaker) messages() int {
	l, err := fallback.ReadQueueLimits()
	if err != nil {
		return 1
	}
	one := fallback.QueueAttr{MaxMessages: 1, MessageSize: m.bytes}
	return int(max(1, min(8, l.Bytes/8/one.Bytes())))
}

func openQueue(name string, flag int) (*os.File, error) {
	q, err := fallback.OpenQueue(name, flag, 0, nil)
	if err != nil {
		return nil, err
	}
	defer func() { _ = q.Close() }()
	return q.File()
}

// queueDescriptors are mq_timedsend and mq_timedreceive that block a thread.
type queueDescriptors struct{ in, out int }

func joinBlockingQueues(g Given) (End, error) {
	in, err := ownDescriptor(g.Files[0], formBlocking)
	if err != nil {
		return nil, err
	}
	out, err := ownDescriptor(g.Files[1], formBlocking)
	if err != nil {
		return nil, err
	}
	return newBytesEnd(queueDescriptors{in, out}), nil
}

func (c queueDescriptors) send(msg []byte) error {
	for {
		errno := mqSend(c.out, msg)
		if errno != unix.EINTR {
			return queueError("mq_timedsend", errno)
		}
	}
}

func (c queueDescriptors) receive(buf []byte) ([]byte, error) {
	buf = buf[:cap(buf)] // must have room for the longest message of the queue
	for {
		n, errno := mqReceive(c.in, buf)
		if errno != unix.EINTR {
			return buf[:n], queueError("mq_timedreceive", errno)
		}
	}
}

func (c queueDescriptors) close() error { return errors.Join(unix.Close(c.in), unix.Close(c.out)) }

// queueError keeps an Errno of 0 from being an error.
func queueError(call string, errno unix.Errno) error {
	if errno == 0 {
		return nil
	}
	return os.NewSyscallError(call, errno)
}

// polledQueues are the same on non-blocking descriptors in the runtime's poller.
type polledQueues struct {
	files   [2]*os.File
	in, out syscall.RawConn

	// What is sent or received, and what came of it, beside the functions that use
	// it, made once: a closure for each message would be an allocation.
	msg, buf             []byte
	n                    int
	sendErrno, takeErrno unix.Errno
	trySend, tryReceive  func(fd uintptr) bool
}

func joinPolledQueues(g Given) (End, error) {
	c := &polledQueues{}
	for i, raw := range []*syscall.RawConn{&c.in, &c.out} {
		fd, err := ownDescriptor(g.Files[i], formPolled)
		if err != nil {
			return nil, err
		}
		c.files[i] = os.NewFile(uintptr(fd), "queue")
		if *raw, err = c.files[i].SyscallConn(); err != nil {
			return nil, err
		}
	}
	c.trySend = func(fd uintptr) bool {
		c.sendErrno = mqSend(int(fd), c.msg)
		return c.sendErrno != unix.EAGAIN
	}
	c.tryReceive = func(fd uintptr) bool {
		c.n, c.takeErrno = mqReceive(int(fd), c.buf)
		return c.takeErrno != unix.EAGAIN
	}
	return newBytesEnd(c), nil
}

func (c *polledQueues) send(msg []byte) error {
	c.msg = msg
	if err := c.out.Write(c.trySend); err != nil {
		return err
	}
	return queueError("mq_timedsend", c.sendErrno)
}

func (c *polledQueues) receive(buf []byte) ([]byte, error) {
	c.buf = buf[:cap(buf)]
	if err := c.in.Read(c.tryReceive); err != nil {
		return nil, err
	}
	return c.buf[:c.n], queueError("mq_timedreceive", c.takeErrno)
}

func (c *polledQueues) close() error { return errors.Join(c.files[0].Close(), c.files[1].Close()) }

// nativeQueues are two processes of a program in C.
type nativeQueues struct {
	prepare func(*Scene) ([2]Side, error)
	info    Info
}

func (n nativeQueues) Info() Info { return n.info }

func (n nativeQueues) Prepare(s *Scene) ([2]Side, error) {
	program, err := s.Compile("mq.c")
	if err != nil {
		return [2]Side{}, err
	}
	sides, err := n.prepare(s)
	for i := range sides {
		if i == 0 || !n.info.Alone {
			sides[i].Program = program
		}
	}
	return sides, err
}

// Join is called only where there is nothing to do.
func (n nativeQueues) Join(Given) (End, error) { return idle{}, nil }
