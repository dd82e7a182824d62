package channel

import (
	"strings"
	"unicode"
)

// MismatchError says that a channel is there, but not the one that was asked
// for. Nothing was changed. Find it with errors.As.
type MismatchError struct {
	Name string // the channel's name, "" if it has none
	What string // what differs: "type", "capacity", "mode", "ABI", "max message", "space", "codec"
	Want string // what this program asked for
	Have string // what the channel has, as the program that created it wrote it down
}

// maxShown is how much of Want and of Have Error shows, in bytes.
const maxShown = 2 * maxDescription

// Error says in words what differs, for a type down to the first field that
// does, and how to clear it. Have comes from another process: what cannot be
// printed in it is replaced, and what is too long is cut.
func (e *MismatchError) Error() string {
	want, have := printable(e.Want, maxShown), printable(e.Have, maxShown)
	var b strings.Builder
	if e.Name == "" {
		b.WriteString("unnamed channel: ")
	} else {
		b.WriteString("channel \"" + printable(e.Name, 255) + "\": ")
	}
	b.WriteString("the " + printable(e.What, 64) + " differs: here " + want + ", there " + have)
	if e.What == "type" {
		b.WriteString("; first difference: " + firstDifference(want, have))
	}
	b.WriteString(e.remedy())
	return b.String()
}

// remedy names what helps.
func (e *MismatchError) remedy() string {
	if e.Name == "" {
		return "; both sides must open it alike"
	}
	text := "; open it as it is, or if nobody needs it any more forget it: "
	if e.What == "ABI" {
		text = "; build both programs with the same release of shmchan, or if nobody needs the channel any more forget it: "
	}
	return text + "shmchan rm " + shellWord(e.Name) + ", or channel.Unlink"
}

// printable makes text of another process fit for a terminal: at most limit
// bytes, each character printable.
func printable(s string, limit int) string {
	cut := len(s) > limit
	s = clip(s, limit)
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	if cut {
		s += "…"
	}
	return s
}

// shellWord quotes a channel's name for the shell where it needs it.
func shellWord(name string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-+:@%", r)
	}
	word := printable(name, 255)
	dashes := ""
	if strings.HasPrefix(word, "-") {
		dashes = "-- "
	}
	if strings.IndexFunc(word, func(r rune) bool { return !plain(r) }) < 0 {
		return dashes + word
	}
	return dashes + "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
