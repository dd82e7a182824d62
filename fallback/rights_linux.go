package fallback

import (
	"fmt"
	"io"
	"net"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// rightsSpace holds all descriptors that a message can have, and whatever else the
// kernel adds if somebody has asked for it on the socket: credentials, a pidfd, a
// security label, times.
const rightsSpace = 2048

var rightsPool = sync.Pool{New: func() any { return new([rightsSpace]byte) }}

// SendRights sends msg with open files, which the receiver gets as descriptors of its own
// to the same open file descriptions (SCM_RIGHTS, unix(7)). msg has at least one byte:
// on a stream the descriptors travel with the first one. More files than MaxRights are
// refused before anything is sent: ErrTooLarge. It blocks while the socket is full, until
// c's write deadline.
//
// The files stay the caller's, and open until SendRights returns even if another
// goroutine closes them meanwhile. Any number of goroutines may send at once; on a stream
// each such message may be cut in two by another one, if it does not fit at once.
//
// An error is a *net.OpError: syscall.EPIPE without a receiver, syscall.ETOOMANYREFS if
// this user has too many descriptors under way (RLIMIT_NOFILE), net.ErrClosed after Close.
// A file that is closed is os.ErrClosed, and nothing is sent.
func SendRights(c *net.UnixConn, msg []byte, files ...*os.File) error {
	if len(msg) == 0 {
		return fmt.Errorf("send descriptors: no byte to send them with: %w", unix.EINVAL)
	}
	return withDescriptors(files, func(fds []int) error {
		var rights []byte
		if len(fds) > 0 {
			rights = unix.UnixRights(fds...)
		}
		n, _, err := c.WriteMsgUnix(msg, rights, nil)
		if err == nil && n < len(msg) { // a stream that was nearly full
			_, err = c.Write(msg[n:])
		}
		return err
	})
}

// withDescriptors runs f with the descriptors of files, which stay open meanwhile.
func withDescriptors(files []*os.File, f func(fds []int) error) error {
	if len(files) > MaxRights {
		return fmt.Errorf("send %d descriptors, of at most %d: %w", len(files), MaxRights, ErrTooLarge)
	}
	return holdDescriptors(files, make([]int, 0, len(files)), f)
}

// holdDescriptors: Control keeps one file open while its function runs, so the last one runs f.
// (Fd would not, and would make the file a blocking one.)
func holdDescriptors(files []*os.File, fds []int, f func(fds []int) error) error {
	if len(files) == 0 {
		return f(fds)
	}
	rc, err := files[0].SyscallConn()
	if err != nil {
		return fmt.Errorf("send descriptors: file %d: %w", len(fds), err)
	}
	var inner error
	err = rc.Control(func(fd uintptr) { inner = holdDescriptors(files[1:], append(fds, int(fd)), f) })
	if err != nil { // of the runtime's own kind, and says but one thing
		return fmt.Errorf("send descriptors: file %d: %w", len(fds), os.ErrClosed)
	}
	return inner
}

// ReceiveRights receives into buf, with the files that came along: at most limit of
// them. The caller closes them. They are close-on-exec from the first (MSG_CMSG_CLOEXEC),
// and may be anything the other side can open: it is for the caller to look (fstat,
// fcntl) before reading, which may block, or mapping. It blocks until c's read deadline.
//
// Whenever err is not nil, every file that came is closed and files is nil:
//
//	ErrFrame      more files than limit, or (datagram, seqpacket) a message longer
//	              than buf. The message is gone
//	ErrFilesLost  see there. The message is gone
//	io.EOF        stream and seqpacket: the other side has closed. (So a seqpacket
//	              must not be empty)
//
// Other control messages, which come if somebody has asked for them on the socket
// (SO_PASSCRED, SO_TIMESTAMP …), are ignored; a pidfd among them is closed.
func ReceiveRights(c *net.UnixConn, buf []byte, limit int) (n int, files []*os.File, err error) {
	if len(buf) == 0 {
		return 0, nil, fmt.Errorf("receive descriptors: no room for the byte they come with: %w", unix.EINVAL)
	}
	control := rightsPool.Get().(*[rightsSpace]byte)
	defer rightsPool.Put(control)
	// net asks for MSG_CMSG_CLOEXEC itself.
	n, controlLen, flags, _, err := c.ReadMsgUnix(buf, control[:])
	if err != nil {
		return 0, nil, err
	}
	fds, err := takeRights(control[:controlLen], flags, limit)
	if err == nil && flags&unix.MSG_TRUNC != 0 {
		closeDescriptors(fds)
		err = fmt.Errorf("receive descriptors: a message longer than %d bytes: %w", len(buf), ErrFrame)
	}
	if err != nil {
		return 0, nil, err
	}
	if n == 0 && len(fds) == 0 && !isUnixgram(c) {
		return 0, nil, io.EOF
	}
	return n, filesOfDescriptors(fds), nil
}

func isUnixgram(c *net.UnixConn) bool { return c.LocalAddr().Network() == "unixgram" }

// filesOfDescriptors makes files of received descriptors.
func filesOfDescriptors(fds []int) []*os.File {
	if len(fds) == 0 {
		return nil
	}
	files := make([]*os.File, len(fds))
	for i, fd := range fds {
		files[i] = os.NewFile(uintptr(fd), "received")
	}
	return files
}

// takeRights finds the descriptors in the control data of one received message. Every
// descriptor in it, which this process has from the instant of recvmsg on, is either
// returned or closed.
func takeRights(control []byte, flags, limit int) (fds []int, err error) {
	for len(control) > 0 {
		header, data, rest, parseErr := unix.ParseOneSocketControlMessage(control)
		if parseErr != nil {
			// The kernel writes sound ones, but cuts the last one short where room ends.
			break
		}
		control = rest
		if header.Level != unix.SOL_SOCKET || header.Type != unix.SCM_RIGHTS && header.Type != unix.SCM_PIDFD {
			continue
		}
		got, parseErr := unix.ParseUnixRights(&unix.SocketControlMessage{
			Header: unix.Cmsghdr{Level: unix.SOL_SOCKET, Type: unix.SCM_RIGHTS}, Data: data,
		})
		switch {
		case parseErr != nil:
		case header.Type == unix.SCM_RIGHTS:
			fds = append(fds, got...)
		default:
			closeDescriptors(got) // SO_PASSPIDFD, Linux 6.5
		}
	}
	switch {
	case len(fds) > limit:
		err = fmt.Errorf("receive descriptors: %d came, of at most %d: %w", len(fds), limit, ErrFrame)
	case flags&unix.MSG_CTRUNC != 0:
		err = fmt.Errorf("receive descriptors: only %d could be had: %w", len(fds), ErrFilesLost)
	}
	if err != nil {
		closeDescriptors(fds)
		return nil, err
	}
	return fds, nil
}

func closeDescriptors(fds []int) {
	for _, fd := range fds {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}
