package channel

import (
	"bytes"
	"encoding"
	"errors"
	"fmt"
	"io/fs"
	"reflect"
	"sync"

	"github.com/fxamacker/cbor/v2"
)

// A Codec turns a T into bytes and back. WithCodec gives a channel one of its
// own, instead of the encoding that T would have; every process that opens the
// channel must use an equal one. Both methods are called from many goroutines
// at once.
//
// Append appends v to dst and returns the longer slice, as append does. It
// keeps neither. What dst holds already it leaves alone; with an error nothing
// is sent. More than MaxMessage bytes are ErrTooLarge.
//
// Decode sets *v from src, all of src. src was written by another process: it
// may be anything, and a Decode that cannot make sense of it returns an error.
// src is a private copy, which no other process can change, and is valid only
// until Decode returns: what *v is to keep of it must be copied. *v may hold an
// earlier value, whose memory Decode may use again. A panic in either method
// is passed on to the caller of Send or Recv.
type Codec[T any] interface {
	Append(dst []byte, v T) ([]byte, error)
	Decode(src []byte, v *T) error
}

var (
	_ Codec[[]byte] = bytesCodec[[]byte]{}
	_ Codec[string] = stringCodec[string]{}
	_ Codec[any]    = binaryCodec[any]{}
	_ Codec[any]    = cborCodec[any]{}
)

// codecFor returns the codec that ti asks for, nil for a plain T. custom is
// what WithCodec was given: a Codec[T], or an error if it is one of another type.
func codecFor[T any](ti typeInfo, custom any) (Codec[T], error) {
	switch ti.transfer {
	case transferPlain:
		return nil, nil
	case transferBytes:
		return bytesCodec[T]{}, nil
	case transferString:
		return stringCodec[T]{}, nil
	case transferBinary:
		return binaryCodec[T]{}, nil
	case transferCBOR:
		return cborCodec[T]{endless: ti.endless}, nil
	case transferCustom:
		codec, ok := custom.(Codec[T])
		if !ok {
			return nil, fmt.Errorf("WithCodec: %T is not a Codec[%s]: %w", custom, reflect.TypeFor[T](), fs.ErrInvalid)
		}
		return codec, nil
	}
	return nil, fmt.Errorf("transfer %d: %w", ti.transfer, fs.ErrInvalid)
}

// bytesCodec carries a []byte as its bytes. Decode reads src exactly once, so
// src may be shared memory. It writes into the memory that *v has, as far as
// its capacity goes, and allocates otherwise; either way *v is the receiver's
// own. An empty message becomes an empty slice, never nil, whichever was sent.
type bytesCodec[T any] struct{}

func (bytesCodec[T]) Append(dst []byte, v T) ([]byte, error) {
	return append(dst, *asBytes(&v)...), nil
}

func (bytesCodec[T]) Decode(src []byte, v *T) error {
	loadBytes(asBytes(v), src)
	return nil
}

func loadBytes(b *[]byte, src []byte) {
	if *b == nil && len(src) == 0 {
		*b = []byte{}
	}
	*b = append((*b)[:0], src...)
}

// stringCodec carries a string as its bytes, valid UTF-8 or not. Decode reads
// src exactly once, so src may be shared memory.
type stringCodec[T any] struct{}

func (stringCodec[T]) Append(dst []byte, v T) ([]byte, error) {
	return append(dst, *asString(&v)...), nil
}

func (stringCodec[T]) Decode(src []byte, v *T) error {
	*asString(v) = string(src)
	return nil
}

// binaryCodec lets T encode itself. It uses AppendBinary where T has it. A
// panic in T's methods is not caught.
type binaryCodec[T any] struct{}

func (binaryCodec[T]) Append(dst []byte, v T) ([]byte, error) {
	switch m := any(&v).(type) {
	case encoding.BinaryAppender:
		out, err := m.AppendBinary(dst)
		if err != nil {
			return dst, err
		}
		return out, nil
	case encoding.BinaryMarshaler:
		b, err := m.MarshalBinary()
		if err != nil {
			return dst, err
		}
		return append(dst, b...), nil
	}
	return dst, errors.ErrUnsupported // not reached: transferOf has looked
}

