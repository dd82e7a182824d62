package channel_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/shmchan/shmchan/channel"
	"github.com/shmchan/shmchan/fallback"
)

type setupArgs struct {
	Path, Mount string // Mount: an empty file system over these directories first
	NoProc      bool
}

var roleDial = role("setup-dial", func(c *child, a setupArgs) {
	for _, dir := range []string{a.Mount, map[bool]string{true: "/proc"}[a.NoProc]} {
		if dir == "" {
			continue
		}
		err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
		if err == nil {
			err = unix.Mount("tmpfs", dir, "tmpfs", 0, "")
		}
		if err != nil {
			c.say("skip", err.Error())
			return
		}
	}
	ctx, cancel := context.WithTimeout(bg, watchdog)
	defer cancel()
	ch, err := channel.Dial[string](ctx, a.Path)
	c.must(err)
	c.say("joined", os.Getuid())
	for {
		s, ok := ch.Recv()
		if !ok {
			c.must(ch.Err())
			c.must(ch.Detach())
			return
		}
		c.must(ch.Send("re: " + s))
	}
})

func setupTalk(t *testing.T, path string, a setupArgs, opts ...spawnOption) {
	l := setupListen[string](t, path, 0, channel.Perm(0o666), channel.HangUp())
	a.Path = path
	p, err := start(t, roleDial, a, opts...)
	if err != nil {
		t.Skipf("no such child here: %v", err)
	}
	e, ok := p.next()
	if ok && e.Name == "skip" {
		t.Skipf("cannot mount here: %s", e.Data)
	}
	if !ok || e.Name != "joined" {
		t.Fatalf("child says %q %s%s", e.Name, e.Data, p.story())
	}
	c, peer := setupAccept(t, l)
	require.Equal(t, p.cmd.Process.Pid, peer.PID)
	within(t, "talking", func() {
		for i := range 100 {
			if err := c.Send(fmt.Sprint(i)); err != nil {
				t.Error(err)
				return
			}
			if s, _ := c.Recv(); s != fmt.Sprint("re: ", i) {
				t.Errorf("%q came", s)
				return
			}
		}
	})
	require.NoError(t, c.Close())
	p.wait()
}

func TestSetupWithAnotherUser(t *testing.T) {
	needRoot(t)
	setupTalk(t, setupPath(t), setupArgs{}, asNobody())
}

func TestSetupWithAProcessInASandbox(t *testing.T) {
	for _, a := range []setupArgs{{Mount: shmDir}, {NoProc: true}, {Mount: shmDir, NoProc: true}} {
		t.Run(fmt.Sprintf("shm=%q proc=%v", a.Mount, !a.NoProc), func(t *testing.T) {
			setupTalk(t, setupPath(t), a, withSys(func(s *syscall.SysProcAttr) {
				s.Cloneflags = unix.CLONE_NEWNS | unix.CLONE_NEWIPC | unix.CLONE_NEWPID
				if os.Geteuid() != 0 {
					s.Cloneflags |= unix.CLONE_NEWUSER
					s.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
					s.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
				}
			}))
		})
	}
}

var roleDialSend = role("setup-dial-send", func(c *child, a setupArgs) {
	ch, err := channel.Dial[string](bg, a.Path)
	c.must(err)
	c.must(ch.Send("x"))
	c.hear() // until it is killed
})

func TestTheDeathOfAnotherUsersProcessIsNoticed(t *testing.T) {
	needRoot(t)
	path := setupPath(t)
	l := setupListen[string](t, path, 4, channel.Perm(0o666), channel.HangUp())
	p := spawn(t, roleDialSend, setupArgs{Path: path}, asNobody())
	c, peer := setupAccept(t, l)
	require.Equal(t, fallback.Credentials{PID: p.cmd.Process.Pid, UID: 65534, GID: 65534}, peer)
	got := semRecv(c).wait()
	require.NoError(t, got.err)
	require.Equal(t, "x", got.v)
	last := semRecv(c)
	p.kill()
	require.ErrorIs(t, last.wait().err, channel.ErrPeerLost)
}

