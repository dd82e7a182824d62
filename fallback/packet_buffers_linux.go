package fallback

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// packetOverhead is what unix_dgram_sendmsg leaves of the send buffer besides the message.
const packetOverhead = 32

// Buffers are SO_SNDBUF and SO_RCVBUF in bytes, as the kernel counts: twice what was
// asked for, its own bookkeeping included (socket(7)). os.ErrClosed after Close.
func (p *packets) Buffers() (send, receive int, err error) {
	err = controlSocket(p.sock, func(fd int) error {
		if send, err = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF); err != nil {
			return os.NewSyscallError("getsockopt", err)
		}
		receive, err = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF)
		return os.NewSyscallError("getsockopt", err)
	})
	return send, receive, p.failed("buffers", err)
}

// SetBuffers sets SO_SNDBUF and SO_RCVBUF in bytes; 0 leaves one as it is. The kernel
// doubles the number and, unless the process has CAP_NET_ADMIN, cuts it to
// /proc/sys/net/core/wmem_max and rmem_max without a word: Buffers tells. MaxMessage
// remains; a message that a send buffer made smaller cannot hold is ErrTooLarge.
func (p *packets) SetBuffers(send, receive int) error {
	return p.failed("set buffers", controlSocket(p.sock, func(fd int) error {
		return setPacketBuffers(fd, send, receive)
	}))
}

func setPacketBuffers(fd, send, receive int) error {
	for _, o := range []struct{ bytes, force, option int }{
		{send, unix.SO_SNDBUFFORCE, unix.SO_SNDBUF},
		{receive, unix.SO_RCVBUFFORCE, unix.SO_RCVBUF},
	} {
		switch {
		case o.bytes == 0:
			continue
		case o.bytes < 0 || o.bytes > 1<<30:
			return fmt.Errorf("a buffer of %d bytes: %w", o.bytes, unix.EINVAL)
		case unix.SetsockoptInt(fd, unix.SOL_SOCKET, o.force, o.bytes) == nil:
			continue
		}
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, o.option, o.bytes); err != nil {
			return os.NewSyscallError("setsockopt", err)
		}
	}
	return nil
}

// configurePackets sets the buffers of a UNIX socket, and finds how long a message may be.
func configurePackets(fd int, config packetConfig) (most int, err error) {
	if err := setPacketBuffers(fd, config.send, config.receive); err != nil {
		return 0, err
	}
	buffer, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF)
	if err != nil {
		return 0, os.NewSyscallError("getsockopt", err)
	}
	switch {
	case config.most < 0 || config.most > 1<<30:
		return 0, fmt.Errorf("messages of %d bytes: %w", config.most, unix.EINVAL)
	case config.most == 0:
		return buffer - packetOverhead, nil
	case config.most <= buffer-packetOverhead:
		return config.most, nil
	}
	if err := setPacketBuffers(fd, config.most+packetOverhead, 0); err != nil {
		return 0, err
	}
	buffer, err = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF)
	if err != nil {
		return 0, os.NewSyscallError("getsockopt", err)
	}
	if config.most > buffer-packetOverhead {
		return 0, fmt.Errorf("messages of %d bytes, /proc/sys/net/core/wmem_max permits %d: %w",
			config.most, buffer-packetOverhead, ErrTooLarge)
	}
	return config.most, nil
}
