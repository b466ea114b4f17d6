//! `foretell` turns a Kafka topic of JSON events into a Kafka topic of predictions.
//!
//! **A batch of events is collected, scored by exactly one model version, and delivered in exactly
//! one transaction, and the files are called that.**
//!
//! An event's way, six hops on one thread: [`bus::kafka`] collects → [`worker`] → [`score`] →
//! [`features::decode`] → [`model::forest`] → [`encode`] → [`bus::kafka`] sends, and once a batch
//! settles. No channel, no task and no lock on this path (one a batch for ONNX, `model/onnx/sessions.rs`);
//! once a batch is settled, what it showed is noted under a few short ones ([`serving`], [`recent`],
//! [`observe`]).
//!
//! A control message's way: [`control::loader`] reads the log → [`control::message`] →
//! [`control::registry`] folds → [`control::fetches`] has it fetched ([`model::store`]) and judged
//! ([`model::gate`], then [`model::traffic`]) → [`serving`] swaps; the worker sees it at its next batch.
//!
//! Threads: one a worker, one for the loader, one for each model on its way, one that scores what HTTP asks
//! ([`predict`]), and the main thread with a small tokio runtime for HTTP, signals and timers ([`app`]).
//!
//! Invariants, each with the test that holds it:
//!
//! | invariant | test |
//! |---|---|
//! | one in, one out: nothing lost, nothing doubled, whatever fails | `tests/it/simulation.rs`, `tests/it/kafka/` |
//! | one batch, one version, one transaction | `tests/it/simulation.rs` |
//! | the consumer is not polled while a transaction is open | the shape of [`worker::Worker::turn`] |
//! | two instances that read to the same offset want the same version | properties in [`control::registry`] |
//! | raw scores are LightGBM's and XGBoost's to the last bit, CatBoost's and ONNX's within a tolerance | `src/model/conformance.rs` |
//! | steady state allocates nothing per event (ONNX excepted) | `tests/it/allocation.rs` |
//! | upper rooms import lower ones, never the reverse | `tests/it/tidy.rs` |
//! | training and serving count by the same code; drift counts what is settled | [`model::reference`], `src/worker/tests.rs` |
//! | docs, schemas and configuration reference are what the code has | `tests/it/{schemas,docs}.rs`, `src/config/tests.rs` |
//!
//! Where to start reading: [`worker`], then [`bus`] (the contract), then [`score`]. ARCHITECTURE.md
//! has the why.
#![deny(unsafe_code)]

pub mod app;
pub mod batch;
pub mod breaker;
pub mod bus;
pub mod cli;
pub mod compare;
pub mod config;
pub mod control;
pub mod drift;
pub mod encode;
pub mod features;
pub mod heart;
#[cfg(any(test, fuzzing))]
pub mod hostile;
pub mod model;
pub mod observe;
pub mod outbox;
pub mod predict;
pub mod quality;
pub mod recent;
pub mod record;
pub mod reject;
pub mod score;
pub mod serving;
pub mod shadow;
pub mod stop;
#[cfg(feature = "train")]
pub mod training;
pub mod worker;
