package channel

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"math"
	"math/big"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// codecOf is the codec that a channel of T would use.
func codecOf[T any](t require.TestingT) Codec[T] {
	ti, err := describe[T](false)
	require.NoError(t, err)
	codec, err := codecFor[T](ti, nil)
	require.NoError(t, err)
	return codec
}

// carry sends v through T's codec, behind bytes that must stay as they are.
func carry[T any](t require.TestingT, v T) T {
	codec := codecOf[T](t)
	before := []byte("before")
	msg, err := codec.Append(before, v)
	require.NoError(t, err)
	require.Equal(t, "before", string(msg[:len(before)]))
	var got T
	require.NoError(t, codec.Decode(msg[len(before):], &got))
	return got
}

type codecPoint struct{ X, Y float64 }

type codecAll struct {
	B    bool
	I    int64
	U    uint64
	F    float64
	G    float32
	S    string
	Bin  []byte
	Arr  [3]uint16
	List []string
	Map  map[string]int32
	Ints map[int16]codecPoint
	Ptr  *int64
	Next *codecAll
	Big  *big.Int
	Addr netip.Addr
	At   time.Time
}

func TestPlainTypesHaveNoCodec(t *testing.T) {
	require.Nil(t, codecOf[codecPoint](t))
	require.Nil(t, codecOf[struct{}](t))
}

func TestRawBytesAndStringsCrossAsTheyAre(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := rapid.SliceOf(rapid.Byte()).Draw(t, "bytes")
		msg, err := codecOf[[]byte](t).Append(nil, b)
		require.NoError(t, err)
		require.True(t, bytes.Equal(b, msg))
		require.True(t, bytes.Equal(b, carry(t, b)))
		require.Equal(t, string(b), carry(t, string(b)))
		require.True(t, bytes.Equal(b, carry(t, layoutBytes(b))))
		require.Equal(t, layoutText(b), carry(t, layoutText(b)))
	})
	require.Equal(t, layoutOctets{1, 2}, carry(t, layoutOctets{1, 2}))
}

func TestAnEmptyMessageOfBytesIsNotNil(t *testing.T) {
	require.Equal(t, []byte{}, carry(t, []byte(nil)))
	require.Equal(t, []byte{}, carry(t, []byte{}))
}

func TestBytesAreReceivedIntoTheMemoryThatIsThere(t *testing.T) {
	codec := codecOf[[]byte](t)
	buf := make([]byte, 3, 8)
	v := buf
	src := []byte("12345678")
	require.Zero(t, testing.AllocsPerRun(100, func() {
		v = v[:0]
		if err := codec.Decode(src, &v); err != nil {
			t.Fatal(err)
		}
	}))
	require.Equal(t, "12345678", string(v))
	require.Same(t, &buf[0], &v[0])
	src[0] = 'x'
	require.Equal(t, "12345678", string(v), "what was received is the receiver's own")

	require.NoError(t, codec.Decode([]byte("123456789"), &v))
	require.Equal(t, "123456789", string(v))
	require.Equal(t, "12345678", string(buf[:8]), "the old buffer is left alone")
}

func TestRawBytesAreSentWithoutAllocation(t *testing.T) {
	bin, text := codecOf[[]byte](t), codecOf[string](t)
	dst := make([]byte, 0, 64)
	b, s := []byte("hello"), "hello"
	require.Zero(t, testing.AllocsPerRun(100, func() {
		_, _ = bin.Append(dst, b)
		_, _ = text.Append(dst, s)
	}))
}

func drawTime(t *rapid.T) time.Time {
	// time.Time cannot marshal an offset of -1 minute, which it uses for UTC.
	offset := 15 * rapid.IntRange(-14*4, 14*4).Draw(t, "offset, quarter hours")
	at := time.Unix(rapid.Int64Range(-60e9, 250e9).Draw(t, "s"), rapid.Int64Range(0, 999_999_999).Draw(t, "ns"))
	return at.In(time.FixedZone("", offset*60))
}

