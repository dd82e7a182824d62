package fallback

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// Figures that belong together are taken in turns within one benchmark, so that a busy
// minute of the machine meets both; of each the best turn counts, and the ratio of those.

// mqBenchSizes are 64 bytes and 64 KiB, or as much as a queue may have here.
func mqBenchSizes(b *testing.B) []int {
	l, err := ReadQueueLimits()
	require.NoError(b, err)
	if mqMayPass() {
		return []int{64, 64 << 10}
	}
	return []int{64, min(64<<10, l.MaxMessageSize)}
}

// One goroutine sends and receives by itself: the calls alone, nobody sleeps.
func BenchmarkMQSendReceive(b *testing.B) {
	for _, size := range mqBenchSizes(b) {
		b.Run("size="+strconv.Itoa(size), func(b *testing.B) {
			q := mqMake(b, QueueAttr{MaxMessages: 10, MessageSize: size})
			c, err := MQOver(q, q)
			require.NoError(b, err)
			fd := mqRawName(b, q.Name())
			msg, buf := make([]byte, size), make([]byte, size)
			mqRatio(b, func(n int) {
				for range n {
					if err := c.Send(forever, msg); err != nil {
						b.Fatal(err)
					}
					if _, err := c.Receive(forever, buf[:0]); err != nil {
						b.Fatal(err)
					}
				}
			}, mqRival{"raw", func(n int) {
				for range n {
					mqRawSend(b, fd, msg)
					mqRawReceive(b, fd, buf)
				}
			}})
		})
	}
}

// A queue that is filled, then emptied.
func BenchmarkMQThroughput(b *testing.B) {
	for _, size := range mqBenchSizes(b) {
		b.Run("size="+strconv.Itoa(size), func(b *testing.B) {
			const batch = 8
			q := mqMake(b, QueueAttr{MaxMessages: batch, MessageSize: size})
			c, err := MQOver(q, q)
			require.NoError(b, err)
			fd := mqRawName(b, q.Name())
			msg, buf := make([]byte, size), make([]byte, size)
			mqRatio(b, func(n int) {
				for sent := 0; sent < n; sent += batch {
					for range batch {
						if err := c.Send(forever, msg); err != nil {
							b.Fatal(err)
						}
					}
					for range batch {
						if _, err := c.Receive(forever, buf[:0]); err != nil {
							b.Fatal(err)
						}
					}
				}
			}, mqRival{"raw", func(n int) {
				for sent := 0; sent < n; sent += batch {
					for range batch {
						mqRawSend(b, fd, msg)
					}
					for range batch {
						mqRawReceive(b, fd, buf)
					}
				}
			}})
		})
	}
}

// An mqRival is what ours is compared with.
type mqRival struct {
	name string
	run  func(n int)
}

// mqRatio runs ours and the others in turns.
func mqRatio(b *testing.B, ours func(n int), rivals ...mqRival) {
	const chunk = 2000
	all := append([]mqRival{{"ours", ours}}, rivals...)
	watches := make([]mqStopwatch, len(all))
	for _, r := range all {
		r.run(chunk / 10)
	}
	b.ReportAllocs()
	b.ResetTimer()
	done := 0
	for done < b.N {
		n := chunk // whole turns, to be compared with each other
		for i, r := range all {
			if i == 1 {
				b.StopTimer()
			}
			watches[i].time(n, func() { r.run(n) })
		}
		b.StartTimer()
		done += n
	}
	for i, r := range all {
		b.ReportMetric(watches[i].best, "ns/"+r.name)
		if i > 0 {
			b.ReportMetric(watches[0].best/watches[i].best, "ours/"+r.name)
		}
	}
}

func mqRawSend(b *testing.B, fd int, msg []byte) {
	_, _, errno := unix.Syscall6(unix.SYS_MQ_TIMEDSEND, uintptr(fd), mqPointer(msg), uintptr(len(msg)), 0, 0, 0)
	if errno != 0 {
		b.Fatal(errno)
	}
}

func mqRawReceive(b *testing.B, fd int, buf []byte) {
	_, _, errno := unix.Syscall6(unix.SYS_MQ_TIMEDRECEIVE, uintptr(fd), mqPointer(buf), uintptr(len(buf)), 0, 0, 0)
	if errno != 0 {
		b.Fatal(errno)
	}
}

