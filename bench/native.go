package main

import (
	"embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

//go:embed native
var native embed.FS

// errLeftOut says that a Subject cannot be measured here, which is no failure.
var errLeftOut = errors.New("left out")

// Compile makes a program of a C file in native, once. errLeftOut: there is no compiler.
func (s *Scene) Compile(source string) (string, error) {
	if program, ok := s.programs[source]; ok {
		return program, nil
	}
	cc, err := exec.LookPath("cc")
	if err != nil {
		return "", fmt.Errorf("%w: no C compiler (cc) is there", errLeftOut)
	}
	text, err := native.ReadFile("native/" + source)
	if err != nil {
		return "", err
	}
	path := filepath.Join(s.dir, source)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		return "", err
	}
	program := path + ".program"
	if out, err := exec.Command(cc, "-O2", "-Wall", "-Werror", "-o", program, path, "-lrt").CombinedOutput(); err != nil {
		return "", fmt.Errorf("cc %s: %w: %s", source, err, out)
	}
	if s.programs == nil {
		s.programs = map[string]string{}
	}
	s.programs[source] = program
	return program, nil
}
