package fallback

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// mqPair makes two queues that two Conns see crosswise.
func mqPair(t testing.TB) (there, back string) {
	attr := &QueueAttr{MaxMessages: 4, MessageSize: 1024}
	there, back = mqNewName(t), mqNewName(t)
	for _, name := range []string{there, back} {
		q, err := OpenQueue(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600, attr)
		require.NoError(t, err)
		require.NoError(t, q.Close())
	}
	return there, back
}

// mqForget unlinks queues that everybody has open: a test that is killed leaves nothing then.
func mqForget(t testing.TB, names ...string) {
	for _, name := range names {
		require.NoError(t, UnlinkQueue(name))
	}
}

func mqFile(t testing.TB, name string, flags int) *os.File {
	q, err := OpenQueue(name, flags, 0, nil)
	require.NoError(t, err)
	f, err := q.File()
	require.NoError(t, err)
	require.NoError(t, q.Close())
	return f
}

func mqJoin(out, in string) (Conn, error) {
	o, err := OpenQueue(out, os.O_WRONLY, 0, nil)
	if err != nil {
		return nil, err
	}
	i, err := OpenQueue(in, os.O_RDONLY, 0, nil)
	if err != nil {
		return nil, err
	}
	return MQOver(o, i)
}

func mqJoined(t testing.TB, out, in string) Conn {
	c, err := mqJoin(out, in)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

func init() {
	carriers = append(carriers, carrier{
		name: "MQ", // a queue for each direction
		open: func(t testing.TB) (Conn, Conn) {
			there, back := mqPair(t)
			a, b := mqJoined(t, there, back), mqJoined(t, back, there)
			mqForget(t, there, back)
			return a, b
		},
		give: func(t testing.TB) (Conn, []*os.File, string) {
			there, back := mqPair(t)
			a := mqJoined(t, there, back)
			files := []*os.File{mqFile(t, back, os.O_WRONLY), mqFile(t, there, os.O_RDONLY)}
			mqForget(t, there, back)
			return a, files, ""
		},
		remake: func(string) (Conn, error) {
			out, err := QueueFromFile(os.NewFile(3, "queue"))
			if err != nil {
				return nil, err
			}
			in, err := QueueFromFile(os.NewFile(4, "queue"))
			if err != nil {
				return nil, err
			}
			return MQOver(out, in)
		},
	}, carrier{
		name: "MQOneWay", // one queue, inherited as a descriptor
		open: func(t testing.TB) (Conn, Conn) {
			there, back := mqPair(t)
			mqForget(t, back)
			a, err := MQ(there, os.O_WRONLY, 0, nil)
			require.NoError(t, err)
			t.Cleanup(func() { a.Close() })
			b, err := MQ(there, os.O_RDONLY, 0, nil)
			require.NoError(t, err)
			t.Cleanup(func() { b.Close() })
			mqForget(t, there)
			return a, b
		},
		give: func(t testing.TB) (Conn, []*os.File, string) {
			there, back := mqPair(t)
			mqForget(t, back)
			a, err := MQ(there, os.O_WRONLY, 0, nil)
			require.NoError(t, err)
			t.Cleanup(func() { a.Close() })
			f := mqFile(t, there, os.O_RDONLY)
			mqForget(t, there)
			return a, []*os.File{f}, ""
		},
		remake: func(string) (Conn, error) {
			q, err := QueueFromFile(os.NewFile(3, "queue"))
			if err != nil {
				return nil, err
			}
			return MQOver(nil, q)
		},
	}, carrier{
		name: "MQByName", // one queue, which processes find by its name, and which outlives them
		give: func(t testing.TB) (Conn, []*os.File, string) {
			there, back := mqPair(t)
			mqForget(t, back)
			a, err := MQ(there, os.O_WRONLY, 0, nil)
			require.NoError(t, err)
			t.Cleanup(func() { a.Close() })
			return a, nil, there
		},
		remake: func(name string) (Conn, error) { return MQ(name, os.O_RDWR, 0, nil) },
	})
}
