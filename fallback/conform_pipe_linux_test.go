package fallback

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func pipeCleanup(t testing.TB, conns ...Conn) {
	t.Cleanup(func() {
		for _, c := range conns {
			c.Close()
		}
	})
}

// pipeOSFiles is an os.Pipe that is gone after the test.
func pipeOSFiles(t testing.TB) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	require.NoError(t, err)
	t.Cleanup(func() { r.Close(); w.Close() })
	return r, w
}

// pipeRaw is a Conn on r, and writing right into w.
func pipeRaw(t testing.TB, r, w *os.File, open func(r, w *os.File) (Conn, error)) (Conn, func([]byte) error) {
	t.Helper()
	a, err := open(r, nil)
	require.NoError(t, err)
	pipeCleanup(t, a)
	return a, func(b []byte) error {
		_, err := w.Write(b)
		return err
	}
}

// pipeDuplex is a Conn of two pipes, and the files of the other side.
func pipeDuplex(t testing.TB) (a Conn, r, w *os.File) {
	t.Helper()
	r1, w1 := pipeOSFiles(t)
	r2, w2 := pipeOSFiles(t)
	a, err := PipeConn(r1, w2)
	require.NoError(t, err)
	pipeCleanup(t, a)
	return a, r2, w1
}

// fifoPath is a name for a FIFO in a directory of the test's own.
func fifoPath(t testing.TB) string { return filepath.Join(t.TempDir(), "fifo") }

func openFIFOPair(t testing.TB, opts ...PipeOption) (w, r Conn) {
	t.Helper()
	path := fifoPath(t)
	r, err := FIFO(forever, path, os.O_RDONLY|os.O_CREATE, opts...)
	require.NoError(t, err)
	w, err = FIFO(forever, path, os.O_WRONLY, opts...)
	require.NoError(t, err)
	pipeCleanup(t, w, r)
	return w, r
}

func init() {
	pipePair := func(opts ...PipeOption) func(testing.TB) (a, b Conn) {
		return func(t testing.TB) (a, b Conn) {
			r, w, err := Pipe(opts...)
			require.NoError(t, err)
			pipeCleanup(t, r, w)
			return w, r
		}
	}
	duplex := func(opts ...PipeOption) func(string) (Conn, error) {
		return func(string) (Conn, error) { return PipeConn(os.NewFile(3, "r"), os.NewFile(4, "w"), opts...) }
	}
	rawPipe := func(opts ...PipeOption) func(testing.TB) (Conn, func([]byte) error) {
		return func(t testing.TB) (Conn, func([]byte) error) {
			r, w := pipeOSFiles(t)
			return pipeRaw(t, r, w, func(r, w *os.File) (Conn, error) { return PipeConn(r, w, opts...) })
		}
	}
	carriers = append(carriers, carrier{
		name: "Pipe",
		open: pipePair(),
		give: func(t testing.TB) (a Conn, files []*os.File, arg string) {
			a, r, w := pipeDuplex(t)
			return a, []*os.File{r, w}, ""
		},
		remake: duplex(),
		raw:    rawPipe(),
	}, carrier{
		name: "PipeDuplex",
		open: func(t testing.TB) (a, b Conn) {
			a, r, w := pipeDuplex(t)
			b, err := PipeConn(r, w)
			require.NoError(t, err)
			pipeCleanup(t, b)
			return a, b
		},
	}, carrier{
		name: "PipeManyWriters",
		open: pipePair(PipeManyWriters()),
		raw:  rawPipe(PipeManyWriters()),
	}, carrier{
		name: "PipePollable",
		open: pipePair(PipePollable()),
		raw:  rawPipe(PipePollable()),
	}, carrier{
		name: "PacketPipe",
		open: func(t testing.TB) (a, b Conn) {
			r, w, err := PacketPipe()
			require.NoError(t, err)
			pipeCleanup(t, r, w)
			return w, r
		},
		give: func(t testing.TB) (a Conn, files []*os.File, arg string) {
			r1, w1, err := PacketFiles()
			require.NoError(t, err)
			r2, w2, err := PacketFiles()
			require.NoError(t, err)
			a, err = PacketConn(r1, w2)
			require.NoError(t, err)
			pipeCleanup(t, a)
			t.Cleanup(func() { w1.Close(); r2.Close() })
			return a, []*os.File{r2, w1}, ""
		},
		remake: func(string) (Conn, error) { return PacketConn(os.NewFile(3, "r"), os.NewFile(4, "w")) },
		raw: func(t testing.TB) (Conn, func([]byte) error) {
			r, w, err := PacketFiles()
			require.NoError(t, err)
			t.Cleanup(func() { w.Close() })
			return pipeRaw(t, r, w, PacketConn)
		},
	}, carrier{
		name: "FIFO",
		open: func(t testing.TB) (a, b Conn) { return openFIFOPair(t) },
		raw: func(t testing.TB) (Conn, func([]byte) error) {
			path := fifoPath(t)
			a, err := FIFO(forever, path, os.O_RDONLY|os.O_CREATE)
			require.NoError(t, err)
			w, err := OpenFIFO(forever, path, os.O_WRONLY)
			require.NoError(t, err)
			pipeCleanup(t, a)
			t.Cleanup(func() { w.Close() })
			return a, func(b []byte) error {
				_, err := w.Write(b)
				return err
			}
		},
	}, carrier{
		name: "FIFOSoleWriter",
		open: func(t testing.TB) (a, b Conn) { return openFIFOPair(t, PipeSoleWriter()) },
	})
}
