package fallback

import (
	"context"
	"errors"
	"net"
	"os"
	"time"
)

// A StreamListener accepts connections, each a Conn of its own. Any number of goroutines
// may use it at once.
type StreamListener struct {
	kind   Kind
	l      net.Listener
	config streamConfig
	path   string // what Close removes
	turn   turn
}

func newStreamListener(kind Kind, l net.Listener, setDeadline func(time.Time) error, config streamConfig, path string) *StreamListener {
	s := &StreamListener{kind: kind, l: l, config: config, path: path}
	s.turn.init(setDeadline)
	return s
}

// Addr is where it listens: of a TCP listener "host:port", of a UNIX one its path.
func (s *StreamListener) Addr() string { return s.l.Addr().String() }

// Accept waits for a connection until ctx ends (nil: never). Errors: ctx's, os.ErrClosed after
// Close, and those of accept(2), such as syscall.EMFILE, after which it may be called again.
func (s *StreamListener) Accept(ctx context.Context) (Conn, error) {
	if err := s.turn.take(ctx); err != nil {
		return nil, opError(s.kind, "accept", "", err)
	}
	defer s.turn.release()
	var c net.Conn
	err := s.turn.interruptible(ctx, func() (err error) {
		for {
			if s.turn.isOver.Load() {
				return os.ErrClosed
			}
			c, err = s.l.Accept()
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				return closedError(err)
			}
			if err := s.turn.stirred(ctx); err != nil {
				return err
			}
		}
	})
	if err != nil {
		return nil, opError(s.kind, "accept", "", err)
	}
	var conn Conn
	switch c := c.(type) {
	case *net.UnixConn:
		conn, err = newUnixStream(c, s.config)
	case *net.TCPConn:
		conn, err = newTCP(c, s.config)
	}
	if err != nil {
		_ = c.Close()
	}
	return conn, err
}

// Close ends all Accepts with os.ErrClosed, and removes the name of a UNIX socket. Connections
// that were accepted stay. A second Close is os.ErrClosed.
func (s *StreamListener) Close() error {
	if !s.turn.end() {
		return opError(s.kind, "close", s.path, os.ErrClosed)
	}
	err := s.l.Close()
	if s.path != "" {
		err = errors.Join(err, unbindUnix(s.path))
	}
	return opError(s.kind, "close", s.path, err)
}
