package fallback

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The figures that matter are ratios: the same bytes through a Conn and through read and
// write in blocking mode on the same kind of socket, slice by slice in turn, so that both
// meet the same noise. Run with
//
//	go test -run '^$' -bench BenchmarkStream ./fallback
//
// ns/op and MB/s are the Conn's; x-raw is the Conn's time over the raw one's, of a round trip
// or of a message one way (0.9 of the throughput is 1.11).

func init() {
	roles["stream bench"] = func() {
		kind, form, size := os.Getenv("STREAM_KIND"), os.Getenv("STREAM_FORM"), streamBenchNumber("STREAM_SIZE")
		end, err := streamBenchEnd(os.NewFile(3, "socket"), kind, form == "conn")
		if err != nil {
			panic(err)
		}
		streamBenchPeer(end, size, os.Getenv("STREAM_WAY") == "trip")
	}
}

func streamBenchNumber(name string) int {
	n, err := strconv.Atoi(os.Getenv(name))
	if err != nil {
		panic(err)
	}
	return n
}

// A streamBench is one end, of either form.
type streamBench interface {
	send(msg []byte) error
	receive(msg []byte) error
}

type streamBenchConn struct{ Conn }

func (c streamBenchConn) send(msg []byte) error { return c.Send(streamNever, msg) }

func (c streamBenchConn) receive(msg []byte) error {
	got, err := c.Receive(streamNever, msg[:0])
	if err == nil && len(got) != len(msg) {
		return io.ErrUnexpectedEOF
	}
	return err
}

type streamBenchRaw struct{ fd int }

func (r streamBenchRaw) send(msg []byte) error {
	for len(msg) > 0 {
		n, err := unix.Write(r.fd, msg)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return err
		default:
			msg = msg[n:]
		}
	}
	return nil
}

func (r streamBenchRaw) receive(msg []byte) error {
	for len(msg) > 0 {
		n, err := unix.Read(r.fd, msg)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return err
		case n == 0:
			return io.EOF
		default:
			msg = msg[n:]
		}
	}
	return nil
}

// streamBenchEnd makes an end of f.
func streamBenchEnd(f *os.File, kind string, conn bool) (streamBench, error) {
	if !conn {
		return streamBenchRaw{int(f.Fd())}, nil // Fd leaves it in blocking mode
	}
	var c Conn
	var err error
	if kind == "tcp" {
		c, err = TCPFromFile(f)
	} else {
		c, err = UnixStreamFromFile(f)
	}
	return streamBenchConn{c}, err
}

// streamBenchPeer answers each message, or one byte for each batch of them.
func streamBenchPeer(end streamBench, size int, trip bool) {
	msg := make([]byte, size)
	answer := msg[:1]
	if trip {
		answer = msg
	}
	for {
		for range streamBenchBatch(size, trip) {
			if end.receive(msg) != nil {
				return
			}
		}
		if end.send(answer) != nil {
			return
		}
	}
}

func streamBenchBatch(size int, trip bool) int {
	switch {
	case trip:
		return 1
	case size > 4096:
		return 200
	}
	return 5000
}

func BenchmarkStream(b *testing.B) {
	for _, kind := range []string{"unix", "tcp"} {
		for _, peer := range []string{"process", "goroutine"} {
			for _, way := range []string{"trip", "oneway"} {
				for _, size := range []int{64, 64 << 10} {
					b.Run(fmt.Sprintf("kind=%s/peer=%s/way=%s/size=%d", kind, peer, way, size), func(b *testing.B) {
						benchmarkStream(b, kind, peer, way, size)
					})
				}
			}
		}
	}
}

func benchmarkStream(b *testing.B, kind, peer, way string, size int) {
	trip := way == "trip"
	var ends [2]streamBench
	for i, form := range []string{"conn", "raw"} {
		ends[i] = streamBenchStart(b, kind, peer, form, way, size)
	}
	msg := make([]byte, size)
	batch := streamBenchBatch(size, trip)
	answer := msg[:1]
	if trip {
		answer = msg
	}
	run := func(end streamBench, batches int) time.Duration {
		start := time.Now()
		for range batches {
			for range batch {
				if err := end.send(msg); err != nil {
					b.Fatal(err)
				}
			}
			if err := end.receive(answer); err != nil {
				b.Fatal(err)
			}
		}
		return time.Since(start)
	}
	slice := 1
	if trip {
		slice = 200
	}
	run(ends[0], slice)
	run(ends[1], slice)
	var took, used [2]time.Duration
	done := 0
	b.ResetTimer()
	for turn := 0; done < b.N; turn++ {
		for i := range ends {
			which := (i + turn) % 2
			before := streamBenchCPU()
			took[which] += run(ends[which], slice)
			used[which] += streamBenchCPU() - before
		}
		done += slice * batch
	}
	b.StopTimer()
	perOp := float64(took[0].Nanoseconds()) / float64(done)
	b.ReportMetric(perOp, "ns/op")
	b.ReportMetric(float64(size)/perOp*1e3, "MB/s")
	b.ReportMetric(float64(took[0])/float64(took[1]), "x-raw")
	b.ReportMetric(float64(used[0])/float64(used[1]), "x-raw-cpu")
}

func streamBenchCPU() time.Duration {
	var u unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// streamBenchStart makes a pair and has somebody answer at its other end.
func streamBenchStart(b *testing.B, kind, peer, form, way string, size int) streamBench {
	b.Helper()
	var files [2]*os.File
	if kind == "tcp" {
		x, y := streamTCPSockets(b)
		for i, c := range []interface{ File() (*os.File, error) }{x, y} {
			f, err := c.File()
			if err != nil {
				b.Fatal(err)
			}
			files[i] = f
		}
		x.Close()
		y.Close()
	} else {
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			b.Fatal(err)
		}
		files = [2]*os.File{os.NewFile(uintptr(fds[0]), "socket"), os.NewFile(uintptr(fds[1]), "socket")}
	}
	end, err := streamBenchEnd(files[0], kind, form == "conn")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { runtime.KeepAlive(files); files[0].Close() })
	if c, ok := end.(streamBenchConn); ok {
		b.Cleanup(func() { c.Close() })
	}
	if peer == "process" {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "SHMCHAN_ROLE=stream bench", "STREAM_KIND="+kind, "STREAM_FORM="+form,
			"STREAM_WAY="+way, "STREAM_SIZE="+strconv.Itoa(size))
		cmd.ExtraFiles = files[1:]
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		files[1].Close()
		b.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
		return end
	}
	other, err := streamBenchEnd(files[1], kind, form == "conn")
	if err != nil {
		b.Fatal(err)
	}
	done := make(chan struct{})
	go func() { streamBenchPeer(other, size, strings.HasPrefix(way, "trip")); close(done) }()
	b.Cleanup(func() {
		if c, ok := other.(streamBenchConn); ok {
			c.Close()
		} else {
			_ = unix.Shutdown(other.(streamBenchRaw).fd, unix.SHUT_RDWR)
		}
		<-done
		files[1].Close()
	})
	return end
}
