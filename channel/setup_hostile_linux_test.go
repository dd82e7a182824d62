package channel_test

import (
	"encoding/binary"
	"errors"
	"net"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/shmchan/shmchan/channel"
	"github.com/shmchan/shmchan/fallback"
)

func rawDial(t testing.TB, path string) *net.UnixConn {
	t.Helper()
	c, err := net.Dial("unixpacket", path)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c.(*net.UnixConn)
}

func rawHello(version, abi uint32) []byte {
	b := append([]byte("shmchan"), 'H')
	b = binary.LittleEndian.AppendUint32(b, version)
	b = binary.LittleEndian.AppendUint32(b, abi)
	return append(b, make([]byte, 4+4+8+8+8+8+8+2)...)
}

func TestStrangersAreDroppedAndDisturbNobody(t *testing.T) {
	path := setupPath(t)
	refused := make(told, 100)
	l := setupListen[uint64](t, path, 4, refused.option(), channel.HandshakeTimeout(200*time.Millisecond))
	pipe, err := os.Open("/dev/null")
	require.NoError(t, err)
	defer pipe.Close()
	many := make([]*os.File, fallback.MaxRights)
	for i := range many {
		many[i] = pipe
	}
	first := setupDial[uint64](t, path) // then the listener waits in the poller, by a duplicate
	taken, _ := setupAccept(t, l)
	require.NoError(t, first.Detach())
	require.NoError(t, taken.Detach())
	before := openDescriptors()
	for _, stranger := range []struct {
		does string
		do   func(c *net.UnixConn) error
		want error
	}{
		{"says nothing", func(*net.UnixConn) error { return nil }, os.ErrDeadlineExceeded},
		{"leaves", func(c *net.UnixConn) error { return c.Close() }, nil},
		{"sends junk", func(c *net.UnixConn) error { _, err := c.Write([]byte("junk")); return err }, fallback.ErrFrame},
		{"sends much junk", func(c *net.UnixConn) error { _, err := c.Write(make([]byte, 50_000)); return err }, fallback.ErrFrame},
		{"sends a hello cut short", func(c *net.UnixConn) error { _, err := c.Write(rawHello(1, 1)[:30]); return err }, fallback.ErrFrame},
		{"sends a hello with more behind", func(c *net.UnixConn) error {
			_, err := c.Write(append(rawHello(1, 1), 0))
			return err
		}, fallback.ErrFrame},
		{"sends a text longer than its message", func(c *net.UnixConn) error {
			b := rawHello(1, 1)
			b[len(b)-1] = 0xff
			_, err := c.Write(b)
			return err
		}, fallback.ErrFrame},
		{"sends its hello byte by byte", func(c *net.UnixConn) error {
			for _, b := range rawHello(1, 1) {
				if _, err := c.Write([]byte{b}); err != nil && !errors.Is(err, unix.EPIPE) && !errors.Is(err, unix.ECONNRESET) {
					return err
				}
			}
			return nil
		}, fallback.ErrFrame},
		{"sends a descriptor", func(c *net.UnixConn) error { return fallback.SendRights(c, rawHello(1, 1), pipe) }, fallback.ErrFrame},
		{"sends all descriptors there can be", func(c *net.UnixConn) error { return fallback.SendRights(c, rawHello(1, 1), many...) }, fallback.ErrFrame},
	} {
		t.Run(stranger.does, func(t *testing.T) {
			c := rawDial(t, path)
			require.NoError(t, stranger.do(c))
			good := setupDial[uint64](t, path) // meanwhile
			require.NoError(t, good.Send(1))
			taken, _ := setupAccept(t, l)
			semWant(t, taken, 1)
			err := refused.next(t)
			if stranger.want != nil {
				require.ErrorIs(t, err, stranger.want)
				for { // and dropped
					if _, err := c.Read(make([]byte, 100)); err != nil {
						break
					}
				}
			}
			c.Close()
			require.NoError(t, good.Detach())
			require.NoError(t, taken.Detach())
		})
	}
	assert.Eventually(t, func() bool { return len(surplus("descriptor", before, openDescriptors())) == 0 },
		watchdog, time.Millisecond, "descriptors are left: %v", surplus("descriptor", before, openDescriptors()))
}

func TestManySilentStrangersHoldUpNobody(t *testing.T) {
	path := setupPath(t)
	l := setupListen[int](t, path, 4) // with the long time limit
	for range 100 {
		rawDial(t, path)
	}
	c := setupDial[int](t, path)
	require.NoError(t, c.Send(1))
	taken, _ := setupAccept(t, l)
	semWant(t, taken, 1)
	require.NoError(t, l.Close()) // does not wait for them
}

