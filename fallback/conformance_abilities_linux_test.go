package fallback

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func init() {
	checks = append(checks,
		check{name: "higher priorities overtake", run: checkPriorities, needs: needsOpen},
		check{name: "files are passed on", run: checkFiles, needs: needsOpen},
		check{name: "as many files as the kernel permits, no more", run: checkManyFiles, needs: needsOpen, alone: true},
		check{name: "plain Receive closes the files that come along", run: checkFilesDropped, needs: needsOpen, alone: true},
		check{name: "no descriptors are left for files", run: checkFilesLimit, needs: needsOpen, alone: true},
		check{name: "the kernel says who is there", run: checkPeer, needs: needsOpen},
		check{name: "poll says when there is a message", run: checkPoll, needs: needsOpen},
	)
}

func checkPriorities(t testing.TB, c carrier) {
	eachWay(t, c, func(t testing.TB, from, to Conn) {
		if !from.Capabilities().Priorities {
			t.Skip("no priorities")
		}
		// At most four at once: a small queue holds no more.
		for _, step := range []struct {
			send []uint
			want []entry
		}{
			{[]uint{0, 5, 1, 5}, []entry{{5, 1}, {5, 3}, {1, 2}, {0, 0}}},
			{[]uint{2, 31, 0, 2}, []entry{{31, 1}, {2, 0}, {2, 3}, {0, 2}}},
			{[]uint{0, 0, 0}, []entry{{0, 0}, {0, 1}, {0, 2}}},
		} {
			for i, p := range step.send {
				msg := message(uint32(p), uint32(i), 40)
				send := func() error { return SendPriority(patient(t), from, msg, p) }
				if p == 0 && i%2 == 0 { // without one is with the lowest
					send = func() error { return from.Send(patient(t), msg) }
				}
				if err := send(); err != nil {
					t.Fatalf("SendPriority %d: %v", p, err)
				}
			}
			for i, w := range step.want {
				var msg []byte
				var err error
				p := uint(w.sender)
				if i%3 == 2 {
					msg, err = to.Receive(patient(t), nil)
				} else {
					msg, p, err = ReceivePriority(patient(t), to, nil)
				}
				if err != nil {
					t.Fatalf("receiving: %v", err)
				}
				sender, seq, err := readMessage(msg)
				if got := (entry{sender, seq}); err != nil || got != w || p != uint(w.sender) {
					t.Fatalf("after %v the %d-th is %v of priority %d (%v), want %v", step.send, i, got, p, err, w)
				}
			}
		}
		if err := SendPriority(patient(t), from, []byte("x"), 1<<31); err == nil {
			// No carrier's kernel has so many; one that has none of its own limit is as good.
			if _, p, err := ReceivePriority(patient(t), to, nil); err != nil || p != 1<<31 {
				t.Fatalf("priority %d was taken, and came as %d, %v", uint(1)<<31, p, err)
			}
		}
		requireEmpty(t, to)
	})
}

// pipeSaying is the read end of a pipe in which there is s.
func pipeSaying(t testing.TB, s string) *os.File {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatalf("pipe: %v", err)
	}
	t.Cleanup(func() { r.Close() })
	defer w.Close()
	if _, err := io.WriteString(w, s); err != nil {
		t.Fatalf("pipe: %v", err)
	}
	return r
}

// requireSays reads a received file to its end, and closes it.
func requireSays(t testing.TB, f *os.File, want string) {
	t.Helper()
	flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFD, 0)
	if err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("a received file would be inherited: flags %#x, %v", flags, err)
	}
	got, err := io.ReadAll(f)
	f.Close()
	if err != nil || string(got) != want {
		t.Fatalf("a received file has %q, %v, want %q", got, err, want)
	}
}

func receiveFiles(t testing.TB, c Conn) ([]byte, []*os.File) {
	t.Helper()
	msg, files, err := ReceiveFiles(patient(t), c, nil)
	if err != nil {
		t.Fatalf("ReceiveFiles: %v", err)
	}
	return msg, files
}

