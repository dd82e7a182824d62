package channel

import (
	"fmt"
	"strings"
)

// firstDifference says in words where two descriptions (see descriptionOf)
// first differ. One of them comes from shared memory and may be anything: text
// that does not read as a layout is compared as a whole.
func firstDifference(here, there string) string {
	hereType, hereTail := splitTail(here)
	thereType, thereTail := splitTail(there)
	switch {
	case here == there:
		return "not in what the descriptions show; they leave out what lies deeper"
	case hereType != thereType:
		return differenceOf(hereType, thereType, "", maxDiffDepth)
	}
	return "the size or the encoding: " + short(hereTail) + " here and " + short(thereTail) + " there"
}

// maxDiffDepth is how many structs inside structs are looked into.
const maxDiffDepth = 16

// differenceOf compares two types; of is where they stand: " of Level.Price".
func differenceOf(here, there, of string, depth int) string {
	hereFields, ok1 := structFields(here)
	thereFields, ok2 := structFields(there)
	if !ok1 || !ok2 {
		return fmt.Sprintf("%s here and %s there", short(here), short(there))
	}
	for i := range min(len(hereFields), len(thereFields)) {
		a, b := hereFields[i], thereFields[i]
		if a == b {
			continue
		}
		fa, fb := splitField(a), splitField(b)
		sa, sb := strings.Index(fa.typ, "struct{"), strings.Index(fb.typ, "struct{")
		if depth > 1 && fa.name == fb.name && fa.rest == fb.rest && fa.typ != fb.typ &&
			sa >= 0 && sa == sb && fa.typ[:sa] == fb.typ[:sb] {
			return differenceOf(fa.typ[sa:], fb.typ[sb:], of+" of "+short(fa.name), depth-1)
		}
		return fmt.Sprintf("field %d%s is %s here and %s there", i+1, of, short(a), short(b))
	}
	few, more, where := hereFields, thereFields, "there"
	if len(few) > len(more) {
		few, more, where = more, few, "here"
	}
	if len(few) < len(more) {
		return fmt.Sprintf("%d fields%s here and %d there; field %d, %s, is only %s",
			len(hereFields), of, len(thereFields), len(few)+1, short(more[len(few)]), where)
	}
	return fmt.Sprintf("%s here and %s there", short(here), short(there))
}

// splitTail parts a description from the size and encoding in brackets at its end.
func splitTail(s string) (typ, tail string) {
	if i := strings.LastIndex(s, " ("); i >= 0 && strings.HasSuffix(s, ")") {
		return s[:i], s[i+1:]
	}
	return s, ""
}

// structFields returns the fields of a struct's text. One that was cut short
// has those that are left of it.
func structFields(s string) ([]string, bool) {
	body, ok := strings.CutPrefix(s, "struct{")
	if !ok {
		return nil, false
	}
	body = strings.TrimSuffix(body, "}")
	if body == "" {
		return nil, true
	}
	return splitOutside(body, "; ", -1), true
}

// fieldText is a field in its parts: rest is " @offset" and the tag.
type fieldText struct{ name, typ, rest string }

func splitField(s string) fieldText {
	name, typ, _ := strings.Cut(s, " ")
	parts := splitOutside(typ, " @", 2)
	f := fieldText{name: name, typ: parts[0]}
	if len(parts) == 2 {
		f.rest = " @" + parts[1]
	}
	return f
}

// splitOutside splits s at sep, into at most n parts if n is not negative, but
// not inside of braces or quotes. Neither need be balanced.
func splitOutside(s, sep string, n int) []string {
	var parts []string
	depth, start, quoted := 0, 0, false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{':
			depth++
		case c == '}':
			depth--
		case depth <= 0 && (n < 0 || len(parts) < n-1) && strings.HasPrefix(s[i:], sep):
			parts = append(parts, s[start:i])
			start = i + len(sep)
			i = start - 1
		}
	}
	return append(parts, s[start:])
}

// short cuts a field's text to what one can take in.
func short(s string) string {
	if s == "" {
		return "nothing"
	}
	const most = 96
	if len(s) <= most {
		return s
	}
	return clip(s, most) + "…"
}