func TestTypesThatMarshalThemselvesCross(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at := drawTime(t)
		require.True(t, at.Equal(carry(t, at)))
	})
	addr := netip.MustParseAddr("fe80::1%eth0")
	require.Equal(t, addr, carry(t, addr))
	require.Equal(t, netip.Addr{}, carry(t, netip.Addr{}))
	require.True(t, carry(t, time.Time{}).IsZero())
}

func drawAll(t *rapid.T, depth int) *codecAll {
	v := &codecAll{
		B:    rapid.Bool().Draw(t, "B"),
		I:    rapid.Int64().Draw(t, "I"),
		U:    rapid.Uint64().Draw(t, "U"),
		F:    rapid.Float64().Draw(t, "F"),
		G:    rapid.Float32().Draw(t, "G"),
		S:    string(rapid.SliceOf(rapid.Byte()).Draw(t, "S")),
		Arr:  [3]uint16{rapid.Uint16().Draw(t, "Arr")},
		Map:  rapid.OneOf(rapid.Just(map[string]int32(nil)), rapid.MapOf(rapid.String(), rapid.Int32())).Draw(t, "Map"),
		List: rapid.OneOf(rapid.Just([]string(nil)), rapid.SliceOf(rapid.String())).Draw(t, "List"),
		Bin:  rapid.OneOf(rapid.Just([]byte(nil)), rapid.SliceOf(rapid.Byte())).Draw(t, "Bin"),
		Ints: map[int16]codecPoint{rapid.Int16().Draw(t, "key"): {X: 1, Y: rapid.Float64().Draw(t, "Y")}},
		Addr: netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "Addr"))),
		At:   drawTime(t),
	}
	if rapid.Bool().Draw(t, "Ptr") {
		v.Ptr = &v.I
		v.Big = new(big.Int).Lsh(big.NewInt(v.I), uint(rapid.IntRange(0, 300).Draw(t, "shift")))
	}
	if depth > 0 && rapid.Bool().Draw(t, "Next") {
		v.Next = drawAll(t, depth-1)
	}
	return v
}

func requireSame(t require.TestingT, want, got *codecAll) {
	for ; want != nil; want, got = want.Next, got.Next {
		require.NotNil(t, got)
		require.True(t, want.At.Equal(got.At))
		if want.Big != nil {
			require.Zero(t, want.Big.Cmp(got.Big))
		}
		w, g := *want, *got
		w.At, g.At, w.Big, g.Big, w.Next, g.Next = time.Time{}, time.Time{}, nil, nil, nil, nil
		require.Equal(t, w, g)
	}
	require.Nil(t, got)
}

func TestStructuresCross(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := drawAll(t, 3)
		got := carry(t, *v)
		requireSame(t, v, &got)
	})
	requireSame(t, &codecAll{}, func() *codecAll { v := carry(t, codecAll{}); return &v }())
}

func TestAnAnyArrivesAsTheNaturalTypes(t *testing.T) {
	at := time.Date(2024, 2, 29, 1, 2, 3, 456789012, time.UTC)
	huge := new(big.Int).SetUint64(math.MaxUint64)
	for _, c := range []struct{ sent, got any }{
		{nil, nil},
		{5, int64(5)},
		{uint8(5), int64(5)},
		{-5, int64(-5)},
		{uint64(math.MaxUint64), huge},
		{float32(0.5), 0.5},
		{"a", "a"},
		{true, true},
		{[]byte{1}, []byte{1}},
		{[]string{"a"}, []any{"a"}},
		{map[string]int{"a": 1}, map[any]any{"a": int64(1)}},
		{codecPoint{1, 2}, map[any]any{"X": 1.0, "Y": 2.0}},
		{at, at},
	} {
		require.Equal(t, c.got, carry(t, c.sent))
	}
}

func TestWhatCannotBeEncodedFailsAtTheSender(t *testing.T) {
	codec := codecOf[any](t)
	for _, v := range []any{make(chan int), func() {}, complex(1, 1), []any{make(chan int)}} {
		dst := []byte("kept")
		out, err := codec.Append(dst, v)
		require.Error(t, err)
		require.Equal(t, "kept", string(out))
	}
	_, err := codecOf[*time.Time](t).Append(nil, func() *time.Time { at := time.Unix(1<<40, 0); return &at }())
	require.Error(t, err, "a year of five digits")
}