func checkFiles(t testing.TB, c carrier) {
	eachWay(t, c, func(t testing.TB, from, to Conn) {
		if !from.Capabilities().Descriptors {
			t.Skip("no descriptors")
		}
		// Each message has its own files, whatever is before and behind it.
		type sending struct{ size, files int }
		sendings := []sending{
			{100, 1},
			{0, 1},
			{100, 0},
			{1, 3},
			{0, 0},
			{5000, 2},
			{min(65536, from.MaxMessage()), 1},
			{100, 0},
			{min(100_000, from.MaxMessage()), 2},
			{10, 1},
		}
		says := func(i, j int) string { return fmt.Sprintf("file %d of message %d", j, i) }
		files := make([][]*os.File, len(sendings))
		for i, m := range sendings {
			for j := range m.files {
				files[i] = append(files[i], pipeSaying(t, says(i, j)))
			}
		}
		s := begin(func() ([]byte, error) {
			for i, m := range sendings {
				if err := SendFiles(forever, from, pattern(m.size, byte(i)), files[i]...); err != nil {
					return nil, fmt.Errorf("SendFiles of %v: %w", m, err)
				}
			}
			return nil, nil
		})
		t.Cleanup(func() { // the files are closed after it, whatever happens
			from.Close()
			to.Close()
			<-s.done
		})
		for i, m := range sendings {
			msg, files := receiveFiles(t, to)
			if !bytes.Equal(msg, pattern(m.size, byte(i))) || len(files) != m.files {
				t.Fatalf("message %d: %d bytes, %d files, want %v", i, len(msg), len(files), m)
			}
			for j, f := range files {
				requireSays(t, f, says(i, j))
			}
		}
		if _, err := s.wait(t, "SendFiles"); err != nil {
			t.Fatalf("%v", err)
		}
		closed := pipeSaying(t, "")
		closed.Close()
		for what, files := range map[string][]*os.File{"closed": {closed}, "nil": {nil}, "closed, behind one that is open": {os.Stderr, closed}} {
			_, err := begin(func() ([]byte, error) { return nil, SendFiles(forever, from, []byte("x"), files...) }).wait(t, "SendFiles")
			if err == nil {
				t.Errorf("SendFiles with a file that is %s: no error", what)
			}
		}
		if err := SendFiles(ended(), from, []byte("x"), os.Stderr); !byContext(err) {
			t.Errorf("SendFiles with a context that has ended: %v", err)
		}
		requireEmpty(t, to)
		mustCarry(t, from, to, 1)
	})
}

func checkManyFiles(t testing.TB, c carrier) {
	eachWay(t, c, func(t testing.TB, from, to Conn) {
		if !from.Capabilities().Descriptors {
			t.Skip("no descriptors")
		}
		// SCM_MAX_FD, unix(7)
		f := pipeSaying(t, "many")
		many := slices.Repeat([]*os.File{f}, 254)
		s := begin(func() ([]byte, error) { return nil, SendFiles(forever, from, []byte("many"), many[:253]...) })
		msg, files := receiveFiles(t, to)
		if _, err := s.wait(t, "SendFiles"); err != nil {
			t.Fatalf("SendFiles of 253 files: %v", err)
		}
		if string(msg) != "many" || len(files) != 253 {
			t.Fatalf("%q with %d files came, 253 were sent", msg, len(files))
		}
		requireSays(t, files[252], "many")
		closeFiles(files)
		if _, err := begin(func() ([]byte, error) { return nil, SendFiles(forever, from, []byte("more"), many...) }).wait(t, "SendFiles"); err == nil {
			t.Errorf("SendFiles of 254 files: no error")
		}
		requireEmpty(t, to)
		mustCarry(t, from, to, 1)
	})
}

func checkFilesDropped(t testing.TB, c carrier) {
	eachWay(t, c, func(t testing.TB, from, to Conn) {
		if !from.Capabilities().Descriptors {
			t.Skip("no descriptors")
		}
		f := pipeSaying(t, "unwanted")
		before := countFiles()
		for i := range uint32(20) {
			msg := message(1, i, 100)
			s := begin(func() ([]byte, error) { return nil, SendFiles(forever, from, msg, f, f, f) })
			r := begin(func() ([]byte, error) {
				if i%2 == 0 {
					return to.Receive(forever, nil)
				}
				for {
					got, err := to.TryReceive(nil)
					if !errors.Is(err, ErrWouldBlock) {
						return got, err
					}
					time.Sleep(100 * time.Microsecond)
				}
			})
			if got, err := r.wait(t, "Receive"); err != nil || !bytes.Equal(got, msg) {
				t.Fatalf("Receive of a message with files: %s, %v", describe(got), err)
			}
			s.wait(t, "SendFiles")
		}
		if after := countFiles(); after > before { // fewer: what a check before let go of a moment later
			t.Fatalf("%d descriptors before 20 messages with files, %d after", before, after)
		}
		mustCarry(t, from, to, 1)
	})
	// Those that nobody has received are gone with the Conn.
	before := countFiles()
	eachWay(t, c, func(t testing.TB, from, to Conn) {
		if !from.Capabilities().Descriptors || !holds(from) {
			t.Skip("no descriptors")
		}
		f := pipeSaying(t, "unread")
		for range 3 {
			if err := SendFiles(patient(t), from, []byte("x"), f); err != nil {
				t.Fatalf("SendFiles: %v", err)
			}
		}
		from.Close()
		to.Close()
	})
	awaitFiles(t, "Close with files that nobody has received", before)
}

