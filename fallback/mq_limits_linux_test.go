package fallback

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// mqIn runs a role in namespaces of its own. It skips where that is not permitted.
func mqIn(t *testing.T, namespaces uintptr, role string, args ...string) {
	t.Helper()
	mqGuard(t)
	cmd := exec.Command(os.Args[0])
	cmd.Args = append(cmd.Args, args...)
	cmd.Env = append(os.Environ(), "SHMCHAN_ROLE="+role)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: namespaces}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EINVAL) {
		t.Skip("namespaces cannot be made here (not root, or emulated):", err)
	}
	require.NoError(t, err, "%s", out)
}

// mqAssert ends a role that has found something wrong.
func mqAssert(ok bool, format string, args ...any) {
	if !ok {
		fmt.Fprintf(os.Stderr, format+"\n", args...)
		os.Exit(1)
	}
}

// mqBecomeNobody gives up all privilege, for a user who has made no queue yet.
func mqBecomeNobody() {
	var b [4]byte
	_, _ = rand.Read(b[:])
	uid := 100_000 + int(binary.NativeEndian.Uint32(b[:])%1_000_000_000)
	mqMust(syscall.Setgroups(nil))
	mqMust(syscall.Setresgid(uid, uid, uid))
	mqMust(syscall.Setresuid(uid, uid, uid))
}

// mqRefused makes a queue, which must fail by a limit.
func mqRefused(attr *QueueAttr, errno error, limit string, value, asked uint64) {
	_, err := OpenQueue("/shmchan-refused-"+rand.Text(), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600, attr)
	mqAssert(errors.Is(err, errno), "%v is not %v", err, errno)
	var limited *QueueLimitError
	mqAssert(errors.As(err, &limited), "%v names no limit", err)
	mqAssert(limited.Limit == limit && limited.Value == value && limited.Asked == asked,
		"%+v, expected %s %d %d", *limited, limit, value, asked)
	mqAssert(strings.Contains(err.Error(), limit+" is "+strconv.FormatUint(value, 10)), "%v", err)
}

