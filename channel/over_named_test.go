//go:build linux

package channel_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/shmchan/shmchan/channel"
	"github.com/shmchan/shmchan/fallback"
)

// What a system can refuse is taken from child processes: each in a mount namespace
// of its own, or under a seccomp filter. They do what their parent tells them.

// refusal is what a child is to do without.
type refusal struct {
	Shared string // "absent", "file", "read-only", "EPERM", "ENOSYS"; "": nothing
	Queues string // "ENOSYS", "limit"; "": nothing
	Name   string
}

type answer struct {
	Err      string
	NotExist bool
	Exist    bool
	Closed   bool
	Carrier  string // what Carrier says, in words
	Stats    string // and Stats
	Cap      int
	Value    uint64
}

const cannotTakeAway = "cannot take away"

var refusedRole = role("over-refused", func(c *child, r refusal) {
	if err := r.takeAway(); err != nil {
		c.say(cannotTakeAway, err.Error())
		return
	}
	c.say("ready", nil)
	var ch *channel.Chan[uint64]
	for {
		words := strings.Fields(c.hear())
		n := 0
		if len(words) > 1 {
			n, _ = strconv.Atoi(words[1])
		}
		var a answer
		var err error
		var opened *channel.Chan[uint64]
		switch words[0] {
		case "open":
			opened, err = channel.Open[uint64](r.Name, n)
		case "strict":
			opened, err = channel.Open[uint64](r.Name, n, channel.NoFallback())
		case "create":
			opened, err = channel.Create[uint64](r.Name, n)
		case "attach":
			opened, err = channel.Attach[uint64](r.Name)
		case "other":
			_, err = channel.Open[[3]uint64](r.Name, n)
		case "long":
			var long *channel.Chan[[]byte]
			if long, err = channel.Open[[]byte](r.Name, n, channel.MaxMessage(100_000_000)); err == nil {
				a.Carrier, a.Stats = long.Carrier().String(), long.Stats().Carrier.String()
				err = errors.Join(long.Send(make([]byte, 10)), long.Detach())
			}
		case "send":
			err = ch.Send(uint64(n))
		case "recv":
			var ok bool
			if a.Value, ok = ch.Recv(); !ok {
				if err = ch.Err(); err == nil {
					err = channel.ErrClosed
				}
			}
		case "try":
			a.Value, err = ch.TryRecv()
		case "close":
			err = ch.Close()
		case "detach":
			err = ch.Detach()
		case "unlink":
			err = channel.Unlink(r.Name)
		case "end":
			return
		}
		if opened != nil {
			ch = opened
			a.Carrier, a.Stats, a.Cap = ch.Carrier().String(), ch.Stats().Carrier.String(), ch.Cap()
		}
		if err != nil {
			a.Err, a.NotExist, a.Exist = err.Error(), errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrExist)
			a.Closed = errors.Is(err, channel.ErrClosed)
		}
		c.say("did", a)
	}
})

// takeAway does it to this process.
func (r refusal) takeAway() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil && r.Shared != "" {
		return fmt.Errorf("private mounts: %w", err)
	}
	var err error
	var denied []deniedCall
	switch r.Shared {
	case "read-only":
		err = unix.Mount("tmpfs", shmDir, "tmpfs", unix.MS_RDONLY, "")
	case "absent":
		err = unix.Mount("tmpfs", filepath.Dir(shmDir), "tmpfs", 0, "")
	case "file":
		if err = unix.Mount("tmpfs", filepath.Dir(shmDir), "tmpfs", 0, ""); err == nil {
			err = os.WriteFile(shmDir, nil, 0o600)
		}
	case "EPERM":
		denied = append(denied, deniedCall{unix.SYS_FALLOCATE, unix.EPERM}, deniedCall{unix.SYS_LINKAT, unix.EPERM})
	case "ENOSYS":
		denied = append(denied, deniedCall{unix.SYS_FALLOCATE, unix.ENOSYS}, deniedCall{unix.SYS_LINKAT, unix.ENOSYS})
	}
	if err != nil {
		return fmt.Errorf("mount: %w", err)
	}
	switch r.Queues {
	case "ENOSYS":
		denied = append(denied, deniedCall{unix.SYS_MQ_OPEN, unix.ENOSYS})
	case "limit":
		if err := unix.Setrlimit(unix.RLIMIT_MSGQUEUE, &unix.Rlimit{}); err != nil {
			return fmt.Errorf("setrlimit: %w", err)
		}
	}
	return deny(denied)
}

type deniedCall struct {
	nr    uintptr
	errno unix.Errno
}

