# Each target first installs what it lacks (tests/setup.sh: apt, and only what is missing).
SHELL := bash
.DEFAULT_GOAL := help
.PHONY: help demo demo-kafka test chaos soak fuzz bench bench-engine deny lint

# Options of what is run: make demo ARGS="--rate 5000", make bench-engine ARGS="--full"
ARGS ?=
# Options of `make chaos` (tests/it/kafka/chaos/settings.rs) and `make soak`.
FAULTS ?= 200
SEED ?= 6
PROFILE ?= shipped
ONLY ?=
SEEDS ?= 10000
MINUTES ?= 30

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

demo: ## the tour, with a Kafka inside the program: nothing but Rust and a C compiler needed
	@tests/setup.sh demo
	cargo build --release --locked --features train
	./target/release/foretell demo $(ARGS)

demo-kafka: ## the same tour on a real Kafka, exactly once; started for it and stopped after it
	@tests/setup.sh test
	cargo build --release --locked --features train
	@dir=$$(mktemp -d); trap 'tests/broker/broker.sh stop --dir $$dir/kafka; rm -rf $$dir' EXIT; \
	address=$$(tests/broker/broker.sh start --dir $$dir/kafka --owner $$$$) && \
	./target/release/foretell demo --bootstrap-servers $$address $(ARGS)

test: ## all tests, against a real Kafka too
	@tests/setup.sh test
	@tests/broker/broker.sh fetch
	@tests/onnxruntime.sh fetch
	@tests/moto.sh fetch
	@tests/triton.sh fetch
	@tests/retrain.sh fetch
	cargo test --locked --features train

chaos: ## faults at random: SEEDS=10000 simulated runs, then FAULTS=200 of SEED=6 on a real Kafka (PROFILE=fast, ONLY=kill)
	@tests/setup.sh test
	@tests/broker/broker.sh fetch
	FORETELL_SIM_SEEDS=$(SEEDS) cargo test --release --locked --test it -- --nocapture simulation::
	FORETELL_CHAOS_FAULTS=$(FAULTS) FORETELL_CHAOS_SEED=$(SEED) FORETELL_CHAOS_PROFILE=$(PROFILE) FORETELL_CHAOS_ONLY=$(ONLY) \
	cargo test --release --locked --test it -- --nocapture kafka::chaos::

soak: ## MINUTES=30 at a fixed rate: memory, file descriptors, threads and latency by the minute
	@tests/setup.sh test
	@tests/broker/broker.sh fetch
	FORETELL_SOAK_MINUTES=$(MINUTES) cargo test --release --locked --test it -- --nocapture --ignored kafka::soak::

# Of each fuzzer.
SECONDS ?= 60

fuzz: ## the fuzzers, SECONDS=60 each: events, labels, control messages, manifests, model files
	@tests/setup.sh demo
	@tests/fuzz/fuzz.sh $(SECONDS)

bench: ## the benchmarks; end to end against a real Kafka
	@tests/setup.sh test
	@tests/broker/broker.sh fetch
	cargo bench --locked

bench-engine: ## the engine beside LightGBM, ONNX Runtime and lleaves (Python wheels, about 1 GB, once)
	@tests/setup.sh peers
	@python3 benches/peers/peers.py --callgrind $(ARGS)

deny: ## licences, sources and doubles of what is linked, and known advisories where their database can be had
	@tests/setup.sh demo
	@tests/deny.sh

lint: ## formatting and clippy, warnings denied
	@tests/setup.sh demo
	cargo fmt --check
	cargo clippy --all-targets --locked --features train -- -D warnings
	cargo clippy --all-targets --locked --no-default-features -- -D warnings
