package fallback

import (
	"context"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// unixPackets is what seqpacket and datagram sockets share: descriptors and credentials.
type unixPackets struct {
	packets
	credentials bool // come with each message
}

// SendFiles, see the function of this name. At most MaxRights files, more are ErrTooLarge.
func (p *unixPackets) SendFiles(ctx context.Context, msg []byte, files ...*os.File) error {
	if !p.caps.Send {
		return Refuse(p.kind, "sending from this end")
	}
	if len(files) == 0 {
		return p.send(ctx, msg, nil, nil, false)
	}
	if p.closed.Load() || p.sendOver.Load() {
		return p.failed("send", os.ErrClosed)
	}
	var err error
	outer := withDescriptors(files, func(fds []int) error {
		err = p.send(ctx, msg, unix.UnixRights(fds...), nil, false)
		return nil
	})
	if outer != nil {
		return p.failed("send", outer)
	}
	return err
}

// ReceiveFiles, see the function of this name. The files may be anything that the other side can open.
// If not all can be had, those that came are closed, the message is gone,
// and the error is ErrFilesLost.
func (p *unixPackets) ReceiveFiles(ctx context.Context, dst []byte) ([]byte, []*os.File, error) {
	room := rightsPool.Get().(*[rightsSpace]byte)
	defer rightsPool.Put(room)
	extra := packetExtra{control: room[:]}
	msg, err := p.receive(ctx, dst, &extra, false)
	fds, lost := takeRights(room[:extra.controlLen], extra.flags, MaxRights)
	switch {
	case err != nil:
		closeDescriptors(fds)
		return dst, nil, err
	case lost != nil:
		return dst, nil, p.failed("receive", lost)
	}
	return msg, filesOfDescriptors(fds), nil
}

// start prepares p over a connected or bound UNIX socket of this type.
func (p *unixPackets) start(sock *packetSocket, typ int, config packetConfig) error {
	err := controlSocket(sock, func(fd int) error {
		have, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
		if err != nil {
			return os.NewSyscallError("getsockopt", err)
		}
		if have != typ {
			return fmt.Errorf("a socket of another type: %w", unix.EPROTOTYPE)
		}
		if p.credentials = config.credentials; p.credentials {
			if err := passCredentials(fd); err != nil {
				return err
			}
		}
		p.most, err = configurePackets(fd, config)
		return err
	})
	if err == nil {
		p.init(sock)
	}
	return err
}

// autobind gives a socket without a name an abstract one of the kernel's choice (unix(7)).
// It comes along with each message, so that an empty one can be told from the end of
// file. Who connects to it is refused: it does not listen. A system that forbids it
// (seccomp) loses that distinction alone, see atEnd.
func autobind(fd int) {
	if named, err := hasUnixName(fd); err == nil && !named {
		_ = unix.Bind(fd, &unix.SockaddrUnix{})
	}
}

// hasUnixName tells whether a UNIX socket is bound.
func hasUnixName(fd int) (bool, error) {
	local, err := unix.Getsockname(fd)
	if err != nil {
		return false, os.NewSyscallError("getsockname", err)
	}
	u, ok := local.(*unix.SockaddrUnix)
	return ok && u.Name != "" && u.Name != "@", nil // @ is what x/sys/unix makes of none
}

// connectUnix makes a socket, gives it that name if any, and connects it to path. A full backlog of a listening one (EAGAIN) is waited for, until ctx ends.
func connectUnix(ctx context.Context, typ int, local, path string) (fd int, err error) {
	if err := checkUnixName(path); err != nil {
		return -1, err
	}
	if local != "" && local != "@" {
		fd, err = bindUnix(typ, local)
	} else {
		fd, err = unix.Socket(unix.AF_UNIX, typ|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		err = os.NewSyscallError("socket", err)
	}
	if err != nil {
		return -1, err
	}
	if local == "@" {
		autobind(fd)
	}
	for pause := (packetPause{}); ; {
		err = unix.Connect(fd, &unix.SockaddrUnix{Name: path})
		switch err {
		case nil:
			if err = os.NewSyscallError("fcntl", unix.SetNonblock(fd, false)); err == nil {
				return fd, nil
			}
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			if err = pause.sleep(ctx); err == nil {
				continue
			}
		default:
			err = os.NewSyscallError("connect", err)
		}
		unix.Close(fd)
		_ = unbindUnix(local)
		return -1, err
	}
}

// unixPair is socketpair(2).
func unixPair(typ int) (socks [2]*packetSocket, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, typ|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return socks, os.NewSyscallError("socketpair", err)
	}
	for i, fd := range fds {
		socks[i] = newPacketSocket(fd)
	}
	return socks, nil
}