// deny installs a seccomp filter on all threads: seccomp(2).
func deny(calls []deniedCall) error {
	if len(calls) == 0 {
		return nil
	}
	if runtime.GOARCH != "amd64" && runtime.GOARCH != "arm64" {
		return errors.New("the filter looks at the numbers of one architecture")
	}
	filter := []unix.SockFilter{{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}} // seccomp_data.nr
	for _, c := range calls {
		filter = append(filter,
			unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: uint32(c.nr), Jf: 1},
			unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(c.errno)})
	}
	filter = append(filter, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW})
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("prctl: %w", err)
	}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&prog)))
	if errno != 0 {
		return fmt.Errorf("seccomp: %w", errno)
	}
	return nil
}

// spawnRefused starts such a child; skips where that is not allowed.
func spawnRefused(t *testing.T, r refusal) *proc {
	t.Helper()
	p, err := start(t, refusedRole, r, withSys(func(a *syscall.SysProcAttr) {
		a.Cloneflags |= unix.CLONE_NEWNS
		if uid := os.Geteuid(); uid != 0 {
			a.Cloneflags |= unix.CLONE_NEWUSER
			a.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: uid, Size: 1}}
			a.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
		}
	}))
	if err != nil {
		t.Skipf("no mount namespace to be had here: %v", err)
	}
	e, ok := p.next()
	if !ok {
		<-p.done
		t.Fatalf("child ended (%v)%s", p.err, p.story())
	}
	if e.Name == cannotTakeAway {
		t.Skipf("%s: %s", e.Name, e.Data)
	}
	require.Equal(t, "ready", e.Name)
	return p
}

// ask tells the child to do something and gives its answer.
func (p *proc) ask(what string) (a answer) {
	p.t.Helper()
	p.tell(what)
	p.expect("did", &a)
	return a
}

// good is ask that must succeed.
func (p *proc) good(what string) answer {
	p.t.Helper()
	a := p.ask(what)
	require.Empty(p.t, a.Err, what)
	return a
}

var refusals = []struct {
	shared, queues string
	want           fallback.Kind
}{
	{"absent", "", fallback.KindMQ},
	{"file", "", fallback.KindMQ},
	{"read-only", "", fallback.KindMQ},
	{"EPERM", "", fallback.KindMQ},
	{"ENOSYS", "", fallback.KindMQ},
	{"read-only", "ENOSYS", fallback.KindFIFO},
	{"absent", "ENOSYS", fallback.KindFIFO},
	{"read-only", "limit", fallback.KindFIFO},
	{"", "ENOSYS", fallback.KindShared},
}

func overName(t *testing.T) string {
	name := uniqueName(t)
	t.Cleanup(func() { // whatever became of the test
		fallback.UnlinkQueue(name)
		os.Remove("/tmp/shmchan." + name)
	})
	return name
}

func TestOverANameFallsBackToTheNextCarrierAndBothSidesMeet(t *testing.T) {
	for _, k := range refusals {
		t.Run(k.shared+","+k.queues, func(t *testing.T) {
			r := refusal{k.shared, k.queues, overName(t)}
			one, two := spawnRefused(t, r), spawnRefused(t, r)
			a := one.ask("attach")
			require.True(t, a.NotExist, "%+v", a)
			if k.want != fallback.KindShared {
				a = one.ask("strict 4")
				require.NotEmpty(t, a.Err, "NoFallback refuses")
				a = one.ask("open 0")
				require.NotEmpty(t, a.Err, "a rendezvous needs shared memory")
			}
			a = one.good("open 4")
			require.Equal(t, k.want.String(), a.Carrier)
			require.Equal(t, k.want.String(), a.Stats)
			b := two.good("attach")
			require.Equal(t, k.want.String(), b.Carrier)
			two.good("detach")
			b = two.good("open 4")
			require.Equal(t, a, b)
			b = two.ask("create 4")
			require.True(t, b.Exist, "%+v", b)
			for i := range 5 {
				one.good(fmt.Sprint("send ", i))
				require.EqualValues(t, i, two.good("recv").Value)
			}
			one.good("send 7")
			one.good("close")
			require.True(t, one.ask("close").Closed)
			require.True(t, two.ask("send 1").Closed)
			require.EqualValues(t, 7, two.good("recv").Value)
			require.True(t, two.ask("recv").Closed)
			require.True(t, two.ask("try").Closed)
			one.good("detach")
			one.good("open 4")
			require.True(t, one.ask("send 1").Closed, "it stays closed for those who come later")
			one.good("unlink")
			require.True(t, one.ask("unlink").NotExist)
			require.True(t, two.ask("attach").NotExist)
			require.Equal(t, k.want.String(), two.good("create 4").Carrier)
			two.good("send 1")
			two.good("unlink")
			one.tell("end")
			two.tell("end")
			one.wait()
			two.wait()
		})
	}
}