type codecList struct {
	Next *codecList
	up   *codecList
}

func TestAValueThatContainsItselfIsAnError(t *testing.T) {
	loop := &codecList{}
	loop.Next = loop
	_, err := codecOf[*codecList](t).Append(nil, loop)
	require.ErrorIs(t, err, errTooDeep)

	m := map[string]any{}
	m["me"] = []any{m}
	_, err = codecOf[any](t).Append(nil, m)
	require.ErrorIs(t, err, errTooDeep)

	p := new(layoutPtr)
	*p = p
	_, err = codecOf[layoutPtr](t).Append(nil, p)
	require.ErrorIs(t, err, errTooDeep)

	// A way back that is not encoded closes no cycle.
	parent := &codecList{}
	parent.Next = &codecList{up: parent}
	require.Nil(t, carry(t, parent).Next.up)
}

func TestNestingHasALimitOnBothSides(t *testing.T) {
	codec := codecOf[codecList](t)
	chain := func(n int) codecList {
		v := codecList{}
		for range n - 1 {
			next := v
			v = codecList{Next: &next}
		}
		return v
	}
	got := carry(t, chain(maxNesting))
	require.Equal(t, chain(maxNesting), got)
	_, err := codec.Append(nil, chain(maxNesting+1))
	require.Error(t, err)

	hostile := bytes.Repeat([]byte{0x81}, 1<<20)
	var v any
	require.Error(t, codecOf[any](t).Decode(hostile, &v))
}

func TestHostileLengthsAllocateNothing(t *testing.T) {
	head := func(major byte, n uint64) []byte { return binary.BigEndian.AppendUint64([]byte{major<<5 | 27}, n) }
	codec := codecOf[any](t)
	for _, n := range []uint64{1 << 20, 1 << 31, 1 << 32, 1 << 62, 1 << 63, math.MaxUint64} {
		for major := byte(2); major <= 5; major++ {
			msg := append(head(major, n), make([]byte, 100)...)
			var v any
			var m1, m2 runtime.MemStats
			runtime.ReadMemStats(&m1)
			require.Error(t, codec.Decode(msg, &v))
			runtime.ReadMemStats(&m2)
			require.Less(t, m2.TotalAlloc-m1.TotalAlloc, uint64(1<<20))
			require.Nil(t, v)
		}
	}
}

func TestAMessageOf64KiBTakesLittleMemory(t *testing.T) {
	array := func(fill byte) []byte {
		return append([]byte{0x99, 0xff, 0xf0}, bytes.Repeat([]byte{fill}, 0xfff0)...)
	}
	for name, msg := range map[string][]byte{
		"numbers": array(0x00), "empty arrays": array(0x80), "empty maps": array(0xa0), "nulls": array(0xf6),
		"maps": append([]byte{0x99, 0x55, 0x50}, bytes.Repeat([]byte{0xa1, 0, 0}, 0x5550)...),
	} {
		t.Run(name, func(t *testing.T) {
			var m1, m2 runtime.MemStats
			var v any
			runtime.ReadMemStats(&m1)
			require.NoError(t, codecOf[any](t).Decode(msg, &v))
			runtime.ReadMemStats(&m2)
			require.Less(t, m2.TotalAlloc-m1.TotalAlloc, uint64(64<<20))
		})
	}
}

func TestDecodingRefusesWhatIsNotOneSoundMessage(t *testing.T) {
	codec := codecOf[map[string]int](t)
	for name, msg := range map[string][]byte{
		"nothing":           {},
		"a key twice":       {0xa2, 0x61, 'a', 1, 0x61, 'a', 2},
		"bytes behind":      {0xa0, 0x00},
		"cut short":         {0xa1, 0x61},
		"indefinite length": {0xbf, 0xff},
		"another type":      {0x80},
	} {
		v := map[string]int{"old": 1}
		require.Error(t, codec.Decode(msg, &v), name)
		require.Nil(t, v, name)
	}
}

