package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

var errNotJSON = errors.New("not a JSON document")

// documents cuts each line down to its JSON document, and leaves out lines that
// have none. On a line that is not JSON it stops: documents are those before it,
// and bad is the line's index, or -1.
func documents(lines [][]byte) (docs [][]byte, bad int, err error) {
	docs = lines[:0]
	for i, line := range lines {
		doc := trimJSON(line)
		if len(doc) == 0 {
			continue
		}
		if err := checkJSON(doc); err != nil {
			return docs, i, err
		}
		docs = append(docs, doc)
	}
	return docs, -1, nil
}

// trimJSON removes what JSON calls white space, and nothing else.
func trimJSON(text []byte) []byte { return bytes.Trim(text, " \t\r\n") }

func checkJSON(doc []byte) error {
	if json.Valid(doc) {
		return nil
	}
	var any json.RawMessage
	err := json.Unmarshal(doc, &any) // says why
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		return fmt.Errorf("%w: %w (byte %d of it)", errNotJSON, err, syntax.Offset)
	}
	return errNotJSON
}

// oneLine gives the document without newlines: they can stand between tokens
// only. What it returns is doc, or lies in scratch.
func oneLine(doc []byte, scratch *bytes.Buffer) ([]byte, error) {
	doc = trimJSON(doc)
	if err := checkJSON(doc); err != nil {
		return nil, err
	}
	if bytes.IndexByte(doc, '\n') < 0 {
		return doc, nil
	}
	scratch.Reset()
	if err := json.Compact(scratch, doc); err != nil {
		return nil, err
	}
	return scratch.Bytes(), nil
}
