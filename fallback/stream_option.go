package fallback

import (
	"fmt"
	"io/fs"
)

// StreamMaxDefault is MaxMessage of a stream socket's Conn where StreamMaxMessage says
// nothing else. It costs nothing: memory is taken as bytes arrive.
const StreamMaxDefault = 16 << 20

// A StreamOption changes how a Conn over a stream socket is made.
type StreamOption func(*streamConfig) error

type streamConfig struct {
	max           int
	send, receive int // bytes, 0: as the kernel has it
	perm          fs.FileMode
}

func streamConfigOf(opts []StreamOption) (streamConfig, error) {
	c := streamConfig{max: StreamMaxDefault, perm: 0o600}
	for _, o := range opts {
		if err := o(&c); err != nil {
			return c, err
		}
	}
	return c, nil
}

// StreamMaxMessage is the longest message in bytes, from 1 to 2 GiB less 64 KiB, that
// Send takes and Receive believes. Both sides should say the same: what the other side
// takes for too long is ErrFrame there.
func StreamMaxMessage(bytes int) StreamOption {
	return func(c *streamConfig) error {
		if bytes < 1 || bytes > frameMost {
			return fmt.Errorf("StreamMaxMessage(%d): not in 1…%d", bytes, frameMost)
		}
		c.max = bytes
		return nil
	}
}

// StreamBuffers asks for kernel buffers of these sizes in bytes, 0: as they are; see
// SetStreamBuffers.
func StreamBuffers(send, receive int) StreamOption {
	return func(c *streamConfig) error {
		if send < 0 || receive < 0 {
			return fmt.Errorf("StreamBuffers(%d, %d): below 0", send, receive)
		}
		c.send, c.receive = send, receive
		return nil
	}
}

// StreamPerm is the mode of the name that ListenUnixStream makes, whatever the umask; 0600
// without it. Whoever may write to it may connect. Elsewhere it means nothing.
func StreamPerm(perm fs.FileMode) StreamOption {
	return func(c *streamConfig) error {
		if perm&^fs.ModePerm != 0 {
			return fmt.Errorf("StreamPerm(%v): only permission bits can be had", perm)
		}
		c.perm = perm
		return nil
	}
}
