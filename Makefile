# What one can do here. The checks themselves are the steps of .ci/run, so that
# a developer's run and the gate's are the same.
.DEFAULT_GOAL := help
.PHONY: help build test race lint models fmt cross crash bench bench-carriers quickstart newcomer ci clean

CI := bash .ci/run

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile

build: ## compile everything; the tool goes to bin/shmchan
	CGO_ENABLED=0 go build ./...
	CGO_ENABLED=0 go build -o bin/ ./cmd/shmchan

test: ## run all tests
	CGO_ENABLED=0 go test ./...

race: ## run all tests under the race detector (needs gcc)
	CGO_ENABLED=1 go test -race -count=1 -timeout 30m ./...

lint: ## gofumpt, go mod tidy, go vet for each system, staticcheck, golangci-lint
	$(CI) fmt mod vet staticcheck lint

models: ## check the models of waiting with spin, and that their mutations fail
	$(CI) models

fmt: ## rewrite the Go files as gofumpt wants them
	$(CI) tool gofumpt -l -w .

cross: ## run the tests on 386, and on arm64 and arm under qemu
	$(CI) 386 arm64 arm

crash: ## kill processes at random for as long as the long tests take (SHMCHAN_LONG=1)
	SHMCHAN_LONG=1 $(CI) survival

bench: ## measure: Go channels, pipes and sockets beside ours
	CGO_ENABLED=0 go test -run '^$$' -bench . -benchmem ./...

bench-carriers: ## measure every carrier beside its bare system calls, between two processes (bench/)
	cd bench && CGO_ENABLED=0 go run .

quickstart: ## run the README's program
	CGO_ENABLED=0 go run ./examples/quickstart

newcomer: ## the README's two commands, as with nothing but Go installed
	$(CI) newcomer

ci: ## all that guards main, in its order (under 40 minutes on 2 cores)
	$(CI)

clean: ## remove what build and the profilers left
	rm -rf bin shmchan quickstart
	find . -name '*.test' -o -name '*.prof' -o -name '*.out' | xargs -r rm -f
