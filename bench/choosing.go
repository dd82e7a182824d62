package main

import (
	"fmt"
	"os"
	"reflect"
	"strings"

	"github.com/shmchan/shmchan/fallback"
)

// rewrite puts the figures and the capabilities of this run between the markers of a
// page of the documentation.
func (r *Results) rewrite(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	page := string(text)
	for _, part := range []struct{ name, text string }{{"figures", r.figures()}, {"capabilities", r.abilities()}} {
		if page, err = between(page, part.name, part.text); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	return os.WriteFile(path, []byte(page), 0o666)
}

// between replaces what stands between <!-- name:begin --> and <!-- name:end -->.
func between(page, name, text string) (string, error) {
	begin, end := "<!-- "+name+":begin -->", "<!-- "+name+":end -->"
	before, rest, ok := strings.Cut(page, begin)
	_, after, alsoOK := strings.Cut(rest, end)
	if !ok || !alsoOK {
		return "", fmt.Errorf("no %s followed by %s", begin, end)
	}
	return before + begin + "\n" + text + end + after, nil
}

// figures is the short table, by which one chooses.
func (r *Results) figures() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n", r.provenance())
	b.WriteString("| carrier | round trip, 64 B | messages, 64 B | round trip, 64 KiB | messages, 64 KiB |\n|---|--:|--:|--:|--:|\n")
	var odd []string
	for _, s := range subjects() {
		info := s.Info()
		if info.Form != formOurs || info.Alone {
			continue
		}
		fmt.Fprintf(&b, "| %s", info.Carrier)
		first, last := info.Sizes[0], info.Sizes[len(info.Sizes)-1]
		if first != small {
			odd = append(odd, fmt.Sprintf("%s: %d bytes instead of 64 B", info.Carrier, first))
		}
		c := r.find(info.Carrier, formOurs, first)
		fmt.Fprintf(&b, " | %s | %s", c.trip(), c.rate())
		if first == last {
			fmt.Fprintf(&b, " | %s | %s |\n", none, none)
			continue
		}
		if last != large {
			odd = append(odd, fmt.Sprintf("%s: %d bytes instead of 64 KiB", info.Carrier, last))
		}
		c = r.find(info.Carrier, formOurs, last)
		fmt.Fprintf(&b, " | %s | %s |\n", c.trip(), c.rate())
	}
	if len(odd) > 0 {
		fmt.Fprintf(&b, "\n%s. All of them beside their bare system calls: `make bench-carriers`.\n", strings.Join(odd, "; "))
	}
	return b.String()
}

// abilities is the table of what the Conns say of themselves.
func (r *Results) abilities() string {
	var b strings.Builder
	columns := []string{
		"Ordered", "Reliable", "ManySenders", "ManyReceivers", "Priorities", "Boundaries", "Network", "Outlives",
		"Pollable", "Descriptors", "Permission", "HalfClose", "EndOfFile", "Credentials",
	}
	fmt.Fprintf(&b, "| | %s |\n|---|%s\n", strings.Join(columns, " | "), strings.Repeat(":-:|", len(columns)))
	for _, a := range r.Capabilities {
		fmt.Fprintf(&b, "| %s |", a.Carrier)
		for _, name := range columns {
			mark := ""
			if can(a.Capabilities, name) {
				mark = "yes"
			}
			fmt.Fprintf(&b, " %s |", mark)
		}
		b.WriteString("\n")
	}
	b.WriteString("\nAs the Conns say it themselves (`Capabilities`), connected as they were measured; options change some of it.\n")
	return b.String()
}

func can(c fallback.Capabilities, name string) bool {
	return reflect.ValueOf(c).FieldByName(name).Bool()
}