func init() {
	roles["mqHardLimits"] = func() {
		for _, a := range []QueueAttr{{MaxMessages: 65537, MessageSize: 1}, {MaxMessages: 1 << 30, MessageSize: 1}} {
			mqRefused(&a, unix.EINVAL, "HARD_MSGMAX", 65536, uint64(a.MaxMessages))
		}
		mqRefused(&QueueAttr{MaxMessages: 1, MessageSize: 16<<20 + 1}, unix.EINVAL, "HARD_MSGSIZEMAX", 16<<20, 16<<20+1)
	}
	roles["mqLimits"] = func() {
		if len(os.Args) > 1 {
			mqBecomeNobody()
		}
		l, err := ReadQueueLimits()
		mqMust(err)
		for _, n := range []int{l.MaxMessages + 1, 1 << 30} {
			mqRefused(&QueueAttr{MaxMessages: n, MessageSize: 1}, unix.EINVAL, "msg_max", uint64(l.MaxMessages), uint64(n))
		}
		mqRefused(&QueueAttr{MaxMessages: 1, MessageSize: l.MaxMessageSize + 1}, unix.EINVAL,
			"msgsize_max", uint64(l.MaxMessageSize), uint64(l.MaxMessageSize+1))
	}
	roles["mqRlimit"] = func() {
		exact := len(os.Args) > 1
		if exact {
			mqBecomeNobody()
		}
		a := QueueAttr{MaxMessages: 3, MessageSize: 100}
		setLimit := func(resource int, n uint64) {
			mqMust(unix.Setrlimit(resource, &unix.Rlimit{Cur: n, Max: n}))
		}
		if exact {
			setLimit(unix.RLIMIT_MSGQUEUE, a.Bytes())
			name := "/shmchan-fits-" + rand.Text()
			q, err := OpenQueue(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600, &a)
			mqMust(err)
			mqMust(UnlinkQueue(name))
			mqMust(q.Close())
		}
		setLimit(unix.RLIMIT_MSGQUEUE, a.Bytes()-1)
		mqRefused(&a, unix.EMFILE, "RLIMIT_MSGQUEUE", a.Bytes()-1, a.Bytes())
		l, err := ReadQueueLimits()
		mqMust(err)
		mqAssert(l.Bytes == a.Bytes()-1 && l.MaxBytes == l.Bytes, "%+v", l)
		mqRefused(nil, unix.EMFILE, "RLIMIT_MSGQUEUE", a.Bytes()-1,
			QueueAttr{MaxMessages: l.DefaultMessages, MessageSize: l.DefaultMessageSize}.Bytes())

		setLimit(unix.RLIMIT_NOFILE, 0)
		mqRefused(&a, unix.EMFILE, "RLIMIT_NOFILE", 0, 0)
		_, err = OpenQueue("/shmchan-absent-"+rand.Text(), os.O_RDWR, 0, nil)
		var limited *QueueLimitError
		mqAssert(errors.As(err, &limited) && limited.Limit == "RLIMIT_NOFILE", "%v", err)
	}
	roles["mqQueuesMax"] = func() { // in an IPC namespace of its own
		if err := os.WriteFile(mqProc+"queues_max", []byte("1"), 0); err != nil {
			fmt.Println("cannot set queues_max:", err)
			return
		}
		mqBecomeNobody()
		name := "/shmchan-first-" + rand.Text()
		q, err := OpenQueue(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600, &mqSmall)
		mqMust(err)
		mqRefused(&mqSmall, unix.ENOSPC, "queues_max", 1, 0)
		mqMust(UnlinkQueue(name))
		mqMust(q.Close())
	}
	roles["mqList"] = func() { // in an IPC and a mount namespace
		dir := os.Args[1]
		mqMust(unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""))
		mqMust(unix.Mount("mqueue", dir, "mqueue", 0, ""))
		found, err := QueueMount()
		mqMust(err)
		mqAssert(found == dir, "found %q, mounted %q", found, dir)
		queues, err := ListQueues("")
		mqMust(err)
		mqAssert(len(queues) == 0, "%+v", queues)

		made := make([]*Queue, 2)
		for i, name := range []string{"/second", "/first"} {
			made[i], err = OpenQueue(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o640, &mqSmall)
			mqMust(err)
			mqMust(made[i].Send(forever, []byte("seven b"), uint(i)))
		}
		n, err := made[1].Notify()
		mqMust(err)
		queues, err = ListQueues("")
		mqMust(err)
		mqAssert(len(queues) == 2 && queues[0].Name == "/first" && queues[1].Name == "/second", "%+v", queues)
		full := queues[0]
		mqAssert(full.Readable && full.Mode == 0o640 && full.UID == 0 && !full.Modified.IsZero(), "%+v", full)
		mqAssert(full.Notify == 2 && full.NotifyPID == os.Getpid(), "%+v", full)
		mqAssert(full.Attr == QueueAttr{MaxMessages: 3, MessageSize: 64, Messages: 1}, "%+v", full)
		mqAssert(queues[1].NotifyPID == 0, "%+v", queues[1])

		// To look costs the process its registration, and Wait mends it.
		_, _, err = made[1].Receive(forever, nil)
		mqMust(err)
		mqMust(made[1].Send(forever, nil, 0))
		mqMust(n.Wait(forever))

		mqBecomeNobody()
		queues, err = ListQueues(dir)
		mqMust(err)
		mqAssert(len(queues) == 2 && !queues[0].Readable && queues[0].Attr == QueueAttr{}, "%+v", queues)
	}
}

