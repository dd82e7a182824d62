//go:build !linux

package fallback

import (
	"context"
	"io/fs"
	"os"
	"syscall"
)

// PipePacketMax is MaxMessage of a packet pipe in bytes, on Linux.
const PipePacketMax = PipeBuf - 1

// Pipe is there on Linux only: errors.ErrUnsupported.
func Pipe(...PipeOption) (r, w Conn, err error) {
	return nil, nil, Refuse(KindPipe, "this system's pipes")
}

// PipeConn is there on Linux only: errors.ErrUnsupported.
func PipeConn(_, _ *os.File, _ ...PipeOption) (Conn, error) {
	return nil, Refuse(KindPipe, "this system's pipes")
}

// PipeEnd is there on Linux only: errors.ErrUnsupported.
func PipeEnd(uintptr, ...PipeOption) (Conn, error) {
	return nil, Refuse(KindPipe, "this system's pipes")
}

// PacketFiles is there on Linux only: errors.ErrUnsupported.
func PacketFiles() (r, w *os.File, err error) { return nil, nil, Refuse(KindPipe, "packet mode") }

// PacketPipe is there on Linux only: errors.ErrUnsupported.
func PacketPipe() (r, w Conn, err error) { return nil, nil, Refuse(KindPipe, "packet mode") }

// PacketConn is there on Linux only: errors.ErrUnsupported.
func PacketConn(_, _ *os.File) (Conn, error) { return nil, Refuse(KindPipe, "packet mode") }

// SetPacketMode is there on Linux only: errors.ErrUnsupported.
func SetPacketMode(syscall.Conn, bool) error { return Refuse(KindPipe, "packet mode") }

// PipeCapacity is there on Linux only: errors.ErrUnsupported.
func PipeCapacity(syscall.Conn) (bytes int, err error) { return 0, Refuse(KindPipe, "its capacity") }

// SetPipeCapacity is there on Linux only: errors.ErrUnsupported.
func SetPipeCapacity(syscall.Conn, int) (got int, err error) {
	return 0, Refuse(KindPipe, "another capacity")
}

// PipeMaxSize is there on Linux only: errors.ErrUnsupported.
func PipeMaxSize() (bytes int, err error) { return 0, Refuse(KindPipe, "a limit of its capacity") }

// PipeQueued is there on Linux only: errors.ErrUnsupported.
func PipeQueued(syscall.Conn) (bytes int, err error) {
	return 0, Refuse(KindPipe, "the number of waiting bytes")
}

// Splice is there on Linux only: errors.ErrUnsupported.
func Splice(_, _ syscall.Conn, _ int64) (moved int64, err error) {
	return 0, Refuse(KindPipe, "splice")
}

// Tee is there on Linux only: errors.ErrUnsupported.
func Tee(_, _ syscall.Conn, _ int) (copied int, err error) { return 0, Refuse(KindPipe, "tee") }

// Vmsplice is there on Linux only: errors.ErrUnsupported.
func Vmsplice(syscall.Conn, []byte) (n int, err error) { return 0, Refuse(KindPipe, "vmsplice") }

// FIFO is there on Linux only: errors.ErrUnsupported.
func FIFO(context.Context, string, int, ...PipeOption) (Conn, error) {
	return nil, Refuse(KindFIFO, "this system's FIFOs")
}

// MakeFIFO is there on Linux only: errors.ErrUnsupported.
func MakeFIFO(string, fs.FileMode) error { return Refuse(KindFIFO, "this system's FIFOs") }

// OpenFIFO is there on Linux only: errors.ErrUnsupported.
func OpenFIFO(context.Context, string, int) (*os.File, error) {
	return nil, Refuse(KindFIFO, "this system's FIFOs")
}