func TestAnotherVersionIsToldSo(t *testing.T) {
	path := setupPath(t)
	refused := make(told, 1)
	setupListen[uint64](t, path, 4, refused.option())
	for _, hello := range [][]byte{rawHello(1, 99), append(rawHello(2, 1), "something new"...)} {
		c := rawDial(t, path)
		_, err := c.Write(hello)
		require.NoError(t, err)
		var differs *channel.MismatchError
		require.ErrorAs(t, refused.next(t), &differs)
		require.Equal(t, "ABI", differs.What)
		answer := make([]byte, 4096)
		n, err := c.Read(answer)
		require.NoError(t, err)
		require.Equal(t, "shmchanA\x01\x00\x00\x00\x01\x00\x00\x00\x03\x00ABI", string(answer[:min(n, 21)]))
	}
}

func rawListen(t testing.TB, answer func(c *net.UnixConn) error) (path string) {
	t.Helper()
	path = setupPath(t)
	l, err := net.Listen("unixpacket", path)
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		_, err = c.Read(make([]byte, 4096))
		if err == nil {
			err = answer(c.(*net.UnixConn))
		}
		if err != nil {
			t.Errorf("answering: %v", err)
		}
		_, _ = c.Read(make([]byte, 4096)) // until the other side is through
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return path
}

const welcome = "shmchanA\x01\x00\x00\x00\x00\x00\x00\x00"

func memfd(t testing.TB, size int64, seals int) *os.File {
	t.Helper()
	fd, err := unix.MemfdCreate("test", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	require.NoError(t, err)
	f := os.NewFile(uintptr(fd), "test")
	t.Cleanup(func() { f.Close() })
	require.NoError(t, f.Truncate(size))
	_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals)
	require.NoError(t, err)
	return f
}

func memfdOf(t testing.TB, content []byte) *os.File {
	t.Helper()
	f := memfd(t, int64(len(content)), unix.F_SEAL_SHRINK|unix.F_SEAL_GROW)
	_, err := f.WriteAt(content, 0)
	require.NoError(t, err)
	return f
}

func TestDialTrustsNoListener(t *testing.T) {
	const fixed = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW
	sealed, unsealed := memfd(t, 4096, fixed), memfd(t, 4096, 0)
	named := semCreate[uint64](t, uniqueName(t), 4)
	file, err := named.File()
	require.NoError(t, err)
	defer file.Close()
	other := semNew[string](t, 4)
	otherFile, err := other.File()
	require.NoError(t, err)
	defer otherFile.Close()
	sound := semSound(t)
	cut, longer := memfdOf(t, sound[:len(sound)/2]), memfdOf(t, append(sound[:len(sound):len(sound)], make([]byte, 4096)...))
	anotherABI := memfdOf(t, append(append(sound[:8:8], 0xee), sound[9:]...)) // LAYOUT.md
	send := func(text string, files ...*os.File) func(c *net.UnixConn) error {
		return func(c *net.UnixConn) error { return fallback.SendRights(c, []byte(text), files...) }
	}
	var differs *channel.MismatchError
	before := openDescriptors()
	for _, listener := range []struct {
		does   string
		answer func(c *net.UnixConn) error
		want   error
	}{
		{"answers junk", send("junk"), channel.ErrCorrupt},
		{"answers nothing, and leaves", func(c *net.UnixConn) error { return c.Close() }, channel.ErrPeerLost},
		{"answers nothing", func(c *net.UnixConn) error { return nil }, os.ErrDeadlineExceeded},
		{"sends no descriptor", send(welcome), channel.ErrCorrupt},
		{"sends one", send(welcome, sealed), channel.ErrCorrupt},
		{"sends three", send(welcome, sealed, sealed, sealed), channel.ErrCorrupt},
		{"sends what is no channel", send(welcome, sealed, sealed), channel.ErrCorrupt},
		{"sends unsealed memory", send(welcome, unsealed, unsealed), channel.ErrCorrupt},
		{"sends a file that can be cut short", send(welcome, file, file), channel.ErrCorrupt},
		{"sends half of a channel", send(welcome, cut, cut), channel.ErrCorrupt},
		{"sends a channel and a page more", send(welcome, longer, longer), channel.ErrCorrupt},
		{"sends a channel of another ABI", send(welcome, anotherABI, anotherABI), nil},
		{"sends a channel of another type", send(welcome, otherFile, otherFile), nil},
		{"says a difference without texts", send("shmchanA\x01\x00\x00\x00\x01\x00\x00\x00"), channel.ErrCorrupt},
		{"has an outcome of its own", send("shmchanA\x01\x00\x00\x00\x09\x00\x00\x00"), channel.ErrCorrupt},
	} {
		t.Run(listener.does, func(t *testing.T) {
			path := rawListen(t, listener.answer)
			limit := watchdog
			if listener.want == os.ErrDeadlineExceeded {
				limit = 20 * time.Millisecond
			}
			c, err := channel.Dial[uint64](patient(t), path, channel.HandshakeTimeout(limit))
			require.Nil(t, c)
			if listener.want == nil {
				require.ErrorAs(t, err, &differs)
				return
			}
			require.ErrorIs(t, err, listener.want)
		})
	}
	require.Empty(t, surplus("descriptor", before, openDescriptors()))
}
