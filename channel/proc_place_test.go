//go:build linux

package channel_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/shmchan/shmchan/channel"
	"golang.org/x/sys/unix"
)

// Where names live: their modes, full file systems, foreign users.

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can start a child as somebody else")
	}
}

// asNobody runs the child as a user without rights. The way to this binary may
// be closed to it, the inherited link is not.
func asNobody() spawnOption {
	return func(c *execCmd) {
		c.Path = "/proc/self/exe"
		c.SysProcAttr.Credential = &syscall.Credential{Uid: 65534, Gid: 65534}
		c.Dir = "/"
	}
}

type strangerArgs struct {
	chanArgs
	Want string // name of the error that Open and Attach give
}

var roleStranger = role("stranger", func(c *child, a strangerArgs) {
	opts := a.options()
	for what, open := range map[string]func() (*channel.Chan[uint64], error){
		"Open":   func() (*channel.Chan[uint64], error) { return channel.Open[uint64](a.Name, a.Cap, opts...) },
		"Attach": func() (*channel.Chan[uint64], error) { return channel.Attach[uint64](a.Name, opts...) },
	} {
		ch, err := open()
		switch {
		case a.Want == "" && err != nil:
			c.fatalf("%s: %v", what, err)
		case a.Want == "permission" && !errors.Is(err, fs.ErrPermission):
			c.fatalf("%s: %v, want fs.ErrPermission", what, err)
		}
		if err == nil {
			c.must(ch.Send(uint64(os.Getuid())))
			c.must(ch.Detach())
		}
	}
	if a.Want == "permission" {
		if err := channel.Unlink(a.Name, opts...); !errors.Is(err, fs.ErrPermission) {
			c.fatalf("Unlink: %v, want fs.ErrPermission", err)
		}
	}
	c.say("done", nil)
})

func TestNoPermission(t *testing.T) {
	needRoot(t)
	for _, perm := range []fs.FileMode{0o600, 0o000, 0o444, 0o660} {
		t.Run(fmt.Sprintf("%#o", perm), func(t *testing.T) {
			name := uniqueName(t)
			ch, err := channel.Create[uint64](name, 4, channel.Perm(perm))
			if err != nil {
				t.Fatal(err)
			}
			defer ch.Detach()
			p := spawn(t, roleStranger, strangerArgs{chanArgs{Name: name, Cap: 4}, "permission"}, asNobody())
			p.wait()
		})
	}
}

func TestNoPermissionInDirectory(t *testing.T) {
	needRoot(t)
	dir, err := os.MkdirTemp("", "shmchan") // t.TempDir is closed to nobody
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	p := spawn(t, roleNoCreate, chanArgs{Name: newName(t.Name()), Cap: 1, Dir: dir}, asNobody())
	p.wait()
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left in the directory: %v", left)
	}
}

var roleNoCreate = role("no-create", func(c *child, a chanArgs) {
	if _, err := channel.Create[uint64](a.Name, a.Cap, a.options()...); !errors.Is(err, fs.ErrPermission) {
		c.fatalf("Create: %v", err)
	}
	if _, err := channel.Open[uint64](a.Name, a.Cap, a.options()...); !errors.Is(err, fs.ErrPermission) {
		c.fatalf("Open: %v", err)
	}
})

// Users that may, do: also where fs.protected_regular forbids to open another
// user's file in a sticky directory with O_CREAT.
func TestPermissionForOthers(t *testing.T) {
	needRoot(t)
	a := chanArgs{Name: uniqueName(t), Cap: 4}
	ch, err := channel.Create[uint64](a.Name, a.Cap, channel.Perm(0o666))
	if err != nil {
		t.Fatal(err)
	}
	defer ch.Detach()
	spawn(t, roleStranger, strangerArgs{chanArgs: a}, asNobody()).wait()
	for range 2 {
		if v, err := ch.TryRecv(); err != nil || v != 65534 {
			t.Errorf("TryRecv: %d, %v", v, err)
		}
	}

	theirs := chanArgs{Name: uniqueName(t), Cap: 4}
	p := spawn(t, roleOwner, permArgs{theirs, 0o666, 0}, asNobody())
	p.expect("created")
	joined, err := channel.Open[uint64](theirs.Name, theirs.Cap)
	if err != nil {
		t.Fatal(err)
	}
	defer joined.Detach()
	if v, err := joined.TryRecv(); err != nil || v != 1 {
		t.Errorf("TryRecv: %d, %v", v, err)
	}
}

type permArgs struct {
	chanArgs
	Perm  fs.FileMode
	Umask int
}

