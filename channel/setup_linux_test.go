package channel_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shmchan/shmchan/channel"
	"github.com/shmchan/shmchan/fallback"
)

// Setup through a socket: Listen and Dial.

// setupPath is a path for a socket in a directory that other users may enter.

func setupPath(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "shmchan") // t.TempDir is closed to nobody
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	require.NoError(t, os.Chmod(dir, 0o755))
	return filepath.Join(dir, "socket")
}

func setupListen[T any](t testing.TB, path string, capacity int, opts ...channel.Option) *channel.Listener[T] {
	t.Helper()
	l, err := channel.Listen[T](path, capacity, opts...)
	require.NoError(t, err)
	t.Cleanup(func() {
		if err := l.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
			t.Error(err)
		}
	})
	return l
}

func patient(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(bg, watchdog)
	t.Cleanup(cancel)
	return ctx
}

func setupAccept[T any](t testing.TB, l *channel.Listener[T]) (*channel.Chan[T], fallback.Credentials) {
	t.Helper()
	c, peer, err := l.Accept(patient(t))
	return semOwn(t, c, err), peer
}

func setupDial[T any](t testing.TB, path string, opts ...channel.Option) *channel.Chan[T] {
	t.Helper()
	c, err := channel.Dial[T](patient(t), path, opts...)
	return semOwn(t, c, err)
}

func TestDialGetsAChannelOfItsOwn(t *testing.T) {
	for _, path := range []string{setupPath(t), "@" + newName("abstract")} {
		for _, mode := range semModes {
			for _, capacity := range []int{0, 1, 100} {
				t.Run(fmt.Sprintf("%v/%s/%d", path[0] == '@', mode.name, capacity), func(t *testing.T) {
					l := setupListen[string](t, path, capacity, mode.opt)
					require.Equal(t, path, l.Path())
					var dialled, taken [3]*channel.Chan[string]
					for i := range dialled {
						dialled[i] = setupDial[string](t, path)
						require.Equal(t, capacity, dialled[i].Cap())
						require.Empty(t, dialled[i].Name())
						var peer fallback.Credentials
						taken[i], peer = setupAccept(t, l)
						require.Equal(t, fallback.Credentials{PID: os.Getpid(), UID: os.Getuid(), GID: os.Getgid()}, peer)
					}
					for i := range dialled {
						sent := semSend(dialled[i], fmt.Sprint("hello ", i))
						got := semRecv(taken[i]).wait()
						require.NoError(t, got.err)
						require.Equal(t, fmt.Sprint("hello ", i), got.v)
						require.NoError(t, sent.wait())
					}
					require.NoError(t, l.Close())
					require.NoError(t, taken[0].Close()) // outlives the listener
					semIs(t, dialled[0].Send("x"), channel.ErrClosed)
				})
			}
		}
	}
}

func TestDialDoesNotWaitForAccept(t *testing.T) {
	path := setupPath(t)
	l := setupListen[int](t, path, 4)
	a, b := setupDial[int](t, path), setupDial[int](t, path)
	require.NoError(t, a.Send(1))
	require.NoError(t, b.Send(2))
	x, _ := setupAccept(t, l)
	y, _ := setupAccept(t, l)
	got := []int{semRecv(x).wait().v, semRecv(y).wait().v}
	require.ElementsMatch(t, []int{1, 2}, got)
}

func TestManyDialAtOnce(t *testing.T) {
	path := setupPath(t)
	l := setupListen[int](t, path, 1)
	const many = 100
	var wg sync.WaitGroup
	for i := range many {
		wg.Go(func() {
			c, err := channel.Dial[int](patient(t), path)
			if !assert.NoError(t, err) {
				return
			}
			assert.NoError(t, c.Send(i))
			assert.NoError(t, c.Detach())
		})
	}
	seen := map[int]bool{}
	for range many {
		c, _ := setupAccept(t, l)
		got := semRecv(c).wait()
		require.NoError(t, got.err)
		seen[got.v] = true
		require.NoError(t, c.Detach())
	}
	wg.Wait()
	require.Len(t, seen, many)
}

func TestListenSharedGivesTheSameChannelToAll(t *testing.T) {
	path := setupPath(t)
	ch := semNew[int](t, 10)
	l, err := channel.ListenShared(path, ch)
	require.NoError(t, err)
	a, b := setupDial[int](t, path), setupDial[int](t, path)
	require.NoError(t, a.Send(1))
	semWant(t, b, 1)
	require.NoError(t, b.Send(2))
	semWant(t, ch, 2)
	for range 2 {
		c, peer, err := l.Accept(patient(t))
		require.NoError(t, err)
		require.Same(t, ch, c)
		require.Equal(t, os.Getpid(), peer.PID)
	}
	for range 70 { // more than anyone asks for
		c, err := channel.Dial[int](patient(t), path)
		require.NoError(t, err)
		require.NoError(t, c.Detach())
	}
	require.NoError(t, l.Close())
	require.NoError(t, ch.Send(3)) // stays
	semWant(t, a, 3)

	// What came through one socket can go on through another.
	l2, err := channel.ListenShared(path, a)
	require.NoError(t, err)
	d := setupDial[int](t, path)
	require.NoError(t, d.Send(4))
	semWant(t, ch, 4)
	require.NoError(t, l2.Close())
}

