package fallback

import (
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

func pipeHeaderBytes(length int, flags uint8, writer uint64) []byte {
	b := make([]byte, pipeHeaderSize)
	pipeHeader{length: length, flags: flags, writer: writer}.put(b)
	return b
}

func TestPipeRefusesUnsoundHeaders(t *testing.T) {
	const most = 5000
	damaged := pipeHeaderBytes(10, pipeFirst|pipeLast, 7)
	damaged[0] ^= 1
	for name, tt := range map[string]struct {
		b     []byte
		sound bool
	}{
		"zeros":                        {make([]byte, pipeHeaderSize), false},
		"text":                         {[]byte("GET / HTTP/1.1\r\n"), false},
		"one bit off":                  {damaged, false},
		"whole":                        {pipeHeaderBytes(pipeChunkData, pipeFirst|pipeLast, 7), true},
		"empty":                        {pipeHeaderBytes(0, pipeFirst|pipeLast, 7), true},
		"over a chunk":                 {pipeHeaderBytes(pipeChunkData+1, pipeFirst|pipeLast, 7), false},
		"the longest":                  {pipeHeaderBytes(most, pipeLong, 7), true},
		"longer":                       {pipeHeaderBytes(most+1, pipeLong, 7), false},
		"negative":                     {pipeHeaderBytes(-1, pipeLong, 7), false},
		"half of all":                  {pipeHeaderBytes(1<<31-1, pipeLong, 7), false},
		"empty and long":               {pipeHeaderBytes(0, pipeLong, 7), false},
		"empty piece":                  {pipeHeaderBytes(0, 0, 7), false},
		"giving up with data":          {pipeHeaderBytes(1, pipeAbort, 7), false},
		"unknown flags":                {pipeHeaderBytes(1, 0x80|pipeFirst, 7), false},
		"contradicting flags":          {pipeHeaderBytes(1, pipeFirst|pipeAbort, 7), false},
		"nobody":                       {pipeHeaderBytes(1, pipeFirst, 0), false},
		"a writer's number too large":  {pipeHeaderBytes(1, pipeFirst, pipeWriterLimit), false},
		"a writer's number as offset ": {pipeHeaderBytes(1, pipeFirst, pipeWriterLimit-1), true},
	} {
		_, err := readPipeHeader(tt.b, most)
		if tt.sound {
			require.NoError(t, err, name)
		} else {
			require.ErrorIs(t, err, ErrFrame, name)
		}
	}
}

// pipeHostile is a Conn, and the other end of its pipe.
func pipeHostile(t *testing.T, opts ...PipeOption) (*pipeConn, *os.File) {
	t.Helper()
	r, w := pipeOSFiles(t)
	c, err := PipeConn(r, nil, opts...)
	require.NoError(t, err)
	pipeCleanup(t, c)
	return c.(*pipeConn), w
}

func TestPipeIsBrokenAfterWhatIsNoFrame(t *testing.T) {
	sound := append(pipeHeaderBytes(3, pipeFirst|pipeLast, 7), "abc"...)
	long := pipeFrames(t, nil, pipePattern(5000, 1))
	badTrailer := append([]byte{}, long...)
	badTrailer[len(badTrailer)-2] ^= 1
	for name, b := range map[string][]byte{
		"text":        []byte("a line of text, and more of it\n"),
		"trailer":     badTrailer,
		"no decision": append(append([]byte{}, long[:len(long)-1]...), 2),
	} {
		c, w := pipeHostile(t)
		_, err := w.Write(append(append(append([]byte{}, sound...), b...), sound...))
		require.NoError(t, err)
		got, err := c.Receive(forever, nil)
		require.NoError(t, err, name)
		require.Equal(t, "abc", string(got))
		for range 3 {
			got, err = c.Receive(forever, []byte("x"))
			require.ErrorIs(t, err, ErrFrame, name)
			require.Equal(t, "x", string(got))
		}
	}
}

func TestPipeMessageOfPiecesOverMaxMessageIsRefused(t *testing.T) {
	c, w := pipeHostile(t, PipeMaxMessage(10_000))
	chunk := func(flags uint8) {
		_, err := w.Write(append(pipeHeaderBytes(4000, flags, 7), make([]byte, 4000)...))
		require.NoError(t, err)
	}
	chunk(pipeFirst)
	chunk(0)
	_, err := c.TryReceive(nil)
	require.ErrorIs(t, err, ErrWouldBlock)
	chunk(0)
	_, err = c.TryReceive(nil)
	require.ErrorIs(t, err, ErrFrame)
}

func TestPipeAllocatesAsBytesCome(t *testing.T) {
	c, w := pipeHostile(t, PipeMaxMessage(pipeMaxMessageLimit))
	_, err := w.Write(append(pipeHeaderBytes(pipeMaxMessageLimit, pipeLong, 7), make([]byte, 100)...))
	require.NoError(t, err)
	_, err = c.TryReceive(nil)
	require.ErrorIs(t, err, ErrWouldBlock)
	require.Less(t, cap(c.r.long.saved), 1<<20)
}

func TestPipeSurvivesAnyBytes(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	stream := pipeFrames(t, nil, pipePattern(10, 1), pipePattern(5000, 2), nil, pipePattern(4080, 1))
	stream = append(stream, pipeFrames(t, []PipeOption{PipeManyWriters()}, pipePattern(9000, 1), pipePattern(100, 2))...)
	for range 1500 {
		b := append([]byte{}, stream...)
		for range 1 + rnd.IntN(4) {
			switch at := rnd.IntN(len(b)); rnd.IntN(3) {
			case 0:
				b[at] ^= 1 << rnd.IntN(8)
			case 1:
				b = b[:at+1]
			case 2: // a header that passes the check, with any fields
				copy(b[at:], pipeHeaderBytes(rnd.IntN(1<<rnd.IntN(31)), uint8(rnd.IntN(16)), rnd.Uint64()>>rnd.IntN(64)))
			}
		}
		c, w := pipeHostile(t)
		_, err := w.Write(b)
		require.NoError(t, err)
		require.NoError(t, w.Close())
		for n := 0; err == nil; n++ {
			require.LessOrEqual(t, n, len(b)/pipeHeaderSize)
			_, err = c.Receive(forever, nil)
		}
		require.True(t, errors.Is(err, io.EOF) || errors.Is(err, ErrFrame), "%v", err)
		require.NoError(t, c.Close())
	}
}

func TestPipeForgetsMessagesOfDeadWritersOnlyOnProof(t *testing.T) {
	pipeGuard(t)
	path := fifoPath(t)
	r, err := FIFO(forever, path, os.O_RDONLY|os.O_CREATE, FIFOAwaitWriters())
	require.NoError(t, err)
	alive, err := FIFO(forever, path, os.O_WRONLY)
	require.NoError(t, err)
	raw, err := OpenFIFO(forever, path, os.O_WRONLY)
	require.NoError(t, err)
	pipeCleanup(t, r, alive)
	defer raw.Close()
	parts := &r.(*pipeConn).r.parts

	// A living writer begins a message, and takes its time.
	w, msg := alive.(*pipeConn).w, pipePattern(6000, 5)
	h := pipeHeader{length: pipeChunkData, flags: pipeFirst, writer: w.id}
	require.NoError(t, w.chunk(forever, h, msg[:pipeChunkData], true))
	// Many others begin one and are gone: nobody holds their locks.
	most := 0
	for i := range uint64(5000) {
		_, err := raw.Write(append(pipeHeaderBytes(100, pipeFirst, 1000+i), make([]byte, 100)...))
		require.NoError(t, err)
		_, err = r.TryReceive(nil)
		require.ErrorIs(t, err, ErrWouldBlock)
		most = max(most, len(parts.parts))
	}
	require.Less(t, most, 4*pipeAskAt)
	h = pipeHeader{length: len(msg) - pipeChunkData, flags: pipeLast, writer: w.id}
	require.NoError(t, w.chunk(forever, h, msg[pipeChunkData:], true))
	got, err := r.Receive(forever, nil)
	require.NoError(t, err)
	require.Equal(t, msg, got)
}

func TestPipeDeliversWhatAWriterHadSentBeforeItDied(t *testing.T) {
	pipeGuard(t)
	path := fifoPath(t)
	rc, err := FIFO(forever, path, os.O_RDONLY|os.O_CREATE, FIFOAwaitWriters(), PipePollable())
	require.NoError(t, err)
	pipeCleanup(t, rc)
	r := rc.(*pipeConn).r
	// The dead writer's message is all in the pipe when its death is noticed, between its pieces.
	w, err := FIFO(forever, path, os.O_WRONLY)
	require.NoError(t, err)
	raw, err := OpenFIFO(forever, path, os.O_WRONLY)
	require.NoError(t, err)
	defer raw.Close()
	msg, pw := pipePattern(6000, 5), w.(*pipeConn).w
	h := pipeHeader{length: pipeChunkData, flags: pipeFirst, writer: pw.id}
	require.NoError(t, pw.chunk(forever, h, msg[:pipeChunkData], true))
	for i := range uint64(3 * pipeAskAt) {
		_, err := raw.Write(append(pipeHeaderBytes(1, pipeFirst, 1000+i), 0))
		require.NoError(t, err)
	}
	h = pipeHeader{length: len(msg) - pipeChunkData, flags: pipeLast, writer: pw.id}
	require.NoError(t, pw.chunk(forever, h, msg[pipeChunkData:], true))
	require.NoError(t, w.Close())
	got, err := rc.Receive(forever, nil)
	require.NoError(t, err)
	require.Equal(t, msg, got)
	require.Greater(t, r.parts.askAt, pipeAskAt, "the dead were asked for")
}

func TestPipeOfTooManyLivingWritersInMidMessageIsBroken(t *testing.T) {
	pipeGuard(t)
	c, w := pipeHostile(t)
	var err error
	n := 0
	for ; err == nil && n < 3*pipeMaxParts; n++ {
		id := uint64(1000 + n)
		require.NoError(t, pipeControl(w, func(fd int) error { return markPipeWriter(fd, id) }))
		_, werr := w.Write(append(pipeHeaderBytes(1, pipeFirst, id), 0))
		require.NoError(t, werr)
		if _, err = c.TryReceive(nil); errors.Is(err, ErrWouldBlock) {
			err = nil
		}
	}
	require.ErrorIs(t, err, ErrFrame)
	require.Greater(t, n, pipeMaxParts)
	require.LessOrEqual(t, n, 2*pipeMaxParts+1)
}
