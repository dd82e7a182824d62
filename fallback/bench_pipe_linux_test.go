package fallback

import (
	"fmt"
	"io"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// Each figure stands beside via=raw, which is os.File's Read and Write (one system call
// each way, through the same poller) on a pipe of the same capacity, and via=block, which
// is read and write that block a thread.

// A pipePort sends and receives messages of one size in one direction.
type pipePort struct {
	send    func(msg []byte) error
	receive func(buf []byte) error
}

func pipeBenchPorts(b *testing.B, via string) pipePort {
	b.Helper()
	conns := func(r, w Conn, err error) pipePort {
		require.NoError(b, err)
		pipeCleanup(b, r, w)
		return pipePort{
			send: func(msg []byte) error { return w.Send(forever, msg) },
			receive: func(buf []byte) error {
				got, err := r.Receive(forever, buf[:0])
				if err == nil && len(got) != len(buf) {
					err = io.ErrUnexpectedEOF
				}
				return err
			},
		}
	}
	files := func(r, w *os.File) pipePort {
		b.Cleanup(func() { r.Close(); w.Close() })
		_, err := SetPipeCapacity(w, 256<<10)
		require.NoError(b, err)
		return pipePort{
			send:    func(msg []byte) error { _, err := w.Write(msg); return err },
			receive: func(buf []byte) error { _, err := io.ReadFull(r, buf); return err },
		}
	}
	fifo := func(opts ...PipeOption) (r, w Conn, err error) {
		w, r = openFIFOPair(b, opts...)
		return r, w, nil
	}
	switch via {
	case "raw":
		r, w, err := pipeFiles(0)
		require.NoError(b, err)
		return files(r, w)
	case "rawfifo":
		path := fifoPath(b)
		require.NoError(b, MakeFIFO(path, 0o600))
		r, err := OpenFIFO(forever, path, os.O_RDONLY|unix.O_NONBLOCK)
		require.NoError(b, err)
		w, err := OpenFIFO(forever, path, os.O_WRONLY)
		require.NoError(b, err)
		return files(r, w)
	case "rawpacket":
		r, w, err := PacketFiles()
		require.NoError(b, err)
		p := files(r, w)
		p.receive = func(buf []byte) error { _, err := r.Read(buf); return err }
		return p
	case "block":
		var fds [2]int
		require.NoError(b, unix.Pipe2(fds[:], unix.O_CLOEXEC))
		b.Cleanup(func() { unix.Close(fds[0]); unix.Close(fds[1]) })
		_, err := setPipeCapacity(fds[1], 256<<10)
		require.NoError(b, err)
		return pipePort{
			send: func(msg []byte) error { _, err := unix.Write(fds[1], msg); return err },
			receive: func(buf []byte) error {
				for len(buf) > 0 {
					n, err := unix.Read(fds[0], buf)
					if n <= 0 {
						return err
					}
					buf = buf[n:]
				}
				return nil
			},
		}
	case "raw4k": // what a writer has to do who is not alone
		p := pipeBenchPorts(b, "raw")
		write := p.send
		p.send = func(msg []byte) error {
			for len(msg) > 0 {
				n := min(len(msg), PipeBuf)
				if err := write(msg[:n]); err != nil {
					return err
				}
				msg = msg[n:]
			}
			return nil
		}
		return p
	case "Pipe":
		return conns(Pipe())
	case "PipePollable":
		return conns(Pipe(PipePollable()))
	case "FIFO":
		return conns(fifo())
	case "FIFOSoleWriter":
		return conns(fifo(PipeSoleWriter()))
	case "PacketPipe":
		return conns(PacketPipe())
	}
	panic(via)
}

var pipeBenchVias = []string{
	"block", "raw", "Pipe", "PipePollable", "rawfifo", "FIFO", "FIFOSoleWriter", "raw4k", "rawpacket", "PacketPipe",
}

func pipeBench(b *testing.B, run func(b *testing.B, via string, size int)) {
	for _, size := range []int{64, 64 << 10} {
		for _, via := range pipeBenchVias {
			if size > PipeBuf && (via == "rawpacket" || via == "PacketPipe") {
				continue
			}
			b.Run(fmt.Sprintf("size=%d/via=%s", size, via), func(b *testing.B) { run(b, via, size) })
		}
	}
}

func BenchmarkPipeRoundTrip(b *testing.B) {
	pipeBench(b, func(b *testing.B, via string, size int) {
		there, back := pipeBenchPorts(b, via), pipeBenchPorts(b, via)
		done := make(chan error, 1)
		go func() {
			buf := make([]byte, size)
			for range b.N + 1 {
				if err := there.receive(buf); err != nil {
					done <- err
					return
				}
				if err := back.send(buf); err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
		msg, buf := make([]byte, size), make([]byte, size)
		trip := func() {
			if err := there.send(msg); err != nil {
				b.Fatal(err)
			}
			if err := back.receive(buf); err != nil {
				b.Fatal(err)
			}
		}
		trip()
		b.ReportAllocs()
		b.ResetTimer()
		for range b.N {
			trip()
		}
		b.StopTimer()
		require.NoError(b, <-done)
	})
}

func BenchmarkPipeThroughput(b *testing.B) {
	pipeBench(b, func(b *testing.B, via string, size int) {
		p := pipeBenchPorts(b, via)
		done := make(chan error, 1)
		start := make(chan struct{})
		go func() {
			msg := make([]byte, size)
			err := p.send(msg)
			<-start
			for n := b.N; n > 0 && err == nil; n-- {
				err = p.send(msg)
			}
			done <- err
		}()
		buf := make([]byte, size)
		if err := p.receive(buf); err != nil {
			b.Fatal(err)
		}
		b.SetBytes(int64(size))
		b.ReportAllocs()
		b.ResetTimer()
		close(start)
		for range b.N {
			if err := p.receive(buf); err != nil {
				b.Fatal(err)
			}
		}
		b.StopTimer()
		require.NoError(b, <-done)
	})
}

// BenchmarkPipeVmsplice is a payload from memory into a pipe that somebody reads: written,
// which copies, or lent to the pipe.
func BenchmarkPipeVmsplice(b *testing.B) {
	for _, size := range []int{4 << 10, 64 << 10, 1 << 20} {
		for _, via := range []string{"write", "vmsplice"} {
			b.Run(fmt.Sprintf("size=%d/via=%s", size, via), func(b *testing.B) {
				r, w, err := pipeFiles(0)
				require.NoError(b, err)
				defer r.Close()
				_, err = SetPipeCapacity(w, 1<<20)
				require.NoError(b, err)
				mem, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_POPULATE)
				require.NoError(b, err)
				done := make(chan error, 1)
				n := b.N
				go func() {
					var err error
					for ; n > 0 && err == nil; n-- {
						if via == "write" {
							_, err = w.Write(mem)
						} else {
							_, err = Vmsplice(w, mem)
						}
					}
					w.Close()
					done <- err
				}()
				buf := make([]byte, size)
				b.SetBytes(int64(size))
				b.ResetTimer()
				for range b.N {
					if _, err := io.ReadFull(r, buf); err != nil {
						b.Fatal(err)
					}
				}
				b.StopTimer()
				require.NoError(b, <-done)
				require.NoError(b, unix.Munmap(mem))
			})
		}
	}
}

// BenchmarkPipeSplice moves a file's pages into a pipe, and from there to another file
// (/dev/null): through a buffer of this process or inside the kernel.
func BenchmarkPipeSplice(b *testing.B) {
	for _, size := range []int{4 << 10, 64 << 10, 1 << 20} {
		for _, via := range []string{"copy", "splice"} {
			b.Run(fmt.Sprintf("size=%d/via=%s", size, via), func(b *testing.B) {
				src, err := os.Create(b.TempDir() + "/file")
				require.NoError(b, err)
				defer src.Close()
				_, err = src.Write(make([]byte, size))
				require.NoError(b, err)
				sink, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
				require.NoError(b, err)
				defer sink.Close()
				r, w, err := pipeFiles(0)
				require.NoError(b, err)
				defer r.Close()
				defer w.Close()
				_, err = SetPipeCapacity(w, 1<<20)
				require.NoError(b, err)
				buf := make([]byte, size)
				move := func(dst, src *os.File) error {
					if via == "splice" {
						n, err := Splice(dst, src, int64(size))
						if err == nil && n != int64(size) {
							err = io.ErrShortWrite
						}
						return err
					}
					if _, err := io.ReadFull(src, buf); err != nil {
						return err
					}
					_, err := dst.Write(buf)
					return err
				}
				b.SetBytes(int64(size))
				b.ResetTimer()
				for range b.N {
					if _, err := src.Seek(0, io.SeekStart); err != nil {
						b.Fatal(err)
					}
					if err := move(w, src); err != nil {
						b.Fatal(err)
					}
					if err := move(sink, r); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkPipeOneThread sends and receives in turn, so that nobody ever waits: what the code
// costs, without what the scheduler makes of it.
func BenchmarkPipeOneThread(b *testing.B) {
	pipeBench(b, func(b *testing.B, via string, size int) {
		p := pipeBenchPorts(b, via)
		msg, buf := make([]byte, size), make([]byte, size)
		b.SetBytes(int64(size))
		b.ReportAllocs()
		for b.Loop() {
			if err := p.send(msg); err != nil {
				b.Fatal(err)
			}
			if err := p.receive(buf); err != nil {
				b.Fatal(err)
			}
		}
	})
}
