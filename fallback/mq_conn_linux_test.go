package fallback

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMQConnOverOneQueue(t *testing.T) {
	name := mqNewName(t)
	c, err := MQ(name, os.O_RDWR|os.O_CREATE, 0o600, &mqSmall)
	require.NoError(t, err)
	other, err := MQ(name, os.O_RDONLY, 0, nil)
	require.NoError(t, err)
	defer other.Close()
	require.Equal(t, KindMQ, c.Kind())
	require.Equal(t, 64, c.MaxMessage())
	require.NoError(t, c.Send(forever, []byte("plain")))
	require.NoError(t, SendPriority(forever, c, []byte("urgent"), 5))
	msg, priority, err := ReceivePriority(context.Background(), other, nil)
	require.NoError(t, err)
	require.Equal(t, "urgent", string(msg))
	require.EqualValues(t, 5, priority)
	msg, err = c.TryReceive([]byte("its own: "))
	require.NoError(t, err)
	require.Equal(t, "its own: plain", string(msg))
	_, err = c.TryReceive(nil)
	require.ErrorIs(t, err, ErrWouldBlock)
	require.ErrorIs(t, c.Send(forever, make([]byte, 65)), ErrTooLarge)

	require.NoError(t, c.TrySend([]byte("stays")))
	require.NoError(t, c.Close())
	require.ErrorIs(t, c.Close(), os.ErrClosed)
	require.ErrorIs(t, c.TrySend(nil), os.ErrClosed)
	msg, err = other.Receive(forever, nil)
	require.NoError(t, err)
	require.Equal(t, "stays", string(msg))
}

func TestMQConnOverAPair(t *testing.T) {
	there, back := mqMake(t, mqSmall), mqMake(t, QueueAttr{MaxMessages: 1, MessageSize: 8})
	c, err := MQOver(there, back)
	require.NoError(t, err)
	require.Equal(t, 64, c.MaxMessage(), "of the direction in which it sends")
	require.NoError(t, c.Send(forever, []byte("there")))
	_, err = c.TryReceive(nil)
	require.ErrorIs(t, err, ErrWouldBlock)
	require.NoError(t, back.Send(forever, []byte("back"), 0))
	msg, err := c.Receive(forever, nil)
	require.NoError(t, err)
	require.Equal(t, "back", string(msg))
	require.NoError(t, c.Close())
	require.ErrorIs(t, there.Close(), os.ErrClosed)
	require.ErrorIs(t, back.Close(), os.ErrClosed)
}

func TestMQConnRefusesByName(t *testing.T) {
	q := mqMake(t, mqSmall)
	reader, writer := mqOpenAgain(t, q, os.O_RDONLY), mqOpenAgain(t, q, os.O_WRONLY)
	in, err := MQOver(nil, reader)
	require.NoError(t, err)
	out, err := MQOver(writer, nil)
	require.NoError(t, err)
	_, receiveErr := out.Receive(forever, nil)
	_, tryErr := out.TryReceive(nil)
	_, _, priorityErr := ReceivePriority(forever, out, nil)
	_, peerErr := in.Peer()
	_, rawErr := RawConn(out)
	for _, err := range []error{
		in.Send(forever, nil), in.TrySend(nil), SendPriority(forever, in, nil, 0), receiveErr, tryErr, priorityErr,
		peerErr, rawErr, in.CloseSend(), SendFiles(forever, out, nil),
	} {
		require.ErrorIs(t, err, errors.ErrUnsupported)
		var refused *RefusedError
		require.ErrorAs(t, err, &refused)
		require.Equal(t, KindMQ, refused.Kind)
	}
	require.True(t, in.Capabilities().Receive && !in.Capabilities().Send && in.Capabilities().Pollable)
	require.True(t, !out.Capabilities().Receive && out.Capabilities().Send && !out.Capabilities().Pollable)
	require.Equal(t, 64, in.MaxMessage())

	for _, wrong := range [][2]*Queue{{nil, nil}, {reader, nil}, {nil, writer}, {reader, writer}} {
		_, err := MQOver(wrong[0], wrong[1])
		require.ErrorIs(t, err, fs.ErrInvalid)
	}
	require.NoError(t, in.Close())
	require.NoError(t, out.Close())
	_, err = MQ(mqNewName(t), os.O_RDWR, 0, nil)
	require.ErrorIs(t, err, fs.ErrNotExist)
}

// The conformance suite opens carriers this way; here that both ways of it work.
func TestMQCarriersOpen(t *testing.T) {
	for _, c := range carriers {
		if !strings.HasPrefix(c.name, "MQ") {
			continue
		}
		if c.open != nil {
			a, b := c.open(t)
			require.NoError(t, a.Send(forever, []byte(c.name)))
			msg, err := b.Receive(forever, nil)
			require.NoError(t, err)
			require.Equal(t, c.name, string(msg))
		}

		a, files, arg := c.give(t)
		child := mqStart(t, "mqCarrier", files, c.name, arg)
		for _, f := range files {
			f.Close()
		}
		require.NoError(t, a.Send(forever, []byte("to the child")))
		require.Equal(t, "to the child", child.line())
		child.finish(t)
	}
}

func init() {
	roles["mqCarrier"] = func() {
		for _, c := range carriers {
			if c.name == os.Args[1] {
				conn, err := c.remake(os.Args[2])
				mqMust(err)
				msg, err := conn.Receive(forever, nil)
				mqMust(err)
				_, _ = os.Stdout.Write(append(msg, '\n'))
				mqMust(conn.Close())
			}
		}
	}
}