// There and back between two processes, each of which sleeps. Beside ours the same bare
// system calls in the runtime's poller (raw), with a blocked thread, which the kernel wakes
// directly but which neither a context nor Close could end (blocked), and two programs in C.
func BenchmarkMQRoundTrip(b *testing.B) {
	var peer string
	if _, err := exec.LookPath("gcc"); err == nil {
		peer = mqPeer(b)
	}
	name := func() string { return mqMake(b, QueueAttr{MaxMessages: 10, MessageSize: 64}).Name() }
	var names [6]string
	for i := range names {
		names[i] = name()
	}
	// They end by being killed: none of them knows how often it will be asked.
	mqStart(b, "mqBenchEcho", nil, names[0], names[1])
	mqStart(b, "mqBenchPolledEcho", nil, names[2], names[3])
	mqStart(b, "mqBenchRawEcho", nil, names[4], names[5])
	c, err := mqJoin(names[0], names[1])
	require.NoError(b, err)
	b.Cleanup(func() { c.Close() })
	out, in := mqOpenPolled(b, names[2]), mqOpenPolled(b, names[3])
	rawOut, rawIn := mqRawName(b, names[4]), mqRawName(b, names[5])
	msg, buf := make([]byte, 64), make([]byte, 64)
	mqRatio(b, func(n int) {
		for range n {
			if err := c.Send(forever, msg); err != nil {
				b.Fatal(err)
			}
			if _, err := c.Receive(forever, buf[:0]); err != nil {
				b.Fatal(err)
			}
		}
	}, mqRival{"raw", func(n int) {
		send := func(fd uintptr) bool { return mqTimedSend(int(fd), msg, 0) == 0 }
		receive := func(fd uintptr) bool {
			_, errno := mqTimedReceive(int(fd), buf, nil)
			return errno == 0
		}
		for range n {
			if out.Write(send) != nil || in.Read(receive) != nil {
				b.Fatal("closed")
			}
		}
	}}, mqRival{"blocked", func(n int) {
		for range n {
			mqRawSend(b, rawOut, msg)
			mqRawReceive(b, rawIn, buf)
		}
	}})
	b.StopTimer()
	if peer != "" {
		cThere, cBack := name(), name()
		echo := mqRun(b, exec.Command(peer, "echo", cThere, cBack, strconv.Itoa(b.N)))
		timed := mqRun(b, exec.Command(peer, "roundtrip", cThere, cBack, strconv.Itoa(b.N)))
		b.ReportMetric(mqFigure(b, timed), "ns/C")
		echo.finish(b)
	}
}

// mqOpenPolled is a bare descriptor in the poller.
func mqOpenPolled(b testing.TB, name string) syscall.RawConn {
	fd, err := mqOpen(newMQPath(name[1:]), os.O_RDWR|unix.O_NONBLOCK, 0, nil)
	mqMust(err)
	f := os.NewFile(uintptr(fd), name)
	if b != nil {
		b.Cleanup(func() { f.Close() })
	}
	raw, err := f.SyscallConn()
	mqMust(err)
	return raw
}

// mqRawName opens a descriptor apart from the poller, blocking.
func mqRawName(b *testing.B, name string) int {
	fd, err := mqOpen(newMQPath(name[1:]), os.O_RDWR, 0, nil)
	require.NoError(b, err)
	b.Cleanup(func() { unix.Close(fd) })
	return fd
}

func mqFigure(b *testing.B, c *mqChild) float64 {
	ns, err := strconv.ParseFloat(strings.TrimSpace(c.line()), 64)
	require.NoError(b, err)
	c.finish(b)
	return ns
}

// The same as BenchmarkMQSendReceive, in turns with a program in C.
func BenchmarkMQSendReceiveAgainstC(b *testing.B) {
	peer := mqPeer(b)
	q := mqMake(b, QueueAttr{MaxMessages: 10, MessageSize: 64})
	msg, buf := make([]byte, 64), make([]byte, 64)
	const chunk, turns = 2000, 10
	var own, theirs mqStopwatch
	b.ResetTimer()
	for done := 0; done < b.N; done += chunk * turns {
		for range turns {
			own.time(chunk, func() {
				for range chunk {
					if err := q.Send(forever, msg, 0); err != nil {
						b.Fatal(err)
					}
					if _, _, err := q.Receive(forever, buf[:0]); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
		b.StopTimer()
		best := mqFigure(b, mqRun(b, exec.Command(peer, "time", strconv.Itoa(chunk), strconv.Itoa(turns))))
		if theirs.best == 0 || best < theirs.best {
			theirs.best = best
		}
		b.StartTimer()
	}
	b.ReportMetric(own.best, "ns/ours")
	b.ReportMetric(theirs.best, "ns/C")
	b.ReportMetric(own.best/theirs.best, "ours/C")
}

func init() {
	roles["mqBenchEcho"] = func() {
		mqOrphan()
		c, err := mqJoin(os.Args[2], os.Args[1])
		mqMust(err)
		buf := make([]byte, 64)
		for {
			msg, err := c.Receive(forever, buf[:0])
			mqMust(err)
			mqMust(c.Send(forever, msg))
		}
	}
	roles["mqBenchPolledEcho"] = func() {
		mqOrphan()
		in, out := mqOpenPolled(nil, os.Args[1]), mqOpenPolled(nil, os.Args[2])
		buf := make([]byte, 64)
		send := func(fd uintptr) bool { return mqTimedSend(int(fd), buf, 0) == 0 }
		receive := func(fd uintptr) bool {
			_, errno := mqTimedReceive(int(fd), buf, nil)
			return errno == 0
		}
		for {
			mqMust(in.Read(receive))
			mqMust(out.Write(send))
		}
	}
	roles["mqBenchRawEcho"] = func() {
		mqOrphan()
		in, err := mqOpen(newMQPath(os.Args[1][1:]), os.O_RDONLY, 0, nil)
		mqMust(err)
		out, err := mqOpen(newMQPath(os.Args[2][1:]), os.O_WRONLY, 0, nil)
		mqMust(err)
		buf := make([]byte, 64)
		for {
			_, _, errno := unix.Syscall6(unix.SYS_MQ_TIMEDRECEIVE, uintptr(in), mqPointer(buf), 64, 0, 0, 0)
			mqAssert(errno == 0, "%v", errno)
			_, _, errno = unix.Syscall6(unix.SYS_MQ_TIMEDSEND, uintptr(out), mqPointer(buf), 64, 0, 0, 0)
			mqAssert(errno == 0, "%v", errno)
		}
	}
}