func checkFilesLimit(t testing.TB, c carrier) {
	eachWay(t, c, func(t testing.TB, from, to Conn) {
		if !from.Capabilities().Descriptors || from.Kind() == KindShared {
			t.Skip("no descriptors of the kernel's")
		}
		f := pipeSaying(t, "late")
		var limit unix.Rlimit
		if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
			t.Fatalf("getrlimit: %v", err)
		}
		// The lowest limit that leaves room for one more.
		free, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			t.Fatalf("fcntl: %v", err)
		}
		unix.Close(free)
		tight := limit
		tight.Cur = uint64(free) + 1
		before := countFiles()
		s := begin(func() ([]byte, error) { return nil, SendFiles(forever, from, []byte("files"), f, f, f) })
		s.wait(t, "SendFiles")
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &tight); err != nil {
			t.Fatalf("setrlimit: %v", err)
		}
		var msg []byte
		var files []*os.File
		_, err = begin(func() (_ []byte, err error) {
			msg, files, err = ReceiveFiles(forever, to, nil)
			return nil, err
		}).wait(t, "ReceiveFiles")
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
			t.Fatalf("setrlimit: %v", err)
		}
		if err == nil {
			t.Errorf("ReceiveFiles with room for one of three descriptors: %q, %d files, no error", msg, len(files))
		}
		closeFiles(files)
		if after := countFiles(); after > before { // fewer: what a check before let go of a moment later
			t.Errorf("%d descriptors before, %d after ReceiveFiles: %v", before, after, err)
		}
		t.Logf("without room for descriptors: %v", err)
		mustCarry(t, from, to, 1)
	})
}

func checkPeer(t testing.TB, c carrier) {
	a, b := c.open(t)
	for _, end := range []Conn{a, b} {
		if !end.Capabilities().Credentials {
			continue
		}
		want := Credentials{PID: os.Getpid(), UID: os.Getuid(), GID: os.Getgid()}
		if got, err := end.Peer(); err != nil || got != want {
			t.Errorf("the peer is %+v, %v; want %+v", got, err, want)
		}
	}
}

func checkPoll(t testing.TB, c carrier) {
	eachWay(t, c, func(t testing.TB, from, to Conn) {
		if !to.Capabilities().Pollable {
			t.Skip("not pollable")
		}
		raw, err := RawConn(to)
		if err != nil {
			t.Fatalf("RawConn: %v", err)
		}
		readable := func(wait int) (yes bool) {
			var perr error
			err := raw.Control(func(fd uintptr) {
				p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
				for {
					_, perr = unix.Poll(p, wait)
					if perr != unix.EINTR {
						break
					}
				}
				yes = p[0].Revents&unix.POLLIN != 0
			})
			if err != nil || perr != nil {
				t.Fatalf("poll: %v, %v", err, perr)
			}
			return yes
		}
		if readable(0) {
			t.Fatalf("readable, and there is nothing")
		}
		for n := 1; n <= 4; n++ { // a small queue holds no more
			if !holds(from) {
				n = 1
			}
			var sends []*call
			for i := range uint32(n) {
				s := beginSend(forever, from, message(1, i, 100))
				if sends = append(sends, s); holds(from) {
					s.wait(t, "Send")
				}
			}
			for i := range n {
				// The wait is for carriers over a network stack; others are readable at once.
				wait := 0
				if from.Capabilities().Network || !holds(from) {
					wait = int(patienceOf(t).Milliseconds())
				}
				if !readable(wait) {
					t.Fatalf("not readable, and there are %d messages of %d", n-i, n)
				}
				if _, err := begin(func() ([]byte, error) { return to.TryReceive(nil) }).wait(t, "TryReceive"); err != nil {
					t.Fatalf("readable, but TryReceive: %v", err)
				}
			}
			if readable(0) {
				t.Fatalf("readable after all %d messages were received", n)
			}
			for _, s := range sends {
				s.wait(t, "Send")
			}
			if !holds(from) {
				break
			}
		}
		if !to.Capabilities().EndOfFile {
			return
		}
		from.Close()
		if !readable(int(patienceOf(t).Milliseconds())) {
			// A hang-up without POLLIN wakes a poll loop as well.
			t.Logf("the other side's end is not POLLIN")
		}
	})
}
