package fallback

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// Figures that belong together are taken in turns within one benchmark, so that a busy
// minute of the machine meets both: ns/op of each, and the ratio.

// mqRawFD opens a queue's descriptor apart from the poller, blocking.
func mqRawFD(b *testing.B, q *Queue) int {
	fd, err := mqOpen(newMQPath(q.Name()[1:]), os.O_RDWR, 0, nil)
	require.NoError(b, err)
	b.Cleanup(func() { unix.Close(fd) })
	return fd
}

func mqBenchQueue(b *testing.B, messages, size int) *Queue {
	l, err := ReadQueueLimits()
	require.NoError(b, err)
	if size > l.MaxMessageSize && !mqMayPass() {
		b.Skipf("messages of %d bytes: msgsize_max is %d", size, l.MaxMessageSize)
	}
	return mqMake(b, QueueAttr{MaxMessages: messages, MessageSize: size})
}

// One goroutine sends and receives by itself: the calls alone, nobody sleeps.
func BenchmarkMQSendReceive(b *testing.B) {
	for _, size := range []int{64, 64 << 10} {
		b.Run("size="+strconv.Itoa(size), func(b *testing.B) {
			q := mqBenchQueue(b, 10, size)
			c, err := MQOver(q, q)
			require.NoError(b, err)
			fd := mqRawFD(b, q)
			msg, buf := make([]byte, size), make([]byte, size)
			mqRatio(b, func(n int) {
				for range n {
					if err := c.Send(nil, msg); err != nil {
						b.Fatal(err)
					}
					if _, err := c.Receive(nil, buf[:0]); err != nil {
						b.Fatal(err)
					}
				}
			}, func(n int) {
				for range n {
					mqRawSend(b, fd, msg)
					mqRawReceive(b, fd, buf)
				}
			})
		})
	}
}

// A queue that is filled, then emptied.
func BenchmarkMQThroughput(b *testing.B) {
	for _, size := range []int{64, 64 << 10} {
		b.Run("size="+strconv.Itoa(size), func(b *testing.B) {
			const batch = 8
			q := mqBenchQueue(b, batch, size)
			c, err := MQOver(q, q)
			require.NoError(b, err)
			fd := mqRawFD(b, q)
			msg, buf := make([]byte, size), make([]byte, size)
			mqRatio(b, func(n int) {
				for sent := 0; sent < n; sent += batch {
					for range batch {
						if err := c.Send(nil, msg); err != nil {
							b.Fatal(err)
						}
					}
					for range batch {
						if _, err := c.Receive(nil, buf[:0]); err != nil {
							b.Fatal(err)
						}
					}
				}
			}, func(n int) {
				for sent := 0; sent < n; sent += batch {
					for range batch {
						mqRawSend(b, fd, msg)
					}
					for range batch {
						mqRawReceive(b, fd, buf)
					}
				}
			})
		})
	}
}

// mqRatio runs ours and theirs in turns.
func mqRatio(b *testing.B, ours, theirs func(n int)) {
	const chunk = 2000
	ours(chunk / 10)
	theirs(chunk / 10)
	b.ReportAllocs()
	b.ResetTimer()
	var own, other mqStopwatch
	done := 0
	for done < b.N {
		n := min(chunk, b.N-done)
		own.time(func() { ours(n) })
		b.StopTimer()
		other.time(func() { theirs(n) })
		b.StartTimer()
		done += n
	}
	b.ReportMetric(own.perOp(done), "ns/ours")
	b.ReportMetric(other.perOp(done), "ns/raw")
	b.ReportMetric(own.perOp(done)/other.perOp(done), "ours/raw")
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

// There and back between two processes, each of which sleeps: ours against a process of
// ours, blocking system calls against another one that does so, and two programs in C.
func BenchmarkMQRoundTrip(b *testing.B) {
	var peer string
	if _, err := exec.LookPath("gcc"); err == nil {
		peer = mqPeer(b)
	}
	n := max(b.N, 1)
	name := func() string { return mqMake(b, QueueAttr{MaxMessages: 10, MessageSize: 64}).Name() }
	there, back, rawThere, rawBack := name(), name(), name(), name()
	// One process cannot know how often the benchmark runs in all: they end by being killed.
	mqStart(b, "mqBenchEcho", nil, there, back)
	mqStart(b, "mqBenchRawEcho", nil, rawThere, rawBack)
	c, err := mqJoin(there, back)
	require.NoError(b, err)
	b.Cleanup(func() { c.Close() })
	out, in := mqRawName(b, rawThere), mqRawName(b, rawBack)
	msg, buf := make([]byte, 64), make([]byte, 64)
	mqRatio(b, func(n int) {
		for range n {
			if err := c.Send(nil, msg); err != nil {
				b.Fatal(err)
			}
			if _, err := c.Receive(nil, buf[:0]); err != nil {
				b.Fatal(err)
			}
		}
	}, func(n int) {
		for range n {
			mqRawSend(b, out, msg)
			mqRawReceive(b, in, buf)
		}
	})
	b.StopTimer()
	if peer != "" {
		cThere, cBack := name(), name()
		echo := mqRun(b, exec.Command(peer, "echo", cThere, cBack, strconv.Itoa(n)))
		timed := mqRun(b, exec.Command(peer, "roundtrip", cThere, cBack, strconv.Itoa(n)))
		b.ReportMetric(mqFigure(b, timed), "ns/C")
		echo.finish(b)
	}
}

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
	const chunk = 20000
	var own mqStopwatch
	var theirs float64
	chunks := 0
	b.ResetTimer()
	for done := 0; done < b.N; done += chunk {
		own.time(func() {
			for range chunk {
				if err := q.Send(nil, msg, 0); err != nil {
					b.Fatal(err)
				}
				if _, _, err := q.Receive(nil, buf[:0]); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.StopTimer()
		theirs += mqFigure(b, mqRun(b, exec.Command(peer, "time", strconv.Itoa(chunk))))
		chunks++
		b.StartTimer()
	}
	theirs /= float64(chunks)
	b.ReportMetric(own.perOp(chunks*chunk), "ns/ours")
	b.ReportMetric(theirs, "ns/C")
	b.ReportMetric(own.perOp(chunks*chunk)/theirs, "ours/C")
}

func init() {
	roles["mqBenchEcho"] = func() {
		mqOrphan()
		c, err := mqJoin(os.Args[2], os.Args[1])
		mqMust(err)
		buf := make([]byte, 64)
		for {
			msg, err := c.Receive(nil, buf[:0])
			mqMust(err)
			mqMust(c.Send(nil, msg))
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
