//! Who gets in, and who may do what: against a broker that lets nobody do anything without an ACL.
//!
//! [`secured`] is that broker, one for all these tests; [`keys`] makes the certificates, [`rights`] gives
//! and takes ACLs. docs/security.md promises what is tested here.

mod keys;
mod rights;
mod secured;

pub mod http;
mod least;
mod recipes;
mod refused;
mod revoked;
mod secrets;