// Decode gives T's UnmarshalBinary a zero T to set, so that nothing of an
// earlier value stays in it.
func (binaryCodec[T]) Decode(src []byte, v *T) error {
	var zero T
	*v = zero
	m, ok := any(v).(encoding.BinaryUnmarshaler)
	if !ok {
		return errors.ErrUnsupported // not reached: transferOf has looked
	}
	return m.UnmarshalBinary(src)
}

// cborCodec carries any other T as CBOR (RFC 8949).
//
//   - Exported fields cross, under their name or their cbor or json tag. Fields
//     that the receiver's T does not have are skipped; a key that comes twice is
//     an error.
//   - nil and empty slices and maps stay what they were.
//   - A time.Time keeps its nanoseconds and its offset from UTC, to the minute.
//     A pointer to the zero time arrives as nil.
//   - What an any holds arrives as int64, *big.Int, float64, bool, string,
//     []byte, []any, map[any]any or time.Time.
//
// Bytes that another process wrote cannot make the decoder loop, nest without
// end or allocate at will. Before anything is allocated the whole message is
// checked; since an element takes at least one byte of it, what is allocated
// is at most the message's length times the largest element that T's slices
// and maps have, and their overhead.
type cborCodec[T any] struct {
	endless bool // a value may contain itself
}

// maxNesting is how deep arrays, maps and structs may lie in each other. It is
// also the longest linked list that crosses.
const maxNesting = 512

var cborModes = sync.OnceValues(func() (cbor.UserBufferEncMode, cbor.DecMode) {
	enc, err := cbor.EncOptions{
		Time:        cbor.TimeRFC3339Nano,
		TimeTag:     cbor.EncTagRequired,
		IndefLength: cbor.IndefLengthForbidden,
	}.UserBufferEncMode()
	if err != nil {
		panic(err) // the options above are constant
	}
	dec, err := cbor.DecOptions{
		DupMapKey:       cbor.DupMapKeyEnforcedAPF,
		MaxNestedLevels: maxNesting,
		// An element takes a byte at least, so the message's length is the limit.
		MaxArrayElements: 1<<31 - 1,
		MaxMapPairs:      1<<31 - 1,
		// Chunks of unknown number would be counted once per level of nesting.
		IndefLength:       cbor.IndefLengthForbidden,
		IntDec:            cbor.IntDecConvertSignedOrBigInt,
		BigIntDec:         cbor.BigIntDecodePointer,
		MapKeyByteString:  cbor.MapKeyByteStringAllowed,
		FieldNameMatching: cbor.FieldNameMatchingCaseSensitive,
		UTF8:              cbor.UTF8DecodeInvalid, // a Go string may hold any bytes
	}.DecMode()
	if err != nil {
		panic(err)
	}
	return enc, dec
})

var cborBuffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

func (c cborCodec[T]) Append(dst []byte, v T) ([]byte, error) {
	if c.endless {
		if err := checkDepth(reflect.ValueOf(&v).Elem()); err != nil {
			return dst, err
		}
	}
	enc, dec := cborModes()
	buf := cborBuffers.Get().(*bytes.Buffer)
	*buf = *bytes.NewBuffer(dst)
	err := enc.MarshalToBuffer(&v, buf)
	out := buf.Bytes()
	*buf = bytes.Buffer{}
	cborBuffers.Put(buf)
	if err != nil {
		return dst, err
	}
	// What a receiver would refuse is refused here, where somebody can still
	// do something about it.
	if err := dec.Wellformed(out[len(dst):]); err != nil {
		return dst, err
	}
	return out, nil
}

// Decode needs a src that nobody changes: it reads it twice.
func (cborCodec[T]) Decode(src []byte, v *T) error {
	var zero T
	*v = zero
	_, dec := cborModes()
	if err := dec.Unmarshal(src, v); err != nil {
		*v = zero
		return &decodeError{err}
	}
	return nil
}

// decodeError makes the decoder's error fit to print: it may quote the message.
type decodeError struct{ err error }

func (e *decodeError) Error() string { return printable(e.err.Error(), 256) }
func (e *decodeError) Unwrap() error { return e.err }