func TestADecodingErrorIsFitToPrint(t *testing.T) {
	msg, err := cbor.Marshal("\x1b[2J" + strings.Repeat("x", 5000))
	require.NoError(t, err)
	err = codecOf[*time.Time](t).Decode(msg, new(*time.Time))
	require.ErrorContains(t, err, "?[2J")
	require.Less(t, len(err.Error()), 300)
}

func TestNothingOfAnEarlierValueStays(t *testing.T) {
	type message struct {
		A, B string `cbor:",omitempty"`
		M    map[string]int
	}
	codec := codecOf[message](t)
	msg, err := codec.Append(nil, message{A: "new", M: map[string]int{"new": 1}})
	require.NoError(t, err)
	old := map[string]int{"old": 1}
	v := message{A: "old", B: "old", M: old}
	require.NoError(t, codec.Decode(msg, &v))
	require.Equal(t, message{A: "new", M: map[string]int{"new": 1}}, v)
	require.Equal(t, map[string]int{"old": 1}, old)
}

func TestFieldsThatTheReceiverLacksAreSkipped(t *testing.T) {
	msg, err := cbor.Marshal(map[string]any{"A": "a", "Unknown": []int{1}, "a": "not me"})
	require.NoError(t, err)
	var v struct {
		A string
		P *int
	}
	require.NoError(t, cborCodec[struct {
		A string
		P *int
	}]{}.Decode(msg, &v))
	require.Equal(t, "a", v.A)
}

type upperCodec struct{}

func (upperCodec) Append(dst []byte, v string) ([]byte, error) {
	return append(dst, strings.ToUpper(v)...), nil
}

func (upperCodec) Decode(src []byte, v *string) error {
	*v = string(src)
	return nil
}

func TestACodecOfOnesOwnMustFitTheType(t *testing.T) {
	ti, err := describe[string](true)
	require.NoError(t, err)
	codec, err := codecFor[string](ti, upperCodec{})
	require.NoError(t, err)
	require.Equal(t, upperCodec{}, codec)

	ti, err = describe[int](true)
	require.NoError(t, err)
	for _, custom := range []any{upperCodec{}, nil, 5} {
		_, err = codecFor[int](ti, custom)
		require.ErrorIs(t, err, fs.ErrInvalid)
	}
}

type panickyBinary struct{ p *int }

func (panickyBinary) MarshalBinary() ([]byte, error) { return nil, errors.New("no") }
func (v *panickyBinary) UnmarshalBinary([]byte) error {
	if v.p == nil {
		panic("mine")
	}
	return nil
}

func TestErrorsAndPanicsOfTheTypesOwnMethodsReachTheCaller(t *testing.T) {
	codec := codecOf[panickyBinary](t)
	_, err := codec.Append(nil, panickyBinary{})
	require.EqualError(t, err, "no")
	require.PanicsWithValue(t, "mine", func() { _ = codec.Decode(nil, &panickyBinary{p: new(int)}) })
}

func FuzzDecode(f *testing.F) {
	v := codecAll{S: "s", Next: &codecAll{Map: map[string]int32{"a": 1}}, Big: big.NewInt(1), At: time.Unix(1, 1)}
	msg, err := codecOf[codecAll](f).Append(nil, v)
	require.NoError(f, err)
	f.Add(msg)
	f.Add([]byte{0xa2, 0x61, 'a', 1, 0x61, 'a', 2})
	f.Add([]byte{0x9b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	f.Add([]byte{0xc0, 0x74, '2', '0'})
	f.Add([]byte{0xc2, 0x41, 0x01})
	f.Fuzz(func(t *testing.T, msg []byte) {
		all, loose := codecOf[codecAll](t), codecOf[any](t)
		var v codecAll
		if all.Decode(msg, &v) == nil {
			again, err := all.Append(nil, v)
			require.NoError(t, err)
			var w codecAll
			require.NoError(t, all.Decode(again, &w))
		}
		var x any
		_ = loose.Decode(msg, &x)
		var b []byte
		require.NoError(t, codecOf[[]byte](t).Decode(msg, &b))
		require.Equal(t, len(msg), len(b))
		_ = codecOf[time.Time](t).Decode(msg, new(time.Time))
	})
}