func TestMQReadLimits(t *testing.T) {
	l, err := ReadQueueLimits()
	require.NoError(t, err)
	require.Positive(t, l.MaxMessages)
	require.Positive(t, l.MaxMessageSize)
	require.Positive(t, l.DefaultMessages)
	require.LessOrEqual(t, l.DefaultMessages, l.MaxMessages)
	require.LessOrEqual(t, l.DefaultMessageSize, l.MaxMessageSize)
	require.LessOrEqual(t, l.Bytes, l.MaxBytes)
}

func TestMQBeyondALimitIsAnErrorThatNamesIt(t *testing.T) {
	privilege := "drop it"
	if os.Geteuid() != 0 {
		privilege = "" // there is none to drop
	}
	t.Run("hard", func(t *testing.T) {
		if !mqMayPass() {
			t.Skip("without CAP_SYS_RESOURCE msg_max and msgsize_max come first")
		}
		mqStart(t, "mqHardLimits", nil).finish(t)
	})
	t.Run("RLIMIT_MSGQUEUE, as we are", func(t *testing.T) { mqStart(t, "mqRlimit", nil).finish(t) })
	args := []string{privilege}[:min(1, len(privilege))]
	t.Run("msg_max", func(t *testing.T) { mqStart(t, "mqLimits", nil, args...).finish(t) })
	t.Run("RLIMIT_MSGQUEUE", func(t *testing.T) { mqStart(t, "mqRlimit", nil, args...).finish(t) })
	t.Run("queues_max", func(t *testing.T) { mqIn(t, unix.CLONE_NEWIPC, "mqQueuesMax") })
}

func TestMQListing(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	dir = filepath.Join(dir, "with a blank")
	require.NoError(t, os.Mkdir(dir, 0o755))
	require.NoError(t, os.Chmod(filepath.Dir(dir), 0o755))
	require.NoError(t, os.Chmod(filepath.Dir(filepath.Dir(dir)), 0o755))
	mqIn(t, unix.CLONE_NEWIPC|unix.CLONE_NEWNS, "mqList", dir)
	_, err = ListQueues(dir)
	require.ErrorIs(t, err, fs.ErrInvalid, "it was mounted in another namespace: here it is any directory")
	_, err = ListQueues(dir + "/absent")
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func TestMQFindsTheMount(t *testing.T) {
	for info, want := range map[string]string{
		"":                                 "",
		"21 1 0:20 / /proc rw - proc p rw": "",
		"33 22 0:17 / /dev/mqueue rw,nosuid shared:14 - mqueue mqueue rw\n41 22 0:20 / /x rw - tmpfs mqueue rw": "/dev/mqueue",
		"33 22 0:17 / /dev/mqueue rw - mqueue none rw\n34 22 0:17 / /a\\040b\\134 rw - mqueue none rw":          `/a b\`,
		"33 22 0:17 /one /dev/one rw - mqueue none rw":                                                          "",
		"33 22 - mqueue":                                "",
		" - mqueue none rw":                             "",
		"33 22 0:17 / /odd\\04 rw - mqueue none rw":     `/odd\04`,
		"33 22 0:17 / /odd\\999end rw - mqueue none rw": `/odd\999end`,
	} {
		dir, err := mqMount(strings.NewReader(info))
		require.NoError(t, err)
		require.Equal(t, want, dir, "%q", info)
	}
}

func TestMQTextOfAQueue(t *testing.T) {
	i := QueueInfo{Name: "/q"}
	require.NoError(t, i.parse("QSIZE:129        NOTIFY:2    SIGNO:5     NOTIFY_PID:8260  \n"))
	require.Equal(t, QueueInfo{Name: "/q", Bytes: 129, Notify: 2, Signal: 5, NotifyPID: 8260}, i)
	require.NoError(t, i.parse("QSIZE:1 NEW:x"))
	require.ErrorIs(t, i.parse(""), ErrFrame)
	require.ErrorIs(t, i.parse("hello"), ErrFrame)
	require.Error(t, i.parse("QSIZE:many"))
}
