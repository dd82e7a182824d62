package channel

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxDescription is the longest description, in bytes. One that would be
// longer is cut, and ends with its fingerprint, so that two that are alike as
// far as they go can be told apart.
const maxDescription = 1024

// descriptionOf writes T's layout for people:
//
//	struct{Price float64 @0; Size uint32 @8} (16 bytes, plain)
//	struct{Name string @0 "n,omitempty"; Next *(recursive) @16} (24 bytes, CBOR)
//	struct{A [4]uint8 @0; B… #0123456789abcdef (4096 bytes, plain)
//
// The number after @ is the field's offset in bytes. mismatch_diff.go reads it back.
func descriptionOf(t reflect.Type, ti typeInfo) string {
	tail := fmt.Sprintf(" (%d bytes, %s)", ti.size, ti.transfer)
	cut := fmt.Sprintf("… #%016x", ti.fingerprint)
	w := layoutWriter{transfer: ti.transfer, limit: maxDescription - len(tail)}
	w.typ(t)
	text := w.text.String()
	if len(text) > w.limit {
		text = clip(text, w.limit-len(cut)) + cut
	}
	return text + tail
}

// clip shortens s to at most n bytes without cutting a character in two.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:max(n, 0)]
}

// layoutWriter stops soon after limit bytes, so it ends for any type.
type layoutWriter struct {
	transfer transfer
	limit    int
	text     strings.Builder
	path     []reflect.Type // the named types that we are inside of
}

func (w *layoutWriter) full() bool { return w.text.Len() > w.limit }

func (w *layoutWriter) put(s string) {
	if !w.full() {
		w.text.WriteString(s)
	}
}

func (w *layoutWriter) typ(t reflect.Type) {
	if w.full() {
		return
	}
	if w.transfer != transferPlain && isStandard(t) {
		w.put(t.PkgPath() + "." + t.Name())
		return
	}
	if t.Name() != "" { // only a named type can come round to itself
		for _, outer := range w.path {
			if outer == t {
				w.put("(recursive)")
				return
			}
		}
		w.path = append(w.path, t)
		defer func() { w.path = w.path[:len(w.path)-1] }()
	}
	switch t.Kind() {
	case reflect.Int, reflect.Uint, reflect.Uintptr:
		w.put(fmt.Sprintf("%s(%d bytes)", t.Kind(), t.Size()))
	case reflect.Array:
		w.put("[" + strconv.Itoa(t.Len()) + "]")
		w.typ(t.Elem())
	case reflect.Slice:
		w.put("[]")
		w.typ(t.Elem())
	case reflect.Pointer:
		w.put("*")
		w.typ(t.Elem())
	case reflect.Map:
		w.put("map[")
		w.typ(t.Key())
		w.put("]")
		w.typ(t.Elem())
	case reflect.Interface:
		w.iface(t)
	case reflect.Struct:
		w.fields(t)
	default:
		w.put(t.Kind().String())
	}
}

func (w *layoutWriter) iface(t reflect.Type) {
	if t.NumMethod() == 0 {
		w.put("any")
		return
	}
	w.put("interface{")
	for i := range t.NumMethod() {
		if i > 0 {
			w.put("; ")
		}
		w.put(t.Method(i).Name)
	}
	w.put("}")
}

func (w *layoutWriter) fields(t reflect.Type) {
	w.put("struct{")
	for i := 0; i < t.NumField() && !w.full(); i++ {
		f := t.Field(i)
		if i > 0 {
			w.put("; ")
		}
		w.put(f.Name + " ")
		if w.transfer == transferCBOR && f.Anonymous {
			w.put("embedded ")
		}
		w.typ(f.Type)
		w.put(" @" + strconv.FormatUint(uint64(f.Offset), 10))
		if tag := cborTag(f); w.transfer == transferCBOR && tag != "" {
			w.put(" " + strconv.Quote(tag))
		}
	}
	w.put("}")
}
