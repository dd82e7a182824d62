//go:build linux

package channel_test

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/shmchan/shmchan/channel"
	"golang.org/x/sys/unix"
)

var bg = context.Background()

// eventually waits until cond holds, which must come; it looks again and again.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(watchdog); !cond(); time.Sleep(200 * time.Microsecond) {
		if time.Now().After(end) {
			t.Fatalf("waited %v for %s", watchdog, what)
		}
	}
}

// soon is a context for calls that must return: it ends with the watchdog.
func soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(bg, watchdog)
	t.Cleanup(cancel)
	return ctx
}

type crowdArgs struct {
	Name string
	Op   string // open, create
	ID   uint64
}

// A crowd waits on an inherited pipe: closing its other end starts all at once.
var roleCrowd = role("crowd", func(c *child, a crowdArgs) {
	gate := os.NewFile(3, "gate")
	c.say("ready", nil)
	if _, err := gate.Read(make([]byte, 1)); err != io.EOF {
		c.fatalf("gate: %v", err)
	}
	switch a.Op {
	case "open":
		ch, err := channel.Open[uint64](a.Name, 7)
		c.must(err)
		c.must(ch.Send(a.ID))
	case "create":
		ch, err := channel.Create[uint64](a.Name, 7)
		switch {
		case err == nil:
			c.must(ch.Send(a.ID))
			c.say("created", nil)
		case errors.Is(err, fs.ErrExist):
			c.say("exists", nil)
		default:
			c.fatalf("Create: %v", err)
		}
	}
	c.say("done", nil)
	c.hear()
})

func crowd(t *testing.T, n int, a crowdArgs) []*proc {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	var procs []*proc
	for i := range n {
		a.ID = uint64(i)
		procs = append(procs, spawn(t, roleCrowd, a, withFiles(r)))
	}
	for _, p := range procs {
		p.expect("ready")
	}
	return procs
}

func TestTwentyProcessesOpenOneNewName(t *testing.T) {
	for range times(5, 50) {
		name := uniqueName(t)
		procs := crowd(t, 20, crowdArgs{Name: name, Op: "open"})
		ch, err := channel.Open[uint64](name, 7)
		if err != nil {
			t.Fatal(err)
		}
		seen := map[uint64]bool{}
		within(t, "twenty messages", func() {
			for range procs {
				v, ok := ch.Recv()
				if !ok || seen[v] {
					t.Errorf("got %d ok=%v, seen %v, Err %v", v, ok, seen, ch.Err())
					return
				}
				seen[v] = true
			}
		})
		for _, p := range procs {
			p.expect("done")
		}
		if s := ch.Stats(); s.Members != len(procs)+1 || s.Senders != len(procs) || s.Receivers != 1 {
			t.Errorf("with %d children: %+v", len(procs), s)
		}
		for _, p := range procs {
			p.tell("leave")
			p.wait()
		}
		if s := ch.Stats(); s.Members != 1 {
			t.Errorf("after all children left: %+v", s)
		}
		ch.Detach()
	}
}

func TestTwentyProcessesCreateOneName(t *testing.T) {
	for range times(3, 30) {
		name := uniqueName(t)
		created := 0
		for _, p := range crowd(t, 20, crowdArgs{Name: name, Op: "create"}) {
			switch e, _ := p.next(); e.Name {
			case "created":
				created++
			case "exists":
			default:
				p.wait()
				t.Errorf("event %q", e.Name)
			}
		}
		if created != 1 {
			t.Errorf("%d of twenty created the channel", created)
		}
		ch, err := channel.Attach[uint64](name)
		if err != nil {
			t.Fatal(err)
		}
		if n := ch.Len(); n != 1 || ch.Cap() != 7 {
			t.Errorf("Len %d, Cap %d", n, ch.Cap())
		}
		ch.Detach()
	}
}

// comeAndGo makes and forgets a name as fast as it can, until told.
var roleComeAndGo = role("come-and-go", func(c *child, a chanArgs) {
	stop := make(chan struct{})
	go func() { c.hear(); close(stop) }()
	c.say("ready", nil)
	for {
		select {
		case <-stop:
			return
		default:
		}
		ch, err := channel.Open[line64](a.Name, 3)
		c.must(err)
		c.must(ch.TrySend(packLine(stamp{1, 1})))
		c.must(channel.Unlink(a.Name))
		c.must(ch.Detach())
	}
})

// A name shows a whole channel or nothing at all.
func TestNameIsNeverHalfThere(t *testing.T) {
	name := uniqueName(t)
	p := spawn(t, roleComeAndGo, chanArgs{Name: name})
	p.expect("ready")
	end := time.Now().Add(watchdog)
	for met := 0; met < times(200, 5000); {
		ch, err := channel.Attach[line64](name)
		if errors.Is(err, fs.ErrNotExist) && time.Now().Before(end) {
			continue
		}
		if err != nil {
			t.Fatalf("Attach while others create and unlink: %v", err)
		}
		met++
		if v, err := ch.TryRecv(); err == nil {
			if _, err := readLine(v); err != nil {
				t.Error(err)
			}
		} else if !errors.Is(err, channel.ErrEmpty) {
			t.Errorf("TryRecv: %v", err)
		}
		if err := ch.Detach(); err != nil {
			t.Errorf("Detach: %v", err)
		}
	}
	p.tell("stop")
	p.wait()
}

