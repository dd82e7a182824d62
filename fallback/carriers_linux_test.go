package fallback

import (
	"os"
	"testing"
)

// A carrier is how the conformance suite opens one kind of Conn.
type carrier struct {
	name   string
	open   func(t testing.TB) (a, b Conn)
	give   func(t testing.TB) (a Conn, files []*os.File, arg string)
	remake func(arg string) (Conn, error)
	raw    func(t testing.TB) (a Conn, write func([]byte) error)
}

var carriers []carrier
