# Everything that is done to this repository by hand or by CI. `make` alone lists it.

CARGO ?= cargo
CONF ?= conf/evenkeel.yaml
EVENKEEL := target/release/evenkeel

# For the load tests. They go to this machine only, and end by themselves.
TARGET ?= http://127.0.0.1:8080/
DURATION ?= 10s
CONNECTIONS ?= 64
export TARGET DURATION CONNECTIONS CARGO

# Arguments of `make bench`, as in: make bench BENCH="--quick --only evenkeel,haproxy"
BENCH ?=

# How long `make soak` lasts, unless DURATION is given.
SOAK := $(if $(filter file,$(origin DURATION)),20m,$(DURATION))

# Arguments of `make abuse`, as in: make abuse ABUSE="--rounds 3"
ABUSE ?=

# Arguments of `make resilience`, as in: make resilience RESILIENCE="--seconds 5 --rounds 1 --only silent"
RESILIENCE ?=

# Arguments of `make measure-reload`, as in: make measure-reload RELOAD="--seconds 5"
RELOAD ?=

.DEFAULT_GOAL := help
.PHONY: help prerequisites run test check fmt lint doc release daemon upgrade reload stop \
        load-wrk load-h2load load-oha yardstick traffic bench bench-quick bench-scale soak abuse resilience measure-reload measure-picks \
        plots profile audit

help: ## List what can be made (this is the default)
	@awk 'BEGIN { FS = ":.*## " } /^[a-z0-9-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

prerequisites:
	@scripts/prerequisites

run: prerequisites ## Build quickly and run the demo: three backends, the balancer, its dashboard
	$(CARGO) build --profile quick --locked
	target/quick/evenkeel demo

# The runner that is present decides; both run every test. nextest leaves doc tests to cargo.
test: prerequisites ## Run all tests (cargo-nextest if it is installed, else cargo test)
	@set -e; if $(CARGO) nextest --version >/dev/null 2>&1; then \
	    echo "+ $(CARGO) test --doc"; $(CARGO) test --doc --locked; \
	    echo "+ $(CARGO) nextest run"; $(CARGO) nextest run --locked; \
	else \
	    echo "+ $(CARGO) test"; $(CARGO) test --locked; \
	fi

# The quickest to fail comes first; the tests come last, so that a run ends with their verdict.
check: prerequisites ## All that must hold before a change goes in; what CI runs
	$(CARGO) fmt --all --check
	scripts/dependency-policy
	$(CARGO) clippy --locked --all-targets -- -D warnings
	@$(MAKE) --no-print-directory bench-quick
	@$(MAKE) --no-print-directory test

fmt: ## Format the code
	$(CARGO) fmt --all

lint: prerequisites ## Clippy on everything, warnings are errors
	$(CARGO) clippy --locked --all-targets -- -D warnings

doc: prerequisites ## Build the library's documentation; a broken link is an error
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps

release: prerequisites ## Build target/release/evenkeel as it is shipped
	scripts/release

profile: prerequisites ## Take anew the profile by which releases are arranged, dist/evenkeel.profdata.gz (some 10 minutes)
	scripts/profile

daemon: release ## Start it in the background (CONF=conf/evenkeel.yaml)
	$(EVENKEEL) -d -c $(CONF)

upgrade: release ## Replace the running process by a fresh build, dropping nothing
	$(EVENKEEL) upgrade -c $(CONF)

# These talk to what runs, and must not wait for a build; so they only want the program to be there.
reload: | $(EVENKEEL) ## Make the running process read its file again
	$(EVENKEEL) reload -c $(CONF)

stop: | $(EVENKEEL) ## Drain and stop the running process
	$(EVENKEEL) stop -c $(CONF)

$(EVENKEEL):
	@$(MAKE) --no-print-directory release

load-wrk: ## Load a running balancer with wrk (TARGET, DURATION, CONNECTIONS; loopback only)
	@scripts/load wrk

load-h2load: ## The same with h2load, over HTTP/2 by prior knowledge or TLS
	@scripts/load h2load

load-oha: ## The same with oha, which draws the latencies
	@scripts/load oha

yardstick: prerequisites ## Build the bare pingora proxy that the edge is measured against (for BENCH="--only evenkeel,yardstick,haproxy")
	$(CARGO) build --release --locked --features yardstick --example yardstick

traffic: prerequisites ## Build the client and the backends of the measurements
	$(CARGO) build --release --locked --features measurements --example traffic

bench: prerequisites ## Measure against nginx, HAProxy, Envoy and Caddy, side by side (BENCH="--quick"); writes docs/benchmarks.md
	bench/run $(BENCH)

bench-quick: release ## Instructions, allocations and system calls per request, compared with bench/quick.json (5 % more is an error)
	@scripts/prerequisites valgrind=valgrind strace=strace
	bench/quick

bench-scale: release ## Cost of a request with 10, 1,000 and 100,000 routes, upstreams, backends; writes docs/benchmarks.md
	bench/scale --write

soak: release traffic ## Mixed load for a while (DURATION=20m): do memory and descriptors stay flat?
	bench/soak --duration $(SOAK)

abuse: release ## Measure healthy clients and memory beside hostile ones (ABUSE="--only silent"); writes docs/security.md
	bench/abuse --write $(ABUSE)

resilience: release ## Measure clients beside sick backends, against nginx and HAProxy (RESILIENCE="--only silent"); writes docs/balancing.md
	bench/resilience --write $(RESILIENCE)

measure-reload: release ## Measure reloads of 10,000 routes and backends (RELOAD="--seconds 5"); writes docs/benchmarks.md
	bench/reload --write $(RELOAD)

plots: prerequisites ## Compare the policies where backends are not well; writes docs/plots and docs/balancing.md
	$(CARGO) run --profile quick --locked --features measurements --example balancing

measure-picks: prerequisites ## Measure what a pick costs; writes docs/balancing.md
	CARGO_PROFILE_QUICK_OPT_LEVEL=3 $(CARGO) run --profile quick --locked --features measurements --example pick-cost

audit: ## Licences, sources, bans and known vulnerabilities of the dependencies
	scripts/dependency-policy --require-advisories