func TestListenSharedRefusesWhatCouldBeCutShort(t *testing.T) {
	_, err := channel.ListenShared(setupPath(t), semCreate[int](t, uniqueName(t), 4))
	semIs(t, err, fs.ErrInvalid, "sealed")
	c := semNew[int](t, 4)
	require.NoError(t, c.Detach())
	_, err = channel.ListenShared(setupPath(t), c)
	require.ErrorIs(t, err, channel.ErrDetached)
}

// told collects what OnRefused tells.

type told chan error

func (r told) option() channel.Option {
	return channel.OnRefused(func(_ fallback.Credentials, why error) { r <- why })
}

func (r told) next(t testing.TB) error {
	t.Helper()
	select {
	case err := <-r:
		return err
	case <-time.After(watchdog):
		t.Fatal("OnRefused was not called")
		return nil
	}
}

func TestBothSidesHearWhatDiffers(t *testing.T) {
	path := setupPath(t)
	refused := make(told, 10)
	setupListen[string](t, path, 4, channel.MaxMessage(100), channel.Space(5000), refused.option())
	for _, c := range []struct {
		what, here, there string
		dial              func() error
	}{
		{"type", "int64", "string", func() error { _, err := channel.Dial[int64](patient(t), path); return err }},
		{"type", "[]uint8", "string", func() error { _, err := channel.Dial[[]byte](patient(t), path); return err }},
		{"capacity", "5", "4", func() error { _, err := channel.Dial[string](patient(t), path, channel.WantCapacity(5)); return err }},
		{"mode", "SPSC", "MPMC", func() error { _, err := channel.Dial[string](patient(t), path, channel.SPSC()); return err }},
		{"max message", "101", "100", func() error { _, err := channel.Dial[string](patient(t), path, channel.MaxMessage(101)); return err }},
		{"space", "5001", "5000", func() error { _, err := channel.Dial[string](patient(t), path, channel.Space(5001)); return err }},
	} {
		var here, there *channel.MismatchError
		err := c.dial()
		require.ErrorAs(t, err, &here, "%s: %v", c.what, err)
		require.ErrorAs(t, refused.next(t), &there)
		assert.Equal(t, c.what, here.What)
		assert.Equal(t, c.what, there.What)
		assert.Equal(t, here.Want, there.Have)
		assert.Equal(t, here.Have, there.Want)
		assert.Contains(t, here.Want, c.here)
		assert.Contains(t, here.Have, c.there)
		semSays(t, err, "dial", path, "the "+c.what+" differs: here "+c.here)
	}
	setupDial[string](t, path, channel.WantCapacity(4), channel.MPMC(), channel.MaxMessage(100), channel.Space(5000))
}

var errUnwanted = errors.New("unwanted")

func TestCheckPeerRefusesBeforeAnythingIsHandedOver(t *testing.T) {
	path := setupPath(t)
	refused := make(told, 1)
	seen := make(chan fallback.Credentials, 10)
	var allowed atomic.Bool
	check := channel.CheckPeer(func(peer fallback.Credentials) error {
		seen <- peer
		if allowed.Load() {
			return nil
		}
		return errUnwanted
	})
	l := setupListen[int](t, path, 4, check, refused.option())
	_, err := channel.Dial[int](patient(t), path)
	require.ErrorIs(t, err, fs.ErrPermission)
	require.NotContains(t, err.Error(), "unwanted", "the reason is the listener's own")
	require.ErrorIs(t, refused.next(t), errUnwanted)
	require.Equal(t, os.Getpid(), (<-seen).PID)

	allowed.Store(true)
	setupDial[int](t, path)
	setupAccept(t, l)

	_, err = channel.Dial[int](patient(t), path, channel.CheckPeer(func(peer fallback.Credentials) error {
		if peer.PID != os.Getpid() || peer.UID != os.Getuid() {
			t.Errorf("the listener is %+v", peer)
		}
		return errUnwanted
	}))
	require.ErrorIs(t, err, errUnwanted)
	require.Error(t, refused.next(t)) // it has left
}

// rawDial connects as somebody who does not speak the language.

// rawHello is a hello of that version and ABI, for uint64.

// rawListen answers whoever dials first as answer does.

