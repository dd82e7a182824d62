package main

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func split(text string) [][]byte { return bytes.Split([]byte(text), []byte("\n")) }

func TestDocumentsAreTrimmedAndBlankLinesLeftOut(t *testing.T) {
	docs, bad, err := documents(split(" {\"a\": 1}\t\r\n\n  \n[1, 2]\n\"x\"\nnull"))
	require.NoError(t, err)
	assert.Equal(t, -1, bad)
	assert.Equal(t, split("{\"a\": 1}\n[1, 2]\n\"x\"\nnull"), docs)
}

func TestALineThatIsNotJSONEndsTheDocuments(t *testing.T) {
	docs, bad, err := documents(split("1\n\n{\"a\":}\n2"))
	assert.Equal(t, split("1"), docs)
	assert.Equal(t, 2, bad)
	assert.ErrorIs(t, err, errNotJSON)
	assert.ErrorContains(t, err, "invalid character '}'")
	assert.ErrorContains(t, err, "byte 6")

	for _, line := range []string{"{} {}", "{", "\u00a01", "nul", "'a'", "\xff"} {
		_, bad, err := documents(split(line))
		assert.Equal(t, 0, bad, "%q", line)
		assert.ErrorIs(t, err, errNotJSON, "%q", line)
	}
}

func TestADocumentIsPutOnOneLine(t *testing.T) {
	var scratch bytes.Buffer
	for in, want := range map[string]string{
		"{\"a\": 1}":              "{\"a\": 1}",
		"\n{\n\"a\":\n1\n}\n":     "{\"a\":1}",
		"[\"x\\ny\",\r\n 2]":      "[\"x\\ny\",2]",
		" 12345678901234567890 ":  "12345678901234567890",
		"{\"\u2028\":\"<&>\"\n}":  "{\"\u2028\":\"<&>\"}",
		"{\"a\":1,\"a\":2}":       "{\"a\":1,\"a\":2}",
		"[\n1.50,\n1e400\n]":      "[1.50,1e400]",
		"\"\\ud800\"":             "\"\\ud800\"",
		"\t\"tab inside: \\t\"\t": "\"tab inside: \\t\"",
	} {
		got, err := oneLine([]byte(in), &scratch)
		require.NoError(t, err, "%q", in)
		assert.Equal(t, want, string(got))
	}
	for _, in := range []string{"", " ", "a", "{\"a\n\":1}", "1\n2"} {
		_, err := oneLine([]byte(in), &scratch)
		assert.ErrorIs(t, err, errNotJSON, "%q", in)
	}
}
