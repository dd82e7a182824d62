package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestMain(m *testing.M) {
	if env := os.Getenv(childEnv); env != "" {
		child(env)
	}
	os.Exit(m.Run())
}

// Every subject is measured for an instant, and fills its place in all tables.
func TestEverySubjectIsMeasured(t *testing.T) {
	if len(subjects()) == 0 {
		t.Skip("nothing can be measured on this system")
	}
	var log strings.Builder
	r, err := measure(plan{rounds: 2, slice: time.Millisecond, log: &log})
	require.NoError(t, err)
	require.Empty(t, r.Failures, log.String())
	leftOut := map[string]bool{}
	for _, f := range r.LeftOut {
		t.Log(f.Carrier, f.Form, f.Error)
		leftOut[f.Carrier+"|"+f.Form] = true
	}
	table, figures, abilities := r.markdown(), r.figures(), r.abilities()
	for _, s := range subjects() {
		info := s.Info()
		if leftOut[nameOf(info)] {
			continue
		}
		for _, size := range info.Sizes {
			c := r.find(info.Carrier, info.Form, size)
			require.NotNil(t, c, "%s, %d bytes", nameOf(info), size)
			require.Len(t, c.RoundTrip, 2)
			if !info.Alone {
				require.Len(t, c.Throughput, 2)
			}
			for _, v := range append(c.RoundTrip, c.Throughput...) {
				require.Positive(t, v)
			}
		}
		require.Contains(t, table, "| "+info.Carrier+" |")
		if info.Form == formOurs && !info.Alone {
			require.Contains(t, figures, "| "+info.Carrier+" |")
			require.Equal(t, !strings.HasPrefix(info.Carrier, "channel"), strings.Contains(abilities, "| "+info.Carrier+" |"), info.Carrier)
		}
	}
}

func TestTheCommandWritesAllThatItPromises(t *testing.T) {
	if len(subjects()) == 0 {
		t.Skip("nothing can be measured on this system")
	}
	dir := t.TempDir()
	results, table := filepath.Join(dir, "results.json"), filepath.Join(dir, "table.md")
	var out bytes.Buffer
	err := command([]string{"-quick", "-only", "^Pipe$", "-rounds", "1", "-slice", "1ms", "-results", results, "-table", table}, &out, io.Discard)
	require.NoError(t, err)
	written, err := os.ReadFile(table)
	require.NoError(t, err)
	require.Equal(t, out.String(), string(written))
	require.Contains(t, out.String(), "| Pipe | 65536 |")
	text, err := os.ReadFile(results)
	require.NoError(t, err)
	var r Results
	require.NoError(t, json.Unmarshal(text, &r))
	require.Len(t, r.Cases, 6)
	require.Equal(t, "Pipe", r.Capabilities[0].Carrier)
	require.True(t, r.Capabilities[0].Capabilities.Ordered)
}

func TestAPageTakesNoPartOfARun(t *testing.T) {
	err := command([]string{"-only", "Pipe", "-choosing", "page.md"}, io.Discard, io.Discard)
	require.ErrorContains(t, err, "-only")
}

func TestNothingToMeasureIsAnError(t *testing.T) {
	_, err := measure(plan{rounds: 1, only: regexp.MustCompile("no such carrier"), log: io.Discard})
	require.Error(t, err)
}

func TestThePageIsRewrittenBetweenItsMarkers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "page.md")
	const page = "a\n<!-- capabilities:begin -->\nold\n<!-- capabilities:end -->\nb\n<!-- figures:begin -->\n<!-- figures:end -->\nc\n"
	require.NoError(t, os.WriteFile(path, []byte(page), 0o600))
	r := newResults(plan{rounds: 1})
	for range 2 { // the second time changes nothing
		require.NoError(t, r.rewrite(path))
		got, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, "a\n<!-- capabilities:begin -->\n"+r.abilities()+"<!-- capabilities:end -->\nb\n<!-- figures:begin -->\n"+
			r.figures()+"<!-- figures:end -->\nc\n", string(got))
	}
	require.NoError(t, os.WriteFile(path, []byte("no markers"), 0o600))
	require.Error(t, r.rewrite(path))
}

func TestAnotherMessageIsNoticed(t *testing.T) {
	for _, size := range []int{8, 64, 4095, 8192, 65483, 65536} {
		m := message{seq: 7, size: size}
		buf := make([]byte, size)
		m.write(buf)
		require.NoError(t, m.verify(buf))
		require.Error(t, message{seq: 8, size: size}.verify(buf))
		require.Error(t, m.verify(buf[:size-1]), "shorter")
		for at := 0; at+16 <= size; at += stampEvery { // a page that is another message's
			message{seq: 8, size: stampEvery}.write(buf[at:min(size, at+stampEvery)])
			require.Error(t, m.verify(buf), "%d bytes, page at %d", size, at)
			m.write(buf)
		}
		m.full = true
		m.write(buf)
		require.NoError(t, m.verify(buf))
		for _, at := range []int{0, size / 2, size - 1} {
			buf[at]++
			require.Error(t, m.verify(buf), "%d bytes, byte %d", size, at)
			buf[at]--
		}
	}
}

func TestMedianAndRatio(t *testing.T) {
	median, low, high := middle([]float64{5, 1, 9})
	require.Equal(t, []float64{5, 1, 9}, []float64{median, low, high})
	median, _, _ = middle([]float64{4, 1, 9, 2})
	require.InDelta(t, 3, median, 1e-9)
	require.InDelta(t, 2, ratio([]float64{2, 40, 6}, []float64{1, 20, 3}), 1e-9)
	require.Zero(t, ratio(nil, nil))
}

// A pair that dies is reported, and the others are measured all the same.
func TestAChildThatCannotJoinIsAFailure(t *testing.T) {
	s := &Scene{dir: t.TempDir()}
	broken := subject{
		Info{Carrier: "none such", Form: formOurs, Sizes: []int{8}},
		func(*Scene) ([2]Side, error) { return [2]Side{}, nil },
		nil, // the child does not even find it
	}
	_, err := s.open(broken)
	require.ErrorContains(t, err, "no subject")
}