// New in the parent, FromFile in the child, on a descriptor that exec passed.
func TestFileThroughExtraFiles(t *testing.T) {
	for _, a := range []chanArgs{
		{Kind: "line", Cap: 5},
		{Kind: "line", Cap: 5, SPSC: true},
		{Kind: "bytes", Cap: 5},
		{Kind: "uint64", Cap: 0},
		{Kind: "record", Cap: 1},
		{Kind: "string", Cap: 0, SPSC: true},
	} {
		t.Run(a.String(), func(t *testing.T) { traffics[a.Kind].throughFile(t, a, "") })
		t.Run(a.String()+"/named", func(t *testing.T) { traffics[a.Kind].throughFile(t, a, uniqueName(t)) })
	}
}

func (p payload[T]) throughFile(t *testing.T, a chanArgs, name string) {
	const n = 100
	var ch *channel.Chan[T]
	var err error
	if name == "" {
		ch, err = channel.New[T](a.Cap, a.options()...)
	} else {
		ch, err = channel.Create[T](name, a.Cap, a.options()...)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { ch.Detach() }()
	f, err := ch.File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	send := spawn(t, roleSend, trafficArgs{chanArgs: a, From: 3, Count: n}, withFiles(f))
	ctx := soon(t)
	for seq := range uint32(n) {
		v, err := ch.RecvContext(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if s, err := p.read(v); err != nil || s != (stamp{3, seq}) {
			t.Fatalf("got %v, %v, want 3/%d", s, err, seq)
		}
	}
	send.expect("ready")
	send.expect("sent")
	send.wait()

	// a handle of its own for the other direction: this one has the receiver's seat
	if err := ch.Detach(); err != nil {
		t.Fatal(err)
	}
	if ch, err = channel.FromFile[T](f, a.options()...); err != nil {
		t.Fatal(err)
	}
	recv := spawn(t, roleRecv, trafficArgs{chanArgs: a, Count: n}, withFiles(f))
	recv.expect("ready")
	within(t, "sending to the child", func() {
		for seq := range uint32(n) {
			if err := ch.Send(p.pack(stamp{4, seq})); err != nil {
				t.Errorf("Send: %v", err)
			}
		}
		if err := ch.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	var got []uint64
	recv.expect("got", &got)
	book := newLedger(t)
	book.add(got, true)
	book.settle(map[uint32]uint32{4: n})
}

// The file may also travel over a socket, and the sender may let go of
// everything once it is on its way.
func TestFileOverSocket(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	mine, theirs := os.NewFile(uintptr(fds[0]), "mine"), os.NewFile(uintptr(fds[1]), "theirs")
	defer mine.Close()
	defer theirs.Close()
	p := spawn(t, roleSocket, nil, withFiles(theirs))
	ch, err := channel.New[line64](4)
	if err != nil {
		t.Fatal(err)
	}
	f, err := ch.File()
	if err != nil {
		t.Fatal(err)
	}
	for seq := range uint32(3) {
		if err := ch.TrySend(packLine(stamp{9, seq})); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Sendmsg(int(mine.Fd()), []byte{1}, unix.UnixRights(int(f.Fd())), nil, 0); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if err := ch.Detach(); err != nil {
		t.Fatal(err)
	}
	var members int
	p.expect("got", &members)
	if members != 1 {
		t.Errorf("%d members after the maker detached", members)
	}
	p.wait()
}

var roleSocket = role("socket", func(c *child, _ struct{}) {
	oob := make([]byte, 64)
	_, n, _, _, err := unix.Recvmsg(3, make([]byte, 1), oob, unix.MSG_CMSG_CLOEXEC)
	c.must(err)
	msgs, err := unix.ParseSocketControlMessage(oob[:n])
	c.must(err)
	got, err := unix.ParseUnixRights(&msgs[0])
	c.must(err)
	f := os.NewFile(uintptr(got[0]), "channel")
	ch, err := channel.FromFile[line64](f)
	c.must(err)
	c.must(f.Close())
	for seq := range uint32(3) {
		v, err := ch.TryRecv()
		c.must(err)
		if s, err := readLine(v); err != nil || s.Seq != seq {
			c.fatalf("got %v, %v", s, err)
		}
	}
	for end := time.Now().Add(watchdog); ch.Stats().Members != 1 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	c.say("got", ch.Stats().Members)
})

// leave sends three messages and goes, in one way or another.
type leaveArgs struct {
	chanArgs
	How string // detach, exit, kill, close
}

var roleLeave = role("leave", func(c *child, a leaveArgs) {
	ch, err := join[line64](a.chanArgs)
	c.must(err)
	for seq := range uint32(3) {
		c.must(ch.Send(packLine(stamp{1, seq})))
	}
	switch a.How {
	case "detach":
		c.must(ch.Detach())
	case "close":
		c.must(ch.Close())
	case "kill":
		c.must(unix.Kill(os.Getpid(), unix.SIGKILL))
	}
})

// A named channel outlives its processes, and so does what is in it; in
// /dev/shm and in a directory on a disk.
func TestMessagesOutliveTheirSender(t *testing.T) {
	for _, how := range []string{"detach", "exit", "kill", "close"} {
		for _, disk := range []bool{false, true} {
			for _, spsc := range []bool{false, true} {
				a := chanArgs{Kind: "line", Cap: 4, SPSC: spsc}
				if disk {
					a.Dir = t.TempDir()
				}
				t.Run(a.String()+"/"+how+map[bool]string{true: "/disk"}[disk], func(t *testing.T) {
					outlive(t, a, how)
				})
			}
		}
	}
}

func outlive(t *testing.T, a chanArgs, how string) {
	a.Name = uniqueName(t)
	p := spawn(t, roleLeave, leaveArgs{a, how})
	<-p.done
	if how != "kill" {
		p.wait()
	}
	if a.Dir != "" {
		if _, err := os.Stat(filepath.Join(a.Dir, a.Name)); err != nil {
			t.Errorf("the file of the channel: %v", err)
		}
	}
	// attach needs neither capacity nor mode
	ch, err := channel.Attach[line64](a.Name, channel.Dir(dirOr(a.Dir)))
	if err != nil {
		t.Fatal(err)
	}
	defer ch.Detach()
	if ch.Cap() != a.Cap || ch.Len() != 3 {
		t.Errorf("Cap %d, Len %d", ch.Cap(), ch.Len())
	}
	if s := ch.Stats(); s.Members != 1 || s.Senders != 0 {
		t.Errorf("the dead count: %+v", s)
	}
	for seq := range uint32(3) {
		v, err := ch.TryRecv()
		if err != nil {
			t.Fatal(err)
		}
		if s, err := readLine(v); err != nil || s != (stamp{1, seq}) {
			t.Errorf("got %v, %v, want 1/%d", s, err, seq)
		}
	}
	_, err = ch.TryRecv()
	if want := map[bool]error{true: channel.ErrClosed, false: channel.ErrEmpty}[how == "close"]; !errors.Is(err, want) {
		t.Errorf("after the last: %v, want %v", err, want)
	}
	if how != "close" { // life goes on
		if err := ch.TrySend(packLine(stamp{2, 0})); err != nil {
			t.Errorf("TrySend: %v", err)
		}
	}
	if a.Dir != "" {
		if err := channel.Unlink(a.Name, channel.Dir(a.Dir)); err != nil {
			t.Errorf("Unlink: %v", err)
		}
		if left, _ := os.ReadDir(a.Dir); len(left) != 0 {
			t.Errorf("left in Dir: %v", left)
		}
	}
}

func dirOr(dir string) string {
	if dir == "" {
		return shmDir
	}
	return dir
}

// Unlink forgets the name only; a new channel under it has nothing to do with
// the old one, whose users go on.
func TestUnlinkWhileInUse(t *testing.T) {
	a := chanArgs{Kind: "line", Cap: 2, Name: uniqueName(t)}
	before := mustJoin[line64](t, a)
	old := spawn(t, roleRecv, trafficArgs{chanArgs: a})
	old.expect("ready")
	if err := channel.Unlink(a.Name); err != nil {
		t.Fatal(err)
	}
	if err := channel.Unlink(a.Name); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("second Unlink: %v", err)
	}
	if _, err := channel.Attach[line64](a.Name); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Attach after Unlink: %v", err)
	}
	a.Cap = 3 // no mismatch: it is another channel
	after, err := channel.Create[line64](a.Name, a.Cap)
	if err != nil {
		t.Fatal(err)
	}
	defer after.Detach()
	young := spawn(t, roleRecv, trafficArgs{chanArgs: a})
	young.expect("ready")
	within(t, "sending on both", func() {
		for seq := range uint32(50) {
			if err := errors.Join(before.Send(packLine(stamp{1, seq})), after.Send(packLine(stamp{2, seq}))); err != nil {
				t.Error(err)
				return
			}
		}
	})
	if err := errors.Join(before.Close(), after.Close()); err != nil {
		t.Error(err)
	}
	for from, p := range map[uint32]*proc{1: old, 2: young} {
		var got []uint64
		p.expect("got", &got)
		book := newLedger(t)
		book.add(got, true)
		book.settle(map[uint32]uint32{from: 50})
	}
}
