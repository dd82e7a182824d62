package channel

import (
	"reflect"
	"slices"
)

// unrolled is how many levels deep the fingerprint looks into a type. A type
// is a graph, with cycles where it is recursive; what is hashed is the tree
// that comes of following it this many steps from T. So the cost is levels ×
// types however densely they refer to each other, equal structures have equal
// fingerprints however they are cut into named types, and a difference is
// missed only if it lies deeper. Changing the number changes the fingerprints
// of recursive types.
const unrolled = 64

// fingerprintOf hashes what programs must agree on. Raw bytes and strings are
// the same in every process; for all others the size in memory takes part, so
// that 32-bit and 64-bit programs do not meet over an int. Its alignment does
// not: where that matters, inside of structs, offsets and size show it.
func fingerprintOf(t reflect.Type, ti typeInfo) uint64 {
	h := newFNV()
	h.text("shmchan type 1")
	h.text(ti.transfer.String())
	if ti.transfer != transferBytes && ti.transfer != transferString {
		h.number(uint64(ti.size))
		h.number(unroll(t, ti.transfer))
	}
	return max(uint64(h), 1)
}

// shape is one type without what it refers to.
type shape struct {
	local fnv
	refs  []reflect.Type
}

// unroll hashes the tree of t, from the leaves up: after round n every type's
// hash stands for its tree cut at depth n.
func unroll(t reflect.Type, tr transfer) uint64 {
	shapes := map[reflect.Type]shape{}
	todo := []reflect.Type{t}
	for len(todo) > 0 {
		next := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if _, seen := shapes[next]; !seen {
			s := shapeOf(next, tr)
			shapes[next] = s
			todo = append(todo, s.refs...)
		}
	}
	last := make(map[reflect.Type]uint64, len(shapes))
	for range unrolled {
		now := make(map[reflect.Type]uint64, len(shapes))
		for typ, s := range shapes {
			h := s.local
			for _, ref := range s.refs {
				h.number(last[ref])
			}
			now[typ] = uint64(h)
		}
		last = now
	}
	return last[t]
}

// shapeOf hashes the kind of t, its size where the kind does not give it, and
// the fields of a struct.
func shapeOf(t reflect.Type, tr transfer) shape {
	h := newFNV()
	if tr != transferPlain && isStandard(t) {
		h.text("standard")
		h.text(t.PkgPath() + "." + t.Name())
		return shape{local: h}
	}
	h.text(t.Kind().String())
	s := shape{}
	switch t.Kind() {
	case reflect.Array:
		h.number(uint64(t.Len()))
		s.refs = []reflect.Type{t.Elem()}
	case reflect.Slice, reflect.Pointer:
		s.refs = []reflect.Type{t.Elem()}
	case reflect.Map:
		s.refs = []reflect.Type{t.Key(), t.Elem()}
	case reflect.Interface:
		for i := range t.NumMethod() {
			h.text(t.Method(i).Name)
		}
	case reflect.Struct:
		h.number(uint64(t.NumField()))
		for i := range t.NumField() {
			f := t.Field(i)
			h.text(f.Name)
			h.number(uint64(f.Offset))
			if tr == transferCBOR {
				h.text(cborTag(f))
				h.flag(f.Anonymous)
			}
			s.refs = append(s.refs, f.Type)
		}
	default:
		h.number(uint64(t.Size()))
	}
	s.local = h
	s.refs = slices.Clip(s.refs)
	return s
}

// cborTag is the tag that the CBOR encoder goes by. It names the key on the
// wire, so programs that differ in it do not understand each other.
func cborTag(f reflect.StructField) string {
	if tag := f.Tag.Get("cbor"); tag != "" {
		return tag
	}
	return f.Tag.Get("json")
}

// fnv is a running FNV-1a, 64 bits. It is written out here because it is part
// of the shared layout: it must stay the same for ever, on every machine.
type fnv uint64

func newFNV() fnv { return 0xcbf29ce484222325 }

func (h *fnv) octet(b byte) { *h = (*h ^ fnv(b)) * 0x100000001b3 }

// number adds v as eight bytes, the lowest first.
func (h *fnv) number(v uint64) {
	for range 8 {
		h.octet(byte(v))
		v >>= 8
	}
}

func (h *fnv) flag(v bool) {
	if v {
		h.octet(1)
	} else {
		h.octet(0)
	}
}

// text adds s after its length, so that "ab"+"c" is not "a"+"bc".
func (h *fnv) text(s string) {
	h.number(uint64(len(s)))
	for i := range len(s) {
		h.octet(s[i])
	}
}
