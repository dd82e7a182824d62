package channel

import (
	"errors"
	"io"
	"math/big"
	"net/netip"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"
	"unsafe"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

type (
	layoutTick struct {
		Price float64
		Size  uint32
	}
	layoutOtherTick struct {
		Price float64
		Size  uint32
	}
	layoutOrder struct {
		ID   uint64
		Name string `cbor:"n"`
		Legs []layoutTick
		Next *layoutOrder
	}
	layoutOtherOrder struct {
		ID   uint64
		Name string `cbor:"n"`
		Legs []layoutOtherTick
		Next *layoutOtherOrder
	}
	layoutBytes  []byte
	layoutOctet  uint8
	layoutOctets []layoutOctet
	layoutText   string
	layoutPtr    *layoutPtr
	layoutSelf   struct{ p *int }
	layoutHalf   struct{ P *int }
	layoutFlat   struct{ N uint64 }
	layoutWord   struct{ w uintptr }
	layoutHidden struct{ s string }
	//lint:ignore U1000 read by reflection
	layoutHolder struct{ conn *layoutConn } //nolint:unused // read by reflection
	//lint:ignore U1000 read by reflection
	layoutConn   struct{ fd uintptr } //nolint:unused // read by reflection
	layoutParent struct {
		Name   string
		Kids   []*layoutParent
		parent *layoutParent
	}
	layoutLoop struct {
		Name string
		Next *layoutLoop
		Stop chan struct{}
	}
)

func (s layoutSelf) MarshalBinary() ([]byte, error)  { return nil, nil }
func (s *layoutSelf) UnmarshalBinary(b []byte) error { s.p = new(int); return nil }
func (layoutHalf) MarshalBinary() ([]byte, error)    { return nil, nil }
func (layoutFlat) MarshalBinary() ([]byte, error)    { return nil, nil }
func (*layoutFlat) UnmarshalBinary([]byte) error     { return nil }
func (layoutWord) MarshalBinary() ([]byte, error)    { return nil, nil }
func (w *layoutWord) UnmarshalBinary([]byte) error   { w.w = 1; return nil }
func (layoutBytes) MarshalBinary() ([]byte, error)   { return nil, nil }
func (*layoutBytes) UnmarshalBinary([]byte) error    { return nil }

func TestTransferFollowsFromTheType(t *testing.T) {
	_, _ = layoutHidden{s: ""}, layoutParent{parent: nil}
	for _, c := range []struct {
		typ  reflect.Type
		want transfer
	}{
		{reflect.TypeFor[bool](), transferPlain},
		{reflect.TypeFor[int](), transferPlain},
		{reflect.TypeFor[complex128](), transferPlain},
		{reflect.TypeFor[struct{}](), transferPlain},
		{reflect.TypeFor[[0]int](), transferPlain},
		{reflect.TypeFor[layoutTick](), transferPlain},
		{reflect.TypeFor[[3]layoutTick](), transferPlain},
		{reflect.TypeFor[time.Duration](), transferPlain},
		{reflect.TypeFor[layoutFlat](), transferPlain},
		{reflect.TypeFor[struct {
			_ [0]func()
			A int
		}](), transferPlain},
		{reflect.TypeFor[[]byte](), transferBytes},
		{reflect.TypeFor[layoutBytes](), transferBytes},
		{reflect.TypeFor[layoutOctets](), transferBytes},
		{reflect.TypeFor[string](), transferString},
		{reflect.TypeFor[layoutText](), transferString},
		{reflect.TypeFor[time.Time](), transferBinary},
		{reflect.TypeFor[netip.Addr](), transferBinary},
		{reflect.TypeFor[url.URL](), transferBinary},
		{reflect.TypeFor[layoutSelf](), transferBinary},
		{reflect.TypeFor[layoutWord](), transferBinary},
		{reflect.TypeFor[*time.Time](), transferCBOR},
		{reflect.TypeFor[*int](), transferCBOR},
		{reflect.TypeFor[[]string](), transferCBOR},
		{reflect.TypeFor[map[string]any](), transferCBOR},
		{reflect.TypeFor[any](), transferCBOR},
		{reflect.TypeFor[big.Int](), transferCBOR},
		{reflect.TypeFor[layoutOrder](), transferCBOR},
		{reflect.TypeFor[layoutParent](), transferCBOR},
		{reflect.TypeFor[layoutPtr](), transferCBOR},
		{reflect.TypeFor[struct {
			Mu   sync.Mutex
			Name string
		}](), 0},
		{reflect.TypeFor[struct {
			mu   sync.Mutex
			Name string
		}](), transferCBOR},
		{reflect.TypeFor[struct {
			Err  error `cbor:"-"`
			Name string
		}](), transferCBOR},
	} {
		t.Run(c.typ.String(), func(t *testing.T) {
			ti, err := describeType(c.typ, false)
			if c.want == 0 {
				require.Error(t, err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.want.String(), ti.transfer.String())
			require.Equal(t, c.typ.Size(), ti.size)
			require.Equal(t, uintptr(c.typ.Align()), ti.align)
			require.NotZero(t, ti.fingerprint)

			ti, err = describeType(c.typ, true)
			require.NoError(t, err)
			require.Equal(t, transferCustom, ti.transfer)
		})
	}
}

func TestTypesThatCanNeverCrossAreRefusedWithTheirPath(t *testing.T) {
	for _, c := range []struct {
		typ        reflect.Type
		path, what string
	}{
		{reflect.TypeFor[chan int](), "T", "chan int"},
		{reflect.TypeFor[func()](), "T", "func()"},
		{reflect.TypeFor[unsafe.Pointer](), "T", "unsafe.Pointer"},
		{reflect.TypeFor[uintptr](), "T", "uintptr"},
		{reflect.TypeFor[[4]uintptr](), "T[]", "uintptr"},
		{reflect.TypeFor[struct{ A, B uintptr }](), "T.A", "uintptr"},
		{reflect.TypeFor[[]chan int](), "T[]", "chan int"},
		{reflect.TypeFor[map[string]func()](), "T[]", "func()"},
		{reflect.TypeFor[map[chan int]string](), "T[key]", "chan int"},
		{reflect.TypeFor[**uintptr](), "T", "uintptr"},
		{reflect.TypeFor[layoutHolder](), "T.conn.fd", "uintptr"},
		{reflect.TypeFor[struct{ Conn []layoutHolder }](), "T.Conn[].conn.fd", "uintptr"},
		{reflect.TypeFor[layoutLoop](), "T.Stop", "chan struct {}"},
		{reflect.TypeFor[error](), "T", "error"},
		{reflect.TypeFor[struct{ R io.Reader }](), "T.R", "io.Reader"},
		{reflect.TypeFor[struct {
			S string
			C complex64
		}](), "T.C", "complex64"},
		{reflect.TypeFor[layoutHidden](), "T", "channel.layoutHidden"},
		{reflect.TypeFor[[]layoutHidden](), "T[]", "channel.layoutHidden"},
		{reflect.TypeFor[layoutHalf](), "T", "channel.layoutHalf"},
		{reflect.TypeFor[struct {
			*layoutTick
			S string
		}](), "T.layoutTick", "*channel.layoutTick"},
	} {
		t.Run(c.typ.String(), func(t *testing.T) {
			_, err := describeType(c.typ, false)
			var refused *TypeError
			require.ErrorAs(t, err, &refused)
			require.ErrorIs(t, err, errors.ErrUnsupported)
			require.Equal(t, c.path, refused.Path)
			require.Equal(t, c.what, refused.Type)
			require.True(t, strings.HasPrefix(err.Error(), c.path+": "+c.what+": "), err.Error())

			_, err = describeType(c.typ, true)
			require.NoError(t, err, "a codec of one's own may carry it")
		})
	}
}

func layoutFingerprint[T any](t testing.TB) uint64 {
	t.Helper()
	ti, err := describe[T](false)
	require.NoError(t, err)
	return ti.fingerprint
}

// Programs of different age meet on one object. If this test fails, channels
// made by an older release are refused: raise the ABI number instead.
func TestFingerprintsStayTheSameForEver(t *testing.T) {
	require.Equal(t, uint64(0xe88907e733143ce9), layoutFingerprint[uint64](t))
	require.Equal(t, uint64(0xfefd0f1155aae4f4), layoutFingerprint[[]byte](t))
	require.Equal(t, uint64(0xa100ce5a8dcd035f), layoutFingerprint[string](t))
	require.Equal(t, uint64(0x174617512cc30d46), layoutFingerprint[struct{}](t))
	require.Equal(t, uint64(0x8453257db9adee6), layoutFingerprint[struct {
		A uint32
		B [4]uint8
	}](t))
	if strconv.IntSize == 64 {
		require.Equal(t, uint64(0x2efa3e87a915b59b), layoutFingerprint[layoutTick](t))
		require.Equal(t, uint64(0xaca3856ffffa6f0f), layoutFingerprint[layoutOrder](t))
		require.Equal(t, uint64(0x951c4de4f891b279), layoutFingerprint[time.Time](t))
		require.Equal(t, uint64(0x155a5b69d0c9e3c4), layoutFingerprint[int](t))
	} else {
		require.NotEqual(t, uint64(0x2efa3e87a915b59b), layoutFingerprint[layoutTick](t), "aligned to 4")
		require.NotEqual(t, uint64(0xaca3856ffffa6f0f), layoutFingerprint[layoutOrder](t))
		require.NotEqual(t, uint64(0x155a5b69d0c9e3c4), layoutFingerprint[int](t))
	}
}

func TestEqualStructuresAgreeWhateverTheirNames(t *testing.T) {
	require.Equal(t, layoutFingerprint[layoutTick](t), layoutFingerprint[layoutOtherTick](t))
	require.Equal(t, layoutFingerprint[layoutOrder](t), layoutFingerprint[layoutOtherOrder](t))
	require.Equal(t, layoutFingerprint[[2]layoutTick](t), layoutFingerprint[[2]struct {
		Price float64
		Size  uint32
	}](t))
	require.Equal(t, layoutFingerprint[[]byte](t), layoutFingerprint[layoutOctets](t))
	require.Equal(t, layoutFingerprint[time.Duration](t), layoutFingerprint[int64](t))
	// One type used twice is the same as two alike.
	require.Equal(t,
		layoutFingerprint[struct{ A, B layoutTick }](t),
		layoutFingerprint[struct {
			A layoutTick
			B layoutOtherTick
		}](t))
}

func TestDifferentStructuresDisagree(t *testing.T) {
	types := []reflect.Type{
		reflect.TypeFor[int](), reflect.TypeFor[uint](),
		reflect.TypeFor[int32](), reflect.TypeFor[int64](), reflect.TypeFor[uint64](), reflect.TypeFor[float64](),
		reflect.TypeFor[struct{}](), reflect.TypeFor[[0]int64](), reflect.TypeFor[[1]int64](), reflect.TypeFor[struct{ A int64 }](),
		reflect.TypeFor[struct{ B int64 }](), reflect.TypeFor[struct{ A, B int64 }](), reflect.TypeFor[struct{ B, A int64 }](),
		reflect.TypeFor[struct {
			A int32
			B int64
		}](),
		reflect.TypeFor[[]byte](), reflect.TypeFor[string](), reflect.TypeFor[[]string](), reflect.TypeFor[[]int8](), reflect.TypeFor[[]*string](),
		reflect.TypeFor[map[string]string](), reflect.TypeFor[map[string]*string](), reflect.TypeFor[any](),
		reflect.TypeFor[struct{ A string }](), reflect.TypeFor[struct{ AA string }](),
		reflect.TypeFor[struct {
			A string `cbor:"a"`
		}](),
		reflect.TypeFor[struct {
			A string `json:"b"`
		}](),
		reflect.TypeFor[time.Time](), reflect.TypeFor[*time.Time](), reflect.TypeFor[netip.Addr](), reflect.TypeFor[url.URL](),
		reflect.TypeFor[layoutOrder](), reflect.TypeFor[*layoutOrder](), reflect.TypeFor[layoutParent](),
		reflect.TypeFor[struct {
			layoutTick
			S string
		}](),
		reflect.TypeFor[struct {
			layoutTick layoutTick //nolint:unused // only its layout matters
			S          string
		}](),
	}
	seen := map[uint64]string{}
	for _, custom := range []bool{false, true} {
		for _, typ := range types {
			ti, err := describeType(typ, custom)
			require.NoError(t, err)
			if custom && typ.Name() == "" && typ.Kind() == reflect.Struct {
				continue // tags and embedding are the CBOR encoder's
			}
			require.Empty(t, seen[ti.fingerprint], "the same as %v", typ)
			seen[ti.fingerprint] = typ.String()
		}
	}
}

// layoutFork refers to itself along 2^n ways; layoutWeb's types each to all.
type (
	layoutFork0 struct{ A, B, C, D *layoutFork1 }
	layoutFork1 struct{ A, B, C, D *layoutFork2 }
	layoutFork2 struct{ A, B, C, D *layoutFork3 }
	layoutFork3 struct{ A, B, C, D *layoutFork0 }
	layoutWebA  struct {
		A *layoutWebA
		B *layoutWebB
		C *layoutWebC
		D *layoutFork0
	}
	layoutWebB struct {
		A *layoutWebA
		B *layoutWebB
		C *layoutWebC
	}
	layoutWebC struct {
		A []layoutWebA
		B map[string]layoutWebB
		C **layoutWebC
		N int64
	}
)

func TestDescribingTypesThatReferToEachOtherTerminates(t *testing.T) {
	ti, err := describe[layoutWebA](false)
	require.NoError(t, err)
	require.True(t, ti.endless)
	require.LessOrEqual(t, len(ti.description), maxDescription)
	require.Contains(t, ti.description, "(recursive)")
}

func TestDescriptionReadsAsALayout(t *testing.T) {
	if strconv.IntSize != 64 {
		t.Skip("offsets are those of 64-bit machines")
	}
	for _, c := range []struct {
		typ  reflect.Type
		want string
	}{
		{reflect.TypeFor[layoutTick](), "struct{Price float64 @0; Size uint32 @8} (16 bytes, plain)"},
		{reflect.TypeFor[int](), "int(8 bytes) (8 bytes, plain)"},
		{reflect.TypeFor[struct{}](), "struct{} (0 bytes, plain)"},
		{reflect.TypeFor[[]byte](), "[]uint8 (24 bytes, raw bytes)"},
		{reflect.TypeFor[time.Time](), "time.Time (24 bytes, MarshalBinary)"},
		{reflect.TypeFor[map[string]any](), "map[string]any (8 bytes, CBOR)"},
		{
			reflect.TypeFor[layoutOrder](),
			`struct{ID uint64 @0; Name string @8 "n"; Legs []struct{Price float64 @0; Size uint32 @8} @24; Next *(recursive) @48} (56 bytes, CBOR)`,
		},
	} {
		ti, err := describeType(c.typ, false)
		require.NoError(t, err)
		require.Equal(t, c.want, ti.description)
	}
	ti, err := describe[io.ReadCloser](true)
	require.NoError(t, err)
	require.Equal(t, "interface{Close; Read} (16 bytes, own codec)", ti.description)
}

func layoutDrawType(t *rapid.T, depth int) reflect.Type {
	leaves := []reflect.Type{
		reflect.TypeFor[bool](), reflect.TypeFor[int8](), reflect.TypeFor[uint16](), reflect.TypeFor[int](),
		reflect.TypeFor[float64](), reflect.TypeFor[string](), reflect.TypeFor[[]byte](), reflect.TypeFor[time.Time](), reflect.TypeFor[layoutOrder](),
	}
	kind := rapid.IntRange(0, 9).Draw(t, "kind")
	if depth == 0 {
		kind = 0
	}
	switch kind {
	case 5:
		return reflect.SliceOf(layoutDrawType(t, depth-1))
	case 6:
		return reflect.ArrayOf(rapid.IntRange(0, 5).Draw(t, "len"), layoutDrawType(t, depth-1))
	case 7:
		return reflect.PointerTo(layoutDrawType(t, depth-1))
	case 8:
		return reflect.MapOf(reflect.TypeFor[string](), layoutDrawType(t, depth-1))
	case 9, 4, 3:
		var fields []reflect.StructField
		for i := range rapid.IntRange(0, 8).Draw(t, "fields") {
			fields = append(fields, reflect.StructField{
				Name: "F" + strconv.Itoa(i) + strings.Repeat("ä", rapid.IntRange(0, 9).Draw(t, "long")),
				Type: layoutDrawType(t, depth-1),
				Tag:  reflect.StructTag(rapid.SampledFrom([]string{"", `cbor:"x,omitempty"`, `cbor:"} @; \\\"{"`}).Draw(t, "tag")),
			})
		}
		return reflect.StructOf(fields)
	}
	return rapid.SampledFrom(leaves).Draw(t, "leaf")
}

func TestDescriptionsAreBoundedAndTellTypesApart(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, err := describeType(layoutDrawType(t, 4), false)
		require.NoError(t, err)
		b, err := describeType(layoutDrawType(t, 4), false)
		require.NoError(t, err)
		for _, ti := range []typeInfo{a, b} {
			require.LessOrEqual(t, len(ti.description), maxDescription)
			require.True(t, utf8.ValidString(ti.description))
		}
		require.Equal(t, a.description == b.description, a.fingerprint == b.fingerprint, "%s\n%s", a.description, b.description)
	})
}
