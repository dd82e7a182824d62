package main

import (
	"context"
	"errors"

	"github.com/shmchan/shmchan/fallback"
)

// forever is a context that never ends, and costs a Conn nothing.
var forever = context.Background()

// connCarrier is a carrier of package fallback: one Conn, or one for each direction.
type connCarrier struct{ tx, rx fallback.Conn }

func (c connCarrier) send(msg []byte) error { return c.tx.Send(forever, msg) }

func (c connCarrier) receive(buf []byte) ([]byte, error) {
	return c.rx.Receive(forever, buf[:0])
}

func (c connCarrier) close() error {
	err := c.tx.Close()
	if c.rx != c.tx {
		err = errors.Join(err, c.rx.Close())
	}
	return err
}

// connEnd is an End over a Conn of both directions.
func connEnd(c fallback.Conn, err error) (End, error) {
	if err != nil {
		return nil, err
	}
	return newBytesEnd(connCarrier{c, c}), nil
}
