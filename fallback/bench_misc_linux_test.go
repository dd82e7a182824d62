package fallback

import (
	"fmt"
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// What the carriers of this file's siblings cost beside the system calls that they rest
// on, in one process, two goroutines. "raw" is blocking calls on threads of their own.

var miscBenchSizes = []int{64, 64 << 10, 1 << 20}

func miscBenchConns(b *testing.B, f func(b *testing.B, size int, x, y Conn)) {
	for _, kind := range memKinds {
		for _, size := range miscBenchSizes {
			b.Run(fmt.Sprintf("carrier=%s/bytes=%d", kind, size), func(b *testing.B) {
				var x, y Conn
				var err error
				if kind == "Shm" {
					x, y, err = ShmPair(ShmOptions{MaxMessage: 1 << 20})
				} else {
					x, y, err = CrossMemoryPair(CrossMemoryOptions{})
				}
				if err != nil {
					b.Fatal(err)
				}
				defer x.Close()
				defer y.Close()
				b.SetBytes(int64(size))
				b.ReportAllocs()
				f(b, size, x, y)
			})
		}
	}
}

func BenchmarkMiscOneWay(b *testing.B) {
	miscBenchConns(b, func(b *testing.B, size int, x, y Conn) {
		msg, dst := make([]byte, size), make([]byte, 0, size+crossInlineMost)
		go func() {
			for x.Send(forever, msg) == nil { // until the Conn is closed
			}
		}()
		for b.Loop() {
			if _, err := y.Receive(forever, dst); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkMiscRoundTrip(b *testing.B) {
	miscBenchConns(b, func(b *testing.B, size int, x, y Conn) {
		go func() {
			buf := make([]byte, 0, size+crossInlineMost)
			for {
				m, err := y.Receive(forever, buf)
				if err != nil || y.Send(forever, m) != nil {
					return
				}
			}
		}()
		msg, dst := make([]byte, size), make([]byte, 0, size+crossInlineMost)
		for b.Loop() {
			if err := x.Send(forever, msg); err != nil {
				b.Fatal(err)
			}
			if _, err := x.Receive(forever, dst); err != nil {
				b.Fatal(err)
			}
		}
	})
	for _, size := range []int{64, 64 << 10} {
		b.Run(fmt.Sprintf("carrier=raw seqpacket/bytes=%d", size), func(b *testing.B) {
			fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				b.Fatal(err)
			}
			done := make(chan struct{})
			go func() {
				defer close(done)
				runtime.LockOSThread()
				defer runtime.UnlockOSThread()
				buf := make([]byte, size)
				for {
					n, err := unix.Read(fds[1], buf)
					if err != nil || n == 0 {
						return
					}
					_, _ = unix.Write(fds[1], buf[:n])
				}
			}()
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			msg := make([]byte, size)
			b.SetBytes(int64(size))
			for b.Loop() {
				_, _ = unix.Write(fds[0], msg)
				_, _ = unix.Read(fds[0], msg)
			}
			unix.Close(fds[0])
			<-done
			unix.Close(fds[1])
		})
	}
}

// The floor under both: one copy by the CPU, one by process_vm_readv.
func BenchmarkMiscCopy(b *testing.B) {
	for _, size := range miscBenchSizes {
		src, dst := make([]byte, size), make([]byte, size)
		b.Run(fmt.Sprintf("by=memcpy/bytes=%d", size), func(b *testing.B) {
			b.SetBytes(int64(size))
			for b.Loop() {
				copy(dst, src)
			}
		})
		b.Run(fmt.Sprintf("by=process_vm_readv/bytes=%d", size), func(b *testing.B) {
			b.SetBytes(int64(size))
			for b.Loop() {
				if _, err := ReadProcess(os.Getpid(), dst, uintptr(memAddress(src))); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkMiscEventfd(b *testing.B) {
	b.Run("by=Eventfd", func(b *testing.B) {
		e, err := NewEventfd(0, false)
		if err != nil {
			b.Fatal(err)
		}
		defer e.Close()
		for b.Loop() {
			_ = e.Signal()
			_, _ = e.Wait(forever)
		}
	})
	b.Run("by=raw", func(b *testing.B) {
		fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
		if err != nil {
			b.Fatal(err)
		}
		defer unix.Close(fd)
		var buf [8]byte
		for b.Loop() {
			buf = [8]byte{1}
			_, _ = unix.Write(fd, buf[:])
			_, _ = unix.Read(fd, buf[:])
		}
	})
}