var roleOwner = role("owner", func(c *child, a permArgs) {
	unix.Umask(a.Umask)
	opts := a.options()
	if a.Perm != 0 {
		opts = append(opts, channel.Perm(a.Perm))
	}
	ch, err := channel.Create[uint64](a.Name, a.Cap, opts...)
	c.must(err)
	c.must(ch.Send(1))
	c.say("created", nil)
})

func TestPermIsExactWhateverTheUmask(t *testing.T) {
	for _, umask := range []int{0, 0o022, 0o077, 0o777} {
		for _, perm := range []fs.FileMode{0, 0o600, 0o640, 0o666, 0o777, 0o400} {
			for _, disk := range []bool{false, true} {
				a := chanArgs{Name: uniqueName(t), Cap: 2}
				if disk {
					a.Dir = t.TempDir()
				}
				spawn(t, roleOwner, permArgs{a, perm, umask}).wait()
				info, err := os.Stat(filepath.Join(dirOr(a.Dir), a.Name))
				if err != nil {
					t.Fatal(err)
				}
				want := perm
				if perm == 0 {
					want = 0o600 // the default
				}
				if info.Mode() != want {
					t.Errorf("umask %03o, Perm(%#o), dir %q: mode %v, want %v", umask, perm, a.Dir, info.Mode(), want)
				}
			}
		}
	}
}

type tmpfsArgs struct {
	Dir string
}

// A file system of 1 MiB: what does not fit is an error at creation, with
// nothing left behind, and what does fit works to the last byte.
var roleTinyTmpfs = role("tiny-tmpfs", func(c *child, a tmpfsArgs) {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		c.say("skip", err.Error())
		return
	}
	if err := unix.Mount("tmpfs", a.Dir, "tmpfs", 0, "size=1m"); err != nil {
		c.say("skip", err.Error())
		return
	}
	dir := channel.Dir(a.Dir)
	names := func() (n []string) {
		entries, err := os.ReadDir(a.Dir)
		c.must(err)
		for _, e := range entries {
			n = append(n, e.Name())
		}
		return n
	}
	refused := func(what string, err error, left int) {
		if !errors.Is(err, unix.ENOSPC) {
			c.fatalf("%s: %v, want ENOSPC", what, err)
		}
		if got := names(); len(got) != left {
			c.fatalf("%s left %v, want %d names", what, got, left)
		}
		var fsys unix.Statfs_t
		c.must(unix.Statfs(a.Dir, &fsys))
		if left == 0 && fsys.Bfree != fsys.Blocks {
			c.fatalf("%s keeps blocks: %+v", what, fsys)
		}
	}
	_, err := channel.Create[page5000]("big", 1000, dir)
	refused("Create", err, 0)
	_, err = channel.Open[page5000]("big", 1000, dir)
	refused("Open", err, 0)
	_, err = channel.Open[[]byte]("big", 1000, dir) // 16 MiB of Space
	refused("Open []byte", err, 0)
	_, err = channel.Create[page5000]("big", 1000, dir, channel.SPSC())
	refused("Create SPSC", err, 0)

	var open []*channel.Chan[line64]
	for {
		ch, err := channel.Create[line64](fmt.Sprint("c", len(open)), 100, dir)
		if err != nil {
			refused("the last Create", err, len(open))
			break
		}
		open = append(open, ch)
	}
	if len(open) < 3 || len(open) > 1<<20/6400 {
		c.fatalf("%d channels of 6400 bytes and more in 1 MiB", len(open))
	}
	for i, ch := range open { // every page is there: no SIGBUS
		for seq := range uint32(100) {
			c.must(ch.TrySend(packLine(stamp{uint32(i), seq})))
		}
	}
	for i, ch := range open {
		for seq := range uint32(100) {
			v, err := ch.TryRecv()
			c.must(err)
			if s, err := readLine(v); err != nil || s != (stamp{uint32(i), seq}) {
				c.fatalf("got %v, %v", s, err)
			}
		}
		c.must(ch.Detach())
		c.must(channel.Unlink(fmt.Sprint("c", i), dir))
	}
	if got := names(); len(got) != 0 {
		c.fatalf("left: %v", got)
	}
	c.say("done", nil)
})

func TestFullFileSystem(t *testing.T) {
	p, err := start(t, roleTinyTmpfs, tmpfsArgs{t.TempDir()}, withSys(func(s *syscall.SysProcAttr) {
		s.Cloneflags = syscall.CLONE_NEWNS
		if os.Geteuid() != 0 {
			s.Cloneflags |= syscall.CLONE_NEWUSER
			s.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
			s.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
		}
	}))
	if err != nil {
		t.Skipf("no mount namespace here: %v", err)
	}
	e, ok := p.next()
	if ok && e.Name == "skip" {
		t.Skipf("cannot mount a tmpfs here: %s", e.Data)
	}
	p.wait()
	if e.Name != "done" {
		t.Errorf("child says %q", e.Name)
	}
}