// memfdOf is sealed memory with that in it.

func TestDialEndsWithItsContext(t *testing.T) {
	path := rawListen(t, func(*net.UnixConn) error { return nil })
	ctx, cancel := context.WithCancel(bg)
	dialled := semStart(func() error { _, err := channel.Dial[int](ctx, path); return err })
	dialled.blocks(t, "Dial without an answer")
	cancel()
	require.ErrorIs(t, dialled.wait(), context.Canceled)
	_, err := channel.Dial[int](ctx, path)
	require.ErrorIs(t, err, context.Canceled)
}

func TestDialWithoutListener(t *testing.T) {
	path := setupPath(t)
	_, err := channel.Dial[int](bg, path)
	semIs(t, err, fs.ErrNotExist, path)
	l := setupListen[int](t, path, 1)
	require.NoError(t, l.Close())
	_, err = os.Lstat(path)
	require.ErrorIs(t, err, fs.ErrNotExist)
	_, err = channel.Dial[int](bg, "@"+newName("nobody"))
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
}

func TestListenRefusesBadArguments(t *testing.T) {
	path := setupPath(t)
	_, err := channel.Listen[int](path, -1)
	require.ErrorIs(t, err, fs.ErrInvalid)
	_, err = channel.Listen[chan int](path, 1)
	require.ErrorIs(t, err, errors.ErrUnsupported)
	_, err = channel.Listen[int]("", 1)
	require.ErrorIs(t, err, syscall.EINVAL)
	_, err = channel.Listen[int](path, 1, channel.HandshakeTimeout(0))
	require.ErrorIs(t, err, fs.ErrInvalid)
	_, err = channel.Dial[int](bg, path, channel.WantCapacity(-1))
	require.ErrorIs(t, err, fs.ErrInvalid)
	require.NoError(t, os.WriteFile(path, []byte("mine"), 0o600))
	_, err = channel.Listen[int](path, 1)
	require.ErrorIs(t, err, syscall.EADDRINUSE)
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "mine", string(text))
}

func TestListenTakesOverAStalePathAndNoLiveOne(t *testing.T) {
	path := setupPath(t)
	stale, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: path, Net: "unixpacket"})
	require.NoError(t, err)
	_, err = channel.Listen[int](path, 1)
	require.ErrorIs(t, err, syscall.EADDRINUSE)
	stale.SetUnlinkOnClose(false)
	require.NoError(t, stale.Close())
	setupListen[int](t, path, 1, channel.Perm(0o620))
	info, err := os.Lstat(path)
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o620), info.Mode().Perm())
}

func TestListenerCloseEndsAcceptAndWhatNobodyAccepted(t *testing.T) {
	path := setupPath(t)
	l := setupListen[int](t, path, 1)
	ctx, cancel := context.WithCancel(bg)
	waiting := semStart(func() error { _, _, err := l.Accept(ctx); return err })
	waiting.blocks(t, "Accept")
	cancel()
	require.ErrorIs(t, waiting.wait(), context.Canceled)
	waiting = semStart(func() error { _, _, err := l.Accept(bg); return err })
	waiting.blocks(t, "Accept")
	require.NoError(t, l.Close())
	require.ErrorIs(t, waiting.wait(), os.ErrClosed)
	_, _, err := l.Accept(bg)
	require.ErrorIs(t, err, os.ErrClosed)
	require.ErrorIs(t, l.Close(), os.ErrClosed)

	l = setupListen[int](t, path, 1)
	c := setupDial[int](t, path)
	got := semRecv(c)
	require.NoError(t, l.Close())
	require.ErrorIs(t, got.wait().err, channel.ErrClosed)
}

func TestSetupLeavesNothingBehind(t *testing.T) {
	path := setupPath(t)
	cycle := func() {
		l, err := channel.Listen[int](path, 1, channel.HandshakeTimeout(time.Hour))
		require.NoError(t, err)
		c, err := channel.Dial[int](bg, path)
		require.NoError(t, err)
		d, err := channel.Dial[int](bg, path)
		require.NoError(t, err)
		taken, _, err := l.Accept(bg)
		require.NoError(t, err)
		rawDial(t, path)
		require.NoError(t, l.Close())
		require.NoError(t, taken.Detach())
		require.NoError(t, c.Detach())
		require.NoError(t, d.Detach())
	}
	t.Run("first", func(*testing.T) { cycle() })
	before := takeInventory()
	before.descriptors["socket"] += 5 // the strangers' own ends, until the test ends
	for range 5 {
		cycle()
	}
	require.Empty(t, before.leaked())
}

// roleDial answers what it gets, until the channel is closed.

// setupTalk runs a child that dials, and talks with it.

// roleStranger is a process that begins the handshake and does not go through with it.

// helloOf is what Dial says for T.