func TestOverMessagesThatNoQueueTakesGoThroughAFIFO(t *testing.T) {
	p := spawnRefused(t, refusal{"read-only", "", overName(t)})
	a := p.good("long 4")
	require.Equal(t, fallback.KindFIFO.String(), a.Carrier)
	require.Equal(t, fallback.KindFIFO.String(), a.Stats)
	p.good("unlink")
}

func TestOverAnotherTOnAQueueIsAMismatchAtOpening(t *testing.T) {
	p := spawnRefused(t, refusal{"read-only", "", overName(t)})
	p.good("open 4")
	a := p.ask("other 4")
	require.Contains(t, a.Err, "the type differs")
	a = p.ask("open 2")
	require.Contains(t, a.Err, "the capacity differs")
	p.good("unlink")
}

func TestOverWhoHasSharedMemoryMeetsWhoHasNotIfThatOneCameFirst(t *testing.T) {
	name := overName(t)
	p := spawnRefused(t, refusal{"read-only", "", name})
	p.good("open 4")
	c := semOpen[uint64](t, name, 4)
	require.Equal(t, fallback.KindMQ, c.Carrier())
	require.Equal(t, 4, c.Cap())
	require.Equal(t, name, c.Name())
	semFill(t, c, 1, 2, 3, 4)
	require.Equal(t, 4, c.Len())
	require.ErrorIs(t, c.TrySend(5), channel.ErrFull)
	for i := range uint64(4) {
		require.Equal(t, i+1, p.good("recv").Value)
	}
	_, err := channel.Create[uint64](name, 4)
	semIs(t, err, fs.ErrExist, "message queue")
	other, err := channel.Open[uint64](name, 4, channel.NoFallback())
	require.NoError(t, err)
	require.Equal(t, fallback.KindShared, other.Carrier())
	require.NoError(t, other.Detach())
	require.NoError(t, channel.Unlink(name)) // both
	require.ErrorIs(t, channel.Unlink(name), fs.ErrNotExist)
	_, err = channel.Attach[uint64](name)
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func TestOverAForeignQueueIsLeftAlone(t *testing.T) {
	name := overName(t)
	q, err := fallback.OpenQueue(name, os.O_RDWR|os.O_CREATE, 0o600, nil)
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip(err)
	}
	require.NoError(t, err)
	defer q.Close()
	p := spawnRefused(t, refusal{"read-only", "", name})
	a := p.ask("open 4")
	require.Contains(t, a.Err, "no channel")
	require.True(t, p.ask("unlink").NotExist)
	attr, err := q.Attr()
	require.NoError(t, err)
	require.Zero(t, attr.Messages)

	c := semOpen[uint64](t, name, 4) // who has shared memory does not care
	require.Equal(t, fallback.KindShared, c.Carrier())
	require.NoError(t, channel.Unlink(name))
	require.NoError(t, fallback.UnlinkQueue(name), "Unlink left the queue")
}

func TestOverAReceiverOfAFIFOKeepsItsSeatUntilItEnds(t *testing.T) {
	r := refusal{"read-only", "ENOSYS", overName(t)}
	one, two := spawnRefused(t, r), spawnRefused(t, r)
	one.good("open 4")
	two.good("open 4")
	one.good("send 1")
	one.good("send 2")
	require.EqualValues(t, 1, one.good("recv").Value)
	require.Contains(t, two.ask("recv").Err, "busy")
	one.kill()
	require.EqualValues(t, 2, two.good("recv").Value)
	two.good("unlink")
}

func TestOverKilledProcessesLeaveTheQueueToTheOthers(t *testing.T) {
	r := refusal{"read-only", "", overName(t)}
	one, two, three := spawnRefused(t, r), spawnRefused(t, r), spawnRefused(t, r)
	one.good("open 4")
	two.good("open 4")
	three.good("open 4")
	one.good("send 1")
	one.good("send 2")
	one.kill()
	two.tell("recv")
	var a answer
	two.expect("did", &a)
	require.EqualValues(t, 1, a.Value)
	three.good("close")
	three.kill()
	require.EqualValues(t, 2, two.good("recv").Value)
	require.True(t, two.ask("recv").Closed)
	two.good("unlink")
}