func TestASocketThatIsNotForAllIsNotForNobody(t *testing.T) {
	needRoot(t)
	path := setupPath(t)
	setupListen[string](t, path, 4)
	p := spawn(t, roleDialRefused, setupArgs{Path: path}, asNobody())
	p.expect("refused")
	p.wait()
}

var roleDialRefused = role("setup-dial-refused", func(c *child, a setupArgs) {
	if _, err := channel.Dial[string](bg, a.Path); !errors.Is(err, fs.ErrPermission) {
		c.fatalf("Dial: %v, want fs.ErrPermission", err)
	}
	c.say("refused", nil)
})

type setupStrangerArgs struct {
	Path, Does string
}

var roleSetupStranger = role("setup-stranger", func(c *child, a setupStrangerArgs) {
	conn, err := net.Dial("unixpacket", a.Path)
	c.must(err)
	hello := helloOf[string](c)
	switch a.Does {
	case "says nothing":
	case "sends junk":
		_, err = conn.Write([]byte("junk"))
	case "sends descriptors":
		err = fallback.SendRights(conn.(*net.UnixConn), hello, os.Stdin, os.Stdout, os.Stderr)
	case "says hello", "says hello and takes what comes":
		_, err = conn.Write(hello)
	}
	c.must(err)
	if a.Does == "says hello and takes what comes" {
		_, files, err := fallback.ReceiveRights(conn.(*net.UnixConn), make([]byte, 4096), 2)
		c.must(err)
		c.say("got", len(files))
	}
	c.say("there", nil)
	c.hear() // until it is killed
})

func helloOf[T any](c *child) []byte {
	dir, err := os.MkdirTemp("", "shmchan")
	c.must(err)
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "socket")
	l, err := net.Listen("unixpacket", path)
	c.must(err)
	defer l.Close()
	heard := make(chan []byte, 1)
	go func() {
		defer close(heard)
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		b := make([]byte, 4096)
		n, _ := conn.Read(b)
		heard <- b[:n]
	}()
	if _, err := channel.Dial[T](bg, path); !errors.Is(err, channel.ErrPeerLost) {
		c.fatalf("Dial of one that leaves: %v", err)
	}
	return <-heard
}

func TestStrangersInOtherProcessesAreDroppedWhileOthersAreServed(t *testing.T) {
	for _, s := range []struct {
		does string
		want error // without being killed
	}{
		{"says nothing", os.ErrDeadlineExceeded},
		{"sends junk", fallback.ErrFrame},
		{"sends descriptors", fallback.ErrFrame},
		{"says hello", os.ErrDeadlineExceeded},
		{"says hello and takes what comes", os.ErrDeadlineExceeded},
	} {
		for _, killed := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/killed=%v", s.does, killed), func(t *testing.T) {
				path, refused, limit := setupPath(t), make(told, 10), 2*time.Second
				if killed {
					limit = time.Hour
				}
				l := setupListen[string](t, path, 4, refused.option(), channel.HandshakeTimeout(limit))
				p := spawn(t, roleSetupStranger, setupStrangerArgs{path, s.does})
				if s.does == "says hello and takes what comes" {
					var files int
					p.expect("got", &files)
					require.Equal(t, 2, files)
				}
				p.expect("there")
				good := spawn(t, roleDialSend, setupArgs{Path: path}) // meanwhile
				c, peer := setupAccept(t, l)
				require.Equal(t, good.cmd.Process.Pid, peer.PID)
				got := semRecv(c).wait()
				require.NoError(t, got.err)
				require.Equal(t, "x", got.v)
				if killed {
					p.kill()
				}
				err := refused.next(t)
				if !killed {
					require.ErrorIs(t, err, s.want)
					p.kill()
				}
				good.kill()
				require.NoError(t, c.Detach())
				require.NoError(t, l.Close())
				require.Empty(t, refused)
			})
		}
	}
}
